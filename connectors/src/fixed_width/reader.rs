//! Files of byte-counted records.

use std::ops::Range;
use std::sync::Arc;

use chrono::NaiveDate;
use ieum_model::connector::{BatchReader, Connector, ScanSpec};
use ieum_model::dataset::{Dataset, Encoding, Export, ItemType, TrailerRule};
use ieum_model::error::{Error, ErrorKind, Result};

use super::decoder::{self, RecordCutter, RecordDecoder, SUM, Summed, TRAILER_HEAD, Totals};
use super::head::{HEAD, Head};
use crate::convert::Columns;
use crate::files::{self, Source};
use crate::folder::Folder;
use crate::replay::{HEAD_CHUNK, KeptRow, Replay, Replayed};
use crate::text::{self, CHUNK, Rows, TextReader, Window};
use crate::{columns, control, encoding, export_of, nothing_matches};

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
    for name in &connector.names {
        let date = match connector.rows(name, HEAD) {
            Ok((head, ..)) => head.base_date(),
            Err(error) if error.kind == ErrorKind::Temporary => return Err(error),
            Err(_) => None,
        };
        oldest = oldest.into_iter().chain(date).min();
    }
    Ok(oldest)
}

pub(crate) struct FixedWidthConnector {
    root: Folder,
    dataset: Dataset,
    export: Export,
    ranges: Vec<Range<usize>>,
    names: Vec<String>,
    sizes: Vec<u64>,
    modified: Vec<i64>,
    chunk: usize,
}

impl FixedWidthConnector {
    pub(crate) fn try_new(root: impl Into<Folder>, dataset: &Dataset, chunk: usize) -> Result<Self> {
        let root = root.into();
        let export = export_of(dataset)?.clone();
        if export.layout.is_empty() {
            return Err(Error::config("a fixed_width export needs a `layout`").at("dataset", &dataset.code));
        }
        if !encoding::is_separator(export.list_separator) {
            return Err(Error::config("list separator must be ASCII, no letter, digit, quote or line end")
                .at("dataset", &dataset.code));
        }
        let names = files::partitions(&root, &export)?;
        if names.is_empty() {
            return Err(nothing_matches(dataset, &export));
        }
        let (sizes, ranges) = (files::sizes(&root, &names)?, decoder::ranges(&export.layout));
        let modified = files::modified(&root, &names)?;
        Ok(Self { root, dataset: dataset.clone(), export, ranges, names, sizes, modified, chunk })
    }

    /// The money fields that the trailer sums, in layout order; what a repeated one holds is no amount.
    fn summed(&self) -> Vec<Summed> {
        if self.export.control.trailer != Some(TrailerRule::CountAndSums) {
            return Vec::new();
        }
        let is_money =
            |code: &str| self.dataset.items.get(code).is_some_and(|item| item.item_type == ItemType::Amt && !item.list);
        let fields = self.export.layout.iter().zip(&self.ranges);
        let named = fields.map(|(field, range)| (columns::code(&self.dataset, &self.export, &field.item), range));
        let money = named.filter(|(code, _)| is_money(code));
        money.map(|(code, range)| Summed { item: code.to_owned(), range: range.clone() }).collect()
    }

    fn rows(&self, name: &str, chunk: usize) -> Result<(Head, RecordCutter, Rows<RecordCutter>)> {
        let broken = |message: &str, hint: &str| {
            Error::contract(message).at("dataset", &self.dataset.code).at("export", name).hint(hint)
        };
        let mut window = Window::new(Source::of_export(&self.root, name, &self.export)?, chunk, self.export.limits);
        window.require(3)?;
        if self.export.encoding == Encoding::Utf8 && window.bytes().starts_with(b"\xEF\xBB\xBF") {
            window.consume(3);
        }
        window.require(HEAD)?;
        let head = Head::parse(window.bytes()).ok_or_else(|| {
            broken(
                "file does not start with a header record (kind 11)",
                "ask the holder for the file with its header, or correct `format` in the catalog",
            )
        })?;
        head.check(name, &self.dataset)?;
        let data = self.ranges.last().map_or(0, |range| range.end);
        let needed = HEAD.max(data).max(TRAILER_HEAD + SUM * self.summed().len());
        if head.record_len < needed {
            let message = format!("header declares records of {} bytes, the layout needs {needed}", head.record_len);
            return Err(broken(
                &message,
                "compare the widths of `layout` in the catalog with the holder's file description",
            ));
        }
        window.require(head.record_len + 2)?;
        let record = &window.bytes()[..head.record_len.min(window.bytes().len())];
        if record.len() < head.record_len || memchr::memchr2(b'\n', b'\r', record).is_some() {
            return Err(broken("header record is shorter than the record length it declares", control::AGAIN));
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

    /// The name of a partition, its rows, and what decodes them as `spec` wants.
    fn decoding(
        &self,
        partition: usize,
        spec: &ScanSpec,
        chunk: usize,
    ) -> Result<(&str, Rows<RecordCutter>, RecordDecoder, Columns)> {
        let name = self.names.get(partition).ok_or_else(|| Error::internal("no such partition"))?;
        let (head, cutter, rows) = self.rows(name, chunk)?;
        let names: Vec<&str> = self.export.layout.iter().map(|field| field.item.as_str()).collect();
        let located = columns::locate(&self.dataset, &self.export, &names, &spec.schema)
            .map_err(|error| error.at("export", name))?;
        let wanted: Vec<Range<usize>> = located.iter().map(|&at| self.ranges[at].clone()).collect();
        let key = columns::key(spec)?.map(|at| wanted[at].clone());
        let probe = spec.probe.as_ref().map(|probe| encoding::probe(self.export.encoding, Arc::clone(probe))).zip(key);
        let totals = Totals::new(head.data_count, self.summed());
        let decoder = RecordDecoder::new(self.export.encoding, wanted, probe, cutter, totals);
        let columns = Columns::try_new(Arc::clone(&spec.schema), self.export.encoding, self.export.list_separator)?;
        Ok((name, rows, decoder, columns))
    }

    fn verify_totals(&self, name: &str) -> Result<()> {
        let (head, _, mut rows) = self.rows(name, self.chunk)?;
        let (mut counted, mut totals) = (0, Totals::new(head.data_count, self.summed()));
        while let Some(piece) = rows.advance()? {
            counted += 1;
            totals.add(rows.row(&piece));
        }
        totals.check(name, rows.trailer(), counted)
    }
}

impl Connector for FixedWidthConnector {
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
            let manifest = match self.export.control.manifest {
                Some(_) => control::verify_manifest(&self.root, name),
                None => Ok(()),
            };
            let checked = manifest.and_then(|()| self.verify_totals(name));
            checked.map_err(|error| error.at("dataset", &self.dataset.code))?;
        }
        Ok(())
    }

    fn checks_totals_while_reading(&self) -> bool {
        self.export.control.manifest.is_none()
    }
}

impl Replay for FixedWidthConnector {
    fn replay(&self, partition: usize, spec: &ScanSpec, rows: &[KeptRow]) -> Result<Replayed> {
        let (name, _, mut decoder, columns) = self.decoding(partition, spec, self.chunk.min(HEAD_CHUNK))?;
        text::replay(&mut decoder, columns, spec, (name, None), rows)
    }
}
