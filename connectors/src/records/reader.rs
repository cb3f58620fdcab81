//! Files of bare records.

use std::ops::Range;
use std::sync::Arc;

use ieum_model::connector::ScanSpec;
use ieum_model::dataset::{Dataset, Encoding, Export, FieldKind, Framing};
use ieum_model::error::Result;

use super::decoder::{DESCRIPTOR, RecordsCutter, RecordsDecoder, WantedField, ranges};
use crate::convert::Columns;
use crate::export::{Decoding, ExportFiles, TextExport, TextFormat};
use crate::files::Source;
use crate::text::{Rows, Window};
use crate::{columns, encoding};

/// An export of bare records.
pub(crate) type RecordsConnector = TextExport<Records>;

/// Bare records.
pub(crate) struct Records {
    ranges: Vec<Range<usize>>,
    cutter: RecordsCutter,
}

/// How the records of an export are told apart, where it does not say so.
fn framing(export: &Export) -> Framing {
    let is_text = export.layout.iter().all(|field| matches!(field.kind, FieldKind::Text | FieldKind::Zoned));
    let usual = if is_text && !export.encoding.is_ebcdic() { Framing::Lines } else { Framing::Fixed };
    export.framing.unwrap_or(usual)
}

impl TextFormat for Records {
    type Cutter = RecordsCutter;
    type Decoder = RecordsDecoder;

    fn try_new(dataset: &Dataset, export: &Export) -> Result<Self> {
        let config = |message: &str| Err(ExportFiles::config(dataset, message));
        if export.layout.is_empty() {
            return config("an export of records needs a `layout`");
        }
        if !encoding::is_separator(export.list_separator) {
            return config("list separator must be ASCII, no letter, digit, quote or line end");
        }
        if export.control.trailer.is_some() {
            return config("bare records have no trailer");
        }
        let framing = framing(export);
        let ranges = ranges(&export.layout, if framing == Framing::Rdw { DESCRIPTOR } else { 0 });
        let needed = ranges.iter().map(|range| range.end).max().unwrap_or(0);
        let bytes = export.record_bytes.unwrap_or(needed);
        if bytes < needed {
            return config("`record_bytes` is less than the layout needs");
        }
        let cutter = RecordsCutter::new(framing, bytes, export.record_bytes.is_some());
        Ok(Self { ranges, cutter })
    }

    fn decoding(
        &self,
        files: &ExportFiles,
        name: &str,
        spec: &ScanSpec,
        chunk: usize,
    ) -> Result<Decoding<RecordsCutter, RecordsDecoder>> {
        let (dataset, export) = (&files.dataset, &files.export);
        let names: Vec<&str> = export.layout.iter().map(|field| field.item.as_str()).collect();
        let located = columns::locate(dataset, export, &names, &spec.schema);
        let located = located.map_err(|error| error.at("export", name))?;
        let types = columns::types(dataset);
        let wanted = located.iter().zip(spec.schema.fields()).map(|(at, field)| {
            let item_type = types.get(field.name()).copied();
            WantedField::new(&export.layout[*at], self.ranges[*at].clone(), item_type, field.data_type())
        });
        let probe = spec.probe.as_ref().map(Arc::clone).zip(columns::key(spec)?);
        let decoder = RecordsDecoder::new(export.encoding, wanted.collect(), probe, self.cutter);
        // Fields are text in UTF-8 by the time they become columns.
        let columns = Columns::try_new(Arc::clone(&spec.schema), Encoding::Utf8, export.list_separator)?;
        let mut window = Window::new(Source::of_export(&files.root, name, export)?, chunk, export.limits);
        window.require(3)?;
        if export.encoding == Encoding::Utf8 && window.bytes().starts_with(b"\xEF\xBB\xBF") {
            window.consume(3);
        }
        Ok(Decoding { rows: Rows::new(window, self.cutter, 1), decoder, columns })
    }
}
