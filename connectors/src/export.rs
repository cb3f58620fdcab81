//! What the formats of files have in common: which files an export has, how each proves that it is the one its holder wrote, and
//! the seam ([`Connector`]) that a night reads them through. A format adds what it knows of one file.
//!
//! ```text
//!  FileExport ─┬─ ExportFiles    names, sizes and times of the files; their manifests
//!              └─ FileFormat     one file: columns, open, verify, keep, replay
//!                   ├─ Text<F>     rows one after the other: F gives what cuts and what decodes them
//!                   └─ workbooks, Parquet, Arrow IPC
//! ```

use ieum_model::connector::{BatchReader, Connector, FileColumn, Reject, ScanSpec};
use ieum_model::dataset::{Dataset, Export};
use ieum_model::error::{Error, Result};

use crate::convert::Columns;
use crate::files;
use crate::folder::Folder;
use crate::replay::{HEAD_CHUNK, KeptRow, Replay, Replayed};
use crate::text::{self, Cutter, Decode, Rows, TextReader};
use crate::{control, export_of, nothing_matches};

/// The files of a dataset's export, as they were found.
pub(crate) struct ExportFiles {
    pub(crate) root: Folder,
    pub(crate) dataset: Dataset,
    pub(crate) export: Export,
    names: Vec<String>,
    /// How many of the names are those of the base; those of changes follow them.
    bases: usize,
    sizes: Vec<u64>,
    modified: Vec<i64>,
}

impl ExportFiles {
    /// The files of the export of `dataset` below `root`.
    ///
    /// # Errors
    /// When there are none, or an archive among them cannot be read.
    pub(crate) fn find(root: impl Into<Folder>, dataset: &Dataset) -> Result<Self> {
        let (root, export) = (root.into(), export_of(dataset)?.clone());
        let (found, deltas) = files::found(&root, &export)?;
        if found.is_empty() {
            return Err(nothing_matches(dataset, &export));
        }
        let bases = found.len();
        let (mut names, mut sizes, mut modified) = (Vec::new(), Vec::new(), Vec::new());
        for (name, bytes, written) in found.into_iter().chain(deltas) {
            names.push(name);
            sizes.push(bytes);
            modified.push(written);
        }
        Ok(Self { root, dataset: dataset.clone(), export, names, bases, sizes, modified })
    }

    /// The names of the files, below the exports folder.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The names of the files of the base.
    pub(crate) fn bases(&self) -> &[String] {
        &self.names[..self.bases]
    }

    /// The names of the files of changes, in their order.
    pub(crate) fn deltas(&self) -> &[String] {
        &self.names[self.bases..]
    }

    /// The place of a file among those of changes; `None` for one of the base.
    pub(crate) fn delta(&self, name: &str) -> Option<usize> {
        self.deltas().iter().position(|delta| delta == name)
    }

    /// An error of the catalog file of the dataset.
    pub(crate) fn config(dataset: &Dataset, message: &str) -> Error {
        Error::config(message).at("dataset", &dataset.code)
    }

    /// An error of the file called `name`.
    pub(crate) fn broken(&self, name: &str, message: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::contract(message).at("dataset", &self.dataset.code).at("export", name).hint(hint)
    }

    fn name(&self, partition: usize) -> Result<&str> {
        self.names.get(partition).map(String::as_str).ok_or_else(|| Error::internal("no such partition"))
    }
}

/// One format of files: what it knows of one of them, which is called `name`.
pub(crate) trait FileFormat: Send + Sync {
    /// As [`Connector::columns`].
    fn columns(&self, _files: &ExportFiles, _name: &str) -> Result<Option<Vec<FileColumn>>> {
        Ok(None)
    }

    /// As [`Connector::open`].
    fn open(&self, files: &ExportFiles, name: &str, spec: &ScanSpec) -> Result<Box<dyn BatchReader>>;

    /// Checks what the file says of itself; its manifest has been compared.
    fn verify(&self, _files: &ExportFiles, _name: &str) -> Result<()> {
        Ok(())
    }

    /// Whether reading a file to its end checks what [`FileFormat::verify`] checks.
    fn verifies_while_reading(&self) -> bool {
        true
    }

    /// As [`Replay::keep`].
    fn keep(&self, _files: &ExportFiles, _name: &str, rejects: &[Reject]) -> Result<Vec<Vec<u8>>> {
        Ok(rejects.iter().map(|reject| reject.raw.clone()).collect())
    }

    /// As [`Replay::replay`].
    fn replay(&self, files: &ExportFiles, name: &str, spec: &ScanSpec, rows: &[KeptRow]) -> Result<Replayed>;
}

/// An export of files in one format.
pub(crate) struct FileExport<F> {
    pub(crate) files: ExportFiles,
    pub(crate) format: F,
}

impl<F: FileFormat> Connector for FileExport<F> {
    fn partitions(&self) -> &[String] {
        &self.files.names
    }

    fn partition_bytes(&self) -> &[u64] {
        &self.files.sizes
    }

    fn partition_modified(&self) -> &[i64] {
        &self.files.modified
    }

    fn columns(&self, partition: usize) -> Result<Option<Vec<FileColumn>>> {
        self.format.columns(&self.files, self.files.name(partition)?)
    }

    fn open(&self, partition: usize, spec: &ScanSpec) -> Result<Box<dyn BatchReader>> {
        self.format.open(&self.files, self.files.name(partition)?, spec)
    }

    fn verify_control(&self) -> Result<()> {
        for name in &self.files.names {
            let manifest = match self.files.export.control.manifest {
                Some(_) => control::verify_manifest(&self.files.root, name),
                None => Ok(()),
            };
            let checked = manifest.and_then(|()| self.format.verify(&self.files, name));
            checked.map_err(|error| error.at("dataset", &self.files.dataset.code))?;
        }
        Ok(())
    }

    fn checks_totals_while_reading(&self) -> bool {
        self.files.export.control.manifest.is_none() && self.format.verifies_while_reading()
    }
}

impl<F: FileFormat> Replay for FileExport<F> {
    fn keep(&self, partition: usize, rejects: &[Reject]) -> Result<Vec<Vec<u8>>> {
        self.format.keep(&self.files, self.files.name(partition)?, rejects)
    }

    fn replay(&self, partition: usize, spec: &ScanSpec, rows: &[KeptRow]) -> Result<Replayed> {
        self.format.replay(&self.files, self.files.name(partition)?, spec, rows)
    }
}

/// One format whose rows stand one after the other.
pub(crate) trait TextFormat: Send + Sync + Sized {
    /// Cuts its rows.
    type Cutter: Cutter + 'static;
    /// Decodes them.
    type Decoder: Decode + 'static;

    /// The format as an export declares it.
    ///
    /// # Errors
    /// When the export declares what such a file does not have, or lacks what it must declare.
    fn try_new(dataset: &Dataset, export: &Export) -> Result<Self>;

    /// As [`FileFormat::columns`], of whose file `chunk` bytes are read at a time.
    fn columns(&self, _files: &ExportFiles, _name: &str, _chunk: usize) -> Result<Option<Vec<FileColumn>>> {
        Ok(None)
    }

    /// The rows of a file, and what decodes them as `spec` wants.
    fn decoding(
        &self,
        files: &ExportFiles,
        name: &str,
        spec: &ScanSpec,
        chunk: usize,
    ) -> Result<Decoding<Self::Cutter, Self::Decoder>>;

    /// As [`FileFormat::verify`].
    fn verify(&self, _files: &ExportFiles, _name: &str, _chunk: usize) -> Result<()> {
        Ok(())
    }
}

/// The rows of a file, what decodes them, and the batch that they become.
pub(crate) struct Decoding<C, D> {
    pub(crate) rows: Rows<C>,
    pub(crate) decoder: D,
    pub(crate) columns: Columns,
}

/// A [`TextFormat`] as a [`FileFormat`].
pub(crate) struct Text<F> {
    pub(crate) format: F,
    chunk: usize,
}

/// An export whose rows stand one after the other.
pub(crate) type TextExport<F> = FileExport<Text<F>>;

impl<F: TextFormat> TextExport<F> {
    /// Finds the export of `dataset` below `root`, of whose files `chunk` bytes are read at a time.
    ///
    /// # Errors
    /// As [`TextFormat::try_new`] and [`ExportFiles::find`].
    pub(crate) fn try_new(root: impl Into<Folder>, dataset: &Dataset, chunk: usize) -> Result<Self> {
        let format = F::try_new(dataset, export_of(dataset)?)?;
        Ok(Self { files: ExportFiles::find(root, dataset)?, format: Text { format, chunk } })
    }
}

impl<F: TextFormat> FileFormat for Text<F> {
    fn columns(&self, files: &ExportFiles, name: &str) -> Result<Option<Vec<FileColumn>>> {
        self.format.columns(files, name, self.chunk.min(HEAD_CHUNK))
    }

    fn open(&self, files: &ExportFiles, name: &str, spec: &ScanSpec) -> Result<Box<dyn BatchReader>> {
        let Decoding { rows, decoder, columns } = self.format.decoding(files, name, spec, self.chunk)?;
        Ok(Box::new(TextReader::new(rows, decoder, columns, spec)))
    }

    fn verify(&self, files: &ExportFiles, name: &str) -> Result<()> {
        self.format.verify(files, name, self.chunk)
    }

    fn replay(&self, files: &ExportFiles, name: &str, spec: &ScanSpec, rows: &[KeptRow]) -> Result<Replayed> {
        let chunk = self.chunk.min(HEAD_CHUNK);
        let Decoding { rows: file, mut decoder, columns } = self.format.decoding(files, name, spec, chunk)?;
        text::replay(&mut decoder, columns, spec, (name, file.order()), rows)
    }
}
