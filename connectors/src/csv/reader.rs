//! Files of delimited text.

use std::sync::Arc;

use ieum_model::connector::{BatchReader, Connector, FileColumn, ScanSpec};
use ieum_model::dataset::{Dataset, Encoding, Export, TrailerRule};
use ieum_model::error::{Error, Result};

use super::decoder::{Cell, CsvCutter, CsvDecoder, Dialect, check_trailer, cut_cells};
use crate::convert::Columns;
use crate::files::{self, Source};
use crate::folder::Folder;
use crate::replay::{HEAD_CHUNK, KeptRow, Replay, Replayed};
use crate::text::{self, CHUNK, Rows, TextReader, Window};
use crate::{columns, control, detect, encoding, export_of, nothing_matches};

/// Opens the CSV export of `dataset` below `root`.
///
/// # Errors
/// When no file matches, or the export cannot be a CSV.
pub fn open(root: impl Into<Folder>, dataset: &Dataset) -> Result<Box<dyn Replay>> {
    Ok(Box::new(CsvConnector::try_new(root, dataset, CHUNK)?))
}

/// A header row's bytes, and whether they hold a quote.
type HeaderRow = (Vec<u8>, bool);

pub(crate) struct CsvConnector {
    root: Folder,
    dataset: Dataset,
    export: Export,
    names: Vec<String>,
    sizes: Vec<u64>,
    modified: Vec<i64>,
    chunk: usize,
}

impl CsvConnector {
    pub(crate) fn try_new(root: impl Into<Folder>, dataset: &Dataset, chunk: usize) -> Result<Self> {
        let root = root.into();
        let export = export_of(dataset)?.clone();
        let config = |message: &str| Err(Error::config(message).at("dataset", &dataset.code));
        if export.escape.is_some_and(|escape| !encoding::is_separator(escape) || escape == export.delimiter) {
            return config("escape must be ASCII, no letter, digit, quote or line end, and not the delimiter");
        }
        if !encoding::is_separator(export.delimiter) || !encoding::is_separator(export.list_separator) {
            return config("delimiter and list separator must be ASCII, no letter, digit, quote or line end");
        }
        if !export.header && export.order.is_empty() {
            return config("a CSV without header needs `order`");
        }
        if export.control.trailer == Some(TrailerRule::CountAndSums) {
            return config("a CSV trailer carries a count, no sums: write `trailer = \"count\"`");
        }
        let names = files::partitions(&root, &export)?;
        if names.is_empty() {
            return Err(nothing_matches(dataset, &export));
        }
        let (sizes, modified) = (files::sizes(&root, &names)?, files::modified(&root, &names)?);
        Ok(Self { root, dataset: dataset.clone(), export, names, sizes, modified, chunk })
    }

    /// The encoding of cells.
    fn encoding(&self) -> Encoding {
        self.export.encoding.of_cells()
    }

    /// Its bytes were checked to be ASCII when opened.
    fn dialect(&self) -> Dialect {
        Dialect::of(&self.export)
    }

    /// The data rows of a file, and its header row's bytes if it has one.
    fn rows(&self, root: &Folder, name: &str, chunk: usize) -> Result<(Rows<CsvCutter>, Option<HeaderRow>)> {
        let mut window = Window::new(Source::of_export(root, name, &self.export)?, chunk, self.export.limits);
        window.require(3)?;
        skip_mark(&mut window, self.encoding(), name)?;
        let cutter = CsvCutter::new(self.dialect(), self.export.control.trailer.is_some());
        let mut rows = Rows::new(window, cutter, 1);
        if !self.export.header && rows.is_empty() {
            return Err(Error::contract("file is empty")
                .at("dataset", &self.dataset.code)
                .at("export", name)
                .hint("a file of no byte tells nothing; ask the holder to deliver it again"));
        }
        if !self.export.header {
            return Ok((rows, None));
        }
        let header = rows.advance()?.map(|piece| (rows.row(&piece).to_vec(), piece.is_quoted()));
        match header {
            Some(header) => Ok((rows, Some(header))),
            None => Err(Error::contract("file has no header row")
                .at("dataset", &self.dataset.code)
                .at("export", name)
                .hint("the file is empty; ask the holder to deliver it again")),
        }
    }

    /// The names that a header row has, and its cells: one more than names where it ends with a delimiter.
    fn header_names(&self, name: &str, row: &[u8], quoted: bool) -> Result<(Vec<String>, usize)> {
        let (mut cells, mut bytes, mut text) = (Vec::new(), Vec::new(), String::new());
        cut_cells(row, self.dialect(), quoted, &mut cells);
        let mut decode = |cell: &Cell| {
            let decoded = encoding::decode(self.encoding(), cell.content(row, &mut bytes), &mut text);
            decoded.map(|name| name.trim().to_owned()).ok_or_else(|| {
                Error::contract("header is not in the encoding of the export")
                    .at("dataset", &self.dataset.code)
                    .at("export", name)
                    .hint(format!(
                        "compare `encoding` in the catalog with the file, which looks like {}",
                        detect::name(detect::encoding(row))
                    ))
            })
        };
        let mut names = cells.iter().map(&mut decode).collect::<Result<Vec<_>>>()?;
        if names.len() > 1 && names.last().is_some_and(String::is_empty) {
            names.pop();
        }
        Ok((names, cells.len()))
    }

    /// The name of a partition, its rows, and what decodes them as `spec` wants.
    fn decoding(
        &self,
        partition: usize,
        spec: &ScanSpec,
        chunk: usize,
    ) -> Result<(&str, Rows<CsvCutter>, CsvDecoder, Columns)> {
        let name = self.names.get(partition).ok_or_else(|| Error::internal("no such partition"))?;
        let root = match &self.root {
            Folder::Database(database) => &Folder::Database(database.asked(&self.dataset, &self.export, spec)?),
            root => root,
        };
        let (rows, header) = self.rows(root, name, chunk)?;
        // A row of another width than the header's is never taken for one: a cell too many could stand anywhere in it.
        let (names, width) = match header {
            Some((row, quoted)) => self.header_names(name, &row, quoted)?,
            None => (self.export.order.clone(), self.export.order.len()),
        };
        let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
        let wanted = columns::locate(&self.dataset, &self.export, &borrowed, &spec.schema)
            .map_err(|error| error.at("export", name))?;
        let key = columns::key(spec)?.map(|at| wanted[at]);
        let probe = spec.probe.as_ref().map(|probe| encoding::probe(self.encoding(), Arc::clone(probe))).zip(key);
        let trailer = self.export.control.trailer.is_some();
        let decoder = CsvDecoder::new(self.dialect(), width, wanted, probe, trailer).with_rules_of(&self.export);
        let columns = Columns::try_new(Arc::clone(&spec.schema), self.encoding(), self.export.list_separator)?;
        Ok((name, rows, decoder, columns))
    }

    fn verify_trailer(&self, name: &str) -> Result<()> {
        let (mut rows, _) = self.rows(&self.root, name, self.chunk)?;
        let mut counted = 0;
        while rows.advance()?.is_some() {
            counted += 1;
        }
        check_trailer(name, rows.trailer(), self.dialect().delimiter, counted)
    }
}

/// Moves past a UTF-8 byte order mark; refuses marks of other encodings.
pub(crate) fn skip_mark(window: &mut Window, expected: Encoding, name: &str) -> Result<()> {
    let (found, hint) = match window.bytes() {
        [0xEF, 0xBB, 0xBF, ..] if expected == Encoding::Utf8 => {
            window.consume(3);
            return Ok(());
        }
        [0xEF, 0xBB, 0xBF, ..] => ("UTF-8", "write `encoding = \"utf-8\"` in the export's section of the catalog"),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
            ("UTF-16", "write `encoding = \"utf-16\"` in the export's section of the catalog")
        }
        _ => return Ok(()),
    };
    Err(Error::contract(format!("file starts with the byte order mark of {found}")).at("export", name).hint(hint))
}

impl Connector for CsvConnector {
    fn partitions(&self) -> &[String] {
        &self.names
    }

    fn partition_bytes(&self) -> &[u64] {
        &self.sizes
    }

    fn partition_modified(&self) -> &[i64] {
        &self.modified
    }

    fn columns(&self, partition: usize) -> Result<Option<Vec<FileColumn>>> {
        let name = self.names.get(partition).ok_or_else(|| Error::internal("no such partition"))?;
        if let Folder::Database(database) = &self.root {
            let names = database.columns(name)?;
            return Ok(Some(names.into_iter().map(|name| FileColumn { name, kind: None }).collect()));
        }
        let (_, header) = self.rows(&self.root, name, self.chunk.min(HEAD_CHUNK))?;
        let Some((row, quoted)) = header else { return Ok(None) };
        let (names, _) = self.header_names(name, &row, quoted)?;
        Ok(Some(names.into_iter().map(|name| FileColumn { name, kind: None }).collect()))
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
            let checked = match self.export.control.trailer {
                Some(_) => checked.and_then(|()| self.verify_trailer(name)),
                None => checked,
            };
            checked.map_err(|error| error.at("dataset", &self.dataset.code))?;
        }
        Ok(())
    }

    fn checks_totals_while_reading(&self) -> bool {
        self.export.control.manifest.is_none()
    }
}

impl Replay for CsvConnector {
    fn replay(&self, partition: usize, spec: &ScanSpec, rows: &[KeptRow]) -> Result<Replayed> {
        let (name, file, mut decoder, columns) = self.decoding(partition, spec, self.chunk.min(HEAD_CHUNK))?;
        text::replay(&mut decoder, columns, spec, (name, file.order()), rows)
    }
}
