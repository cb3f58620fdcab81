//! Files of delimited text.

use std::sync::Arc;

use ieum_model::connector::{FileColumn, ScanSpec};
use ieum_model::dataset::{Dataset, Encoding, Export, TrailerRule};
use ieum_model::error::Result;

use super::decoder::{Cell, CsvCutter, CsvDecoder, Dialect, check_trailer, cut_cells};
use crate::convert::Columns;
use crate::export::{Decoding, ExportFiles, TextExport, TextFormat};
use crate::files::Source;
use crate::folder::Folder;
use crate::replay::Replay;
use crate::text::{self, CHUNK, Rows, Window};
use crate::{columns, detect, encoding};

/// Opens the CSV export of `dataset` below `root`.
///
/// # Errors
/// When no file matches, or the export cannot be a CSV.
pub fn open(root: impl Into<Folder>, dataset: &Dataset) -> Result<Box<dyn Replay>> {
    Ok(Box::new(CsvConnector::try_new(root, dataset, CHUNK)?))
}

/// A header row's bytes, and whether they hold a quote.
type HeaderRow = (Vec<u8>, bool);

/// An export of delimited text.
pub(crate) type CsvConnector = TextExport<Csv>;

/// Delimited text.
pub(crate) struct Csv {
    /// Of cells.
    encoding: Encoding,
    dialect: Dialect,
}

impl Csv {
    /// The data rows of a file of `export`, and its header row's bytes if it has one.
    fn rows(
        &self,
        files: &ExportFiles,
        root: &Folder,
        name: &str,
        chunk: usize,
    ) -> Result<(Rows<CsvCutter>, Option<HeaderRow>)> {
        let export = &files.export;
        let mut window = Window::new(Source::of_export(root, name, export)?, chunk, export.limits);
        window.require(3)?;
        text::skip_mark(&mut window, self.encoding, name)?;
        let cutter = CsvCutter::new(self.dialect, export.control.trailer.is_some());
        let mut rows = Rows::new(window, cutter, 1);
        if !export.header && rows.is_empty() {
            return Err(files.broken(name, "file is empty", text::TELLS_NOTHING));
        }
        if !export.header {
            return Ok((rows, None));
        }
        let header = rows.advance()?.map(|piece| (rows.row(&piece).to_vec(), piece.is_quoted()));
        match header {
            Some(header) => Ok((rows, Some(header))),
            None => {
                let hint = "the file is empty; ask the holder to deliver it again";
                Err(files.broken(name, "file has no header row", hint))
            }
        }
    }

    /// The names that a header row has, and its cells: one more than names where it ends with a delimiter.
    fn header_names(&self, files: &ExportFiles, name: &str, row: &[u8], quoted: bool) -> Result<(Vec<String>, usize)> {
        let (mut cells, mut bytes, mut text) = (Vec::new(), Vec::new(), String::new());
        cut_cells(row, self.dialect, quoted, &mut cells);
        let mut decode = |cell: &Cell| {
            let decoded = encoding::decode(self.encoding, cell.content(row, &mut bytes), &mut text);
            decoded.map(|name| name.trim().to_owned()).ok_or_else(|| {
                let looks = detect::name(detect::encoding(row));
                let hint = format!("compare `encoding` in the catalog with the file, which looks like {looks}");
                files.broken(name, "header is not in the encoding of the export", hint)
            })
        };
        let mut names = cells.iter().map(&mut decode).collect::<Result<Vec<_>>>()?;
        if names.len() > 1 && names.last().is_some_and(String::is_empty) {
            names.pop();
        }
        Ok((names, cells.len()))
    }
}

impl TextFormat for Csv {
    type Cutter = CsvCutter;
    type Decoder = CsvDecoder;

    fn try_new(dataset: &Dataset, export: &Export) -> Result<Self> {
        let config = |message: &str| Err(ExportFiles::config(dataset, message));
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
        Ok(Self { encoding: export.encoding.of_cells(), dialect: Dialect::of(export) })
    }

    fn columns(&self, files: &ExportFiles, name: &str, chunk: usize) -> Result<Option<Vec<FileColumn>>> {
        let names = match &files.root {
            Folder::Database(database) => database.columns(name)?,
            root => match self.rows(files, root, name, chunk)?.1 {
                Some((row, quoted)) => self.header_names(files, name, &row, quoted)?.0,
                None => return Ok(None),
            },
        };
        Ok(Some(names.into_iter().map(|name| FileColumn { name, kind: None }).collect()))
    }

    fn decoding(
        &self,
        files: &ExportFiles,
        name: &str,
        spec: &ScanSpec,
        chunk: usize,
    ) -> Result<Decoding<CsvCutter, CsvDecoder>> {
        let (dataset, export) = (&files.dataset, &files.export);
        let root = match &files.root {
            Folder::Database(database) => &Folder::Database(database.asked(dataset, export, spec)?),
            root => root,
        };
        let (rows, header) = self.rows(files, root, name, chunk)?;
        // A row of another width than the header's is never taken for one: a cell too many could stand anywhere in it.
        let (names, width) = match header {
            Some((row, quoted)) => self.header_names(files, name, &row, quoted)?,
            None => (export.order.clone(), export.order.len()),
        };
        let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
        let wanted = columns::locate(dataset, export, &borrowed, &spec.schema);
        let wanted = wanted.map_err(|error| error.at("export", name))?;
        let key = columns::key(spec)?.map(|at| wanted[at]);
        let probe = spec.probe.as_ref().map(|probe| encoding::probe(self.encoding, Arc::clone(probe))).zip(key);
        let trailer = export.control.trailer.is_some();
        let decoder = CsvDecoder::new(self.dialect, width, wanted, probe, trailer).with_rules_of(export);
        let columns = Columns::try_new(Arc::clone(&spec.schema), self.encoding, export.list_separator)?;
        Ok(Decoding { rows, decoder, columns })
    }

    fn verify(&self, files: &ExportFiles, name: &str, chunk: usize) -> Result<()> {
        if files.export.control.trailer.is_none() {
            return Ok(());
        }
        let (mut rows, _) = self.rows(files, &files.root, name, chunk)?;
        let mut counted = 0;
        while rows.advance()?.is_some() {
            counted += 1;
        }
        check_trailer(name, rows.trailer(), self.dialect.delimiter, counted)
    }
}
