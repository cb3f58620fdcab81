//! Files of bare records.

use std::ops::Range;
use std::sync::Arc;

use ieum_model::connector::{BatchReader, Connector, ScanSpec};
use ieum_model::dataset::{Dataset, Encoding, Export, FieldKind, Framing};
use ieum_model::error::{Error, Result};

use super::decoder::{DESCRIPTOR, RecordsCutter, RecordsDecoder, WantedField, ranges};
use crate::convert::Columns;
use crate::files::{self, Source};
use crate::folder::Folder;
use crate::replay::{HEAD_CHUNK, KeptRow, Replay, Replayed};
use crate::text::{self, Rows, TextReader, Window};
use crate::{columns, control, encoding, export_of, nothing_matches};

pub(crate) struct RecordsConnector {
    root: Folder,
    dataset: Dataset,
    export: Export,
    ranges: Vec<Range<usize>>,
    cutter: RecordsCutter,
    names: Vec<String>,
    sizes: Vec<u64>,
    modified: Vec<i64>,
    chunk: usize,
}

/// How the records of an export are told apart, where it does not say so.
fn framing(export: &Export) -> Framing {
    let is_text = export.layout.iter().all(|field| matches!(field.kind, FieldKind::Text | FieldKind::Zoned));
    let usual = if is_text && !export.encoding.is_ebcdic() { Framing::Lines } else { Framing::Fixed };
    export.framing.unwrap_or(usual)
}

impl RecordsConnector {
    pub(crate) fn try_new(root: impl Into<Folder>, dataset: &Dataset, chunk: usize) -> Result<Self> {
        let root = root.into();
        let export = export_of(dataset)?.clone();
        let config = |message: &str| Err(Error::config(message).at("dataset", &dataset.code));
        if export.layout.is_empty() {
            return config("an export of records needs a `layout`");
        }
        if !encoding::is_separator(export.list_separator) {
            return config("list separator must be ASCII, no letter, digit, quote or line end");
        }
        if export.control.trailer.is_some() {
            return config("bare records have no trailer");
        }
        let framing = framing(&export);
        let ranges = ranges(&export.layout, if framing == Framing::Rdw { DESCRIPTOR } else { 0 });
        let needed = ranges.iter().map(|range| range.end).max().unwrap_or(0);
        let bytes = export.record_bytes.unwrap_or(needed);
        if bytes < needed {
            return config("`record_bytes` is less than the layout needs");
        }
        let cutter = RecordsCutter::new(framing, bytes, export.record_bytes.is_some());
        let names = files::partitions(&root, &export)?;
        if names.is_empty() {
            return Err(nothing_matches(dataset, &export));
        }
        let (sizes, modified) = (files::sizes(&root, &names)?, files::modified(&root, &names)?);
        Ok(Self { root, dataset: dataset.clone(), export, ranges, cutter, names, sizes, modified, chunk })
    }

    fn decoding(
        &self,
        partition: usize,
        spec: &ScanSpec,
        chunk: usize,
    ) -> Result<(&str, Rows<RecordsCutter>, RecordsDecoder, Columns)> {
        let name = self.names.get(partition).ok_or_else(|| Error::internal("no such partition"))?;
        let names: Vec<&str> = self.export.layout.iter().map(|field| field.item.as_str()).collect();
        let located = columns::locate(&self.dataset, &self.export, &names, &spec.schema)
            .map_err(|error| error.at("export", name))?;
        let types = columns::types(&self.dataset);
        let wanted = located.iter().zip(spec.schema.fields()).map(|(at, field)| {
            let item_type = types.get(field.name()).copied();
            WantedField::new(&self.export.layout[*at], self.ranges[*at].clone(), item_type, field.data_type())
        });
        let probe = spec.probe.as_ref().map(Arc::clone).zip(columns::key(spec)?);
        let decoder = RecordsDecoder::new(self.export.encoding, wanted.collect(), probe, self.cutter);
        // Fields are text in UTF-8 by the time they become columns.
        let columns = Columns::try_new(Arc::clone(&spec.schema), Encoding::Utf8, self.export.list_separator)?;
        let mut window = Window::new(Source::of_export(&self.root, name, &self.export)?, chunk, self.export.limits);
        window.require(3)?;
        if self.export.encoding == Encoding::Utf8 && window.bytes().starts_with(b"\xEF\xBB\xBF") {
            window.consume(3);
        }
        Ok((name, Rows::new(window, self.cutter, 1), decoder, columns))
    }
}

impl Connector for RecordsConnector {
    fn partitions(&self) -> &[String] {
        &self.names
    }

    fn partition_bytes(&self) -> &[u64] {
        &self.sizes
    }

    fn partition_modified(&self) -> &[i64] {
        &self.modified
    }

    fn open(&self, partition: usize, spec: &ScanSpec) -> Result<Box<dyn BatchReader>> {
        let (_, rows, decoder, columns) = self.decoding(partition, spec, self.chunk)?;
        Ok(Box::new(TextReader::new(rows, decoder, columns, spec)))
    }

    fn verify_control(&self) -> Result<()> {
        for name in &self.names {
            let checked = match self.export.control.manifest {
                Some(_) => control::verify_manifest(&self.root, name),
                None => Ok(()),
            };
            checked.map_err(|error| error.at("dataset", &self.dataset.code))?;
        }
        Ok(())
    }

    fn checks_totals_while_reading(&self) -> bool {
        self.export.control.manifest.is_none()
    }
}

impl Replay for RecordsConnector {
    fn replay(&self, partition: usize, spec: &ScanSpec, rows: &[KeptRow]) -> Result<Replayed> {
        let (name, _, mut decoder, columns) = self.decoding(partition, spec, self.chunk.min(HEAD_CHUNK))?;
        text::replay(&mut decoder, columns, spec, (name, None), rows)
    }
}
