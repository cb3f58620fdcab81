//! Files of byte-counted records.

use std::ops::Range;
use std::sync::Arc;

use chrono::NaiveDate;
use ieum_model::connector::ScanSpec;
use ieum_model::dataset::{Dataset, Encoding, Export, ItemType, TrailerRule};
use ieum_model::error::{ErrorKind, Result};

use super::CHANGE;
use super::decoder::{self, CHANGE_BYTES, RecordCutter, RecordDecoder, SUM, Summed, TRAILER_HEAD, Totals};
use super::head::{HEAD, Head};
use crate::convert::Columns;
use crate::export::{Decoding, ExportFiles, TextExport, TextFormat};
use crate::files::Source;
use crate::folder::Folder;
use crate::replay::Replay;
use crate::text::{CHUNK, Rows, Window};
use crate::{columns, control, encoding};

/// Opens the fixed-width export of `dataset` below `root`.
///
/// # Errors
/// When no file matches, or the export declares no layout.
pub fn open(root: impl Into<Folder>, dataset: &Dataset) -> Result<Box<dyn Replay>> {
    Ok(Box::new(FixedWidthConnector::try_new(root, dataset, CHUNK)?))
}

/// The day that the export of `dataset` below `root` is of, by the headers of its files: the oldest one. `None` where
/// no header tells one; why not is for reading to say.
///
/// # Errors
/// When the export cannot be opened, or storage fails.
pub fn base_date(root: impl Into<Folder>, dataset: &Dataset) -> Result<Option<NaiveDate>> {
    let connector = FixedWidthConnector::try_new(root, dataset, CHUNK)?;
    let mut oldest = None;
    let (files, format) = (&connector.files, &connector.format.format);
    for name in files.names() {
        let date = match format.rows(files, name, HEAD) {
            Ok((head, ..)) => head.base_date(),
            Err(error) if error.kind == ErrorKind::Temporary => return Err(error),
            Err(_) => None,
        };
        oldest = oldest.into_iter().chain(date).min();
    }
    Ok(oldest)
}

/// An export of byte-counted records.
pub(crate) type FixedWidthConnector = TextExport<FixedWidth>;

/// Byte-counted records between a header and a trailer record.
pub(crate) struct FixedWidth {
    ranges: Vec<Range<usize>>,
    summed: Vec<Summed>,
}

/// The money fields that the trailer sums, in layout order; what a repeated one holds is no amount.
fn summed(dataset: &Dataset, export: &Export, ranges: &[Range<usize>]) -> Vec<Summed> {
    if export.control.trailer != Some(TrailerRule::CountAndSums) {
        return Vec::new();
    }
    let is_money =
        |code: &str| dataset.items.get(code).is_some_and(|item| item.item_type == ItemType::Amt && !item.list);
    let fields = export.layout.iter().zip(ranges);
    let named = fields.map(|(field, range)| (columns::code(dataset, export, &field.item), range));
    let money = named.filter(|(code, _)| is_money(code));
    money.map(|(code, range)| Summed { item: code.to_owned(), range: range.clone() }).collect()
}

impl FixedWidth {
    fn rows(&self, files: &ExportFiles, name: &str, chunk: usize) -> Result<(Head, RecordCutter, Rows<RecordCutter>)> {
        let export = &files.export;
        let mut window = Window::new(Source::of_export(&files.root, name, export)?, chunk, export.limits);
        window.require(3)?;
        if export.encoding == Encoding::Utf8 && window.bytes().starts_with(b"\xEF\xBB\xBF") {
            window.consume(3);
        }
        window.require(HEAD)?;
        let head = Head::parse(window.bytes()).ok_or_else(|| {
            let hint = "ask the holder for the file with its header, or correct `format` in the catalog";
            files.broken(name, "file does not start with a header record (kind 11)", hint)
        })?;
        head.check(name, &files.dataset)?;
        let data = self.ranges.last().map_or(0, |range| range.end);
        let needed = HEAD.max(data).max(TRAILER_HEAD + SUM * self.summed.len());
        if head.record_len < needed {
            let message = format!("header declares records of {} bytes, the layout needs {needed}", head.record_len);
            let hint = "compare the widths of `layout` in the catalog with the holder's file description";
            return Err(files.broken(name, message, hint));
        }
        window.require(head.record_len + 2)?;
        let record = &window.bytes()[..head.record_len.min(window.bytes().len())];
        if record.len() < head.record_len || memchr::memchr2(b'\n', b'\r', record).is_some() {
            let message = "header record is shorter than the record length it declares";
            return Err(files.broken(name, message, control::AGAIN));
        }
        let (lines, skip) = match window.bytes()[head.record_len..] {
            [b'\r', b'\n', ..] => (true, 2),
            [b'\n' | b'\r', ..] => (true, 1),
            _ => (false, 0),
        };
        window.consume(head.record_len + skip);
        let cutter = RecordCutter::new(head.record_len, lines);
        Ok((head, cutter, Rows::new(window, cutter, 2)))
    }
}

impl TextFormat for FixedWidth {
    type Cutter = RecordCutter;
    type Decoder = RecordDecoder;

    fn try_new(dataset: &Dataset, export: &Export) -> Result<Self> {
        if export.layout.is_empty() {
            return Err(ExportFiles::config(dataset, "a fixed_width export needs a `layout`"));
        }
        if !encoding::is_separator(export.list_separator) {
            let message = "list separator must be ASCII, no letter, digit, quote or line end";
            return Err(ExportFiles::config(dataset, message));
        }
        let ranges = decoder::ranges(&export.layout);
        Ok(Self { summed: summed(dataset, export, &ranges), ranges })
    }

    fn decoding(
        &self,
        files: &ExportFiles,
        name: &str,
        spec: &ScanSpec,
        chunk: usize,
    ) -> Result<Decoding<RecordCutter, RecordDecoder>> {
        let export = &files.export;
        let (head, cutter, rows) = self.rows(files, name, chunk)?;
        // What stands in the head of a record is asked for where changes are merged alone.
        let names = export.layout.iter().map(|field| field.item.as_str());
        let names: Vec<&str> = names.chain([CHANGE]).collect();
        let located =
            columns::locate(&files.dataset, export, &names, &spec.schema).map_err(|error| error.at("export", name))?;
        let wanted: Vec<Range<usize>> =
            located.iter().map(|&at| self.ranges.get(at).cloned().unwrap_or(CHANGE_BYTES)).collect();
        let key = columns::key(spec)?.map(|at| wanted[at].clone());
        let probe = spec.probe.as_ref().map(|probe| encoding::probe(export.encoding, Arc::clone(probe))).zip(key);
        let totals = Totals::new(head.data_count, self.summed.clone());
        let decoder = RecordDecoder::new(export.encoding, wanted, probe, cutter, totals);
        let columns = Columns::try_new(Arc::clone(&spec.schema), export.encoding, export.list_separator)?;
        Ok(Decoding { rows, decoder, columns })
    }

    fn verify(&self, files: &ExportFiles, name: &str, chunk: usize) -> Result<()> {
        let (head, _, mut rows) = self.rows(files, name, chunk)?;
        let (mut counted, mut totals) = (0, Totals::new(head.data_count, self.summed.clone()));
        while let Some(piece) = rows.advance()? {
            counted += 1;
            totals.add(rows.row(&piece));
        }
        totals.check(name, rows.trailer(), counted)
    }
}
