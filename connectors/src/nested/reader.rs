//! Files of nested rows.

use std::sync::Arc;

use ieum_model::connector::{BatchReader, Connector, ScanSpec};
use ieum_model::dataset::{Dataset, Export};
use ieum_model::error::{Error, Result};
use ieum_model::path::Paths;

use super::decoder::{Markup, NestedDecoder};
use crate::convert::Columns;
use crate::csv::reader::skip_mark;
use crate::files::{self, Source};
use crate::folder::Folder;
use crate::replay::{HEAD_CHUNK, KeptRow, Replay, Replayed};
use crate::text::{self, Cutter, Rows, TextReader, Window};
use crate::{columns, control, export_of, nothing_matches};

/// A format of nested rows.
pub trait Nested: Send + Sync + 'static {
    /// Cuts its rows.
    type Cutter: Cutter + 'static;
    /// Reads them.
    type Markup: Markup + 'static;
    /// What stands between the names of a path.
    const SEPARATOR: char;

    /// What cuts the rows of an export.
    ///
    /// # Errors
    /// When the export does not say where its rows stand.
    fn cutter(export: &Export) -> Result<Self::Cutter>;

    /// What reads the rows of an export.
    fn markup(export: &Export) -> Self::Markup;
}

/// An export of nested rows.
pub struct NestedConnector<N> {
    root: Folder,
    dataset: Dataset,
    export: Export,
    names: Vec<String>,
    sizes: Vec<u64>,
    modified: Vec<i64>,
    chunk: usize,
    format: std::marker::PhantomData<N>,
}

impl<N: Nested> NestedConnector<N> {
    /// Opens the export of `dataset` below `root`, of whose files `chunk` bytes are read at a time.
    ///
    /// # Errors
    /// When no file matches, or the export does not say where its rows stand.
    pub fn try_new(root: impl Into<Folder>, dataset: &Dataset, chunk: usize) -> Result<Self> {
        let root = root.into();
        let export = export_of(dataset)?.clone();
        N::cutter(&export).map_err(|error| error.at("dataset", &dataset.code))?;
        let names = files::partitions(&root, &export)?;
        if names.is_empty() {
            return Err(nothing_matches(dataset, &export));
        }
        let (sizes, modified) = (files::sizes(&root, &names)?, files::modified(&root, &names)?);
        let dataset = dataset.clone();
        Ok(Self { root, dataset, export, names, sizes, modified, chunk, format: std::marker::PhantomData })
    }

    fn rows(&self, name: &str, chunk: usize) -> Result<Rows<N::Cutter>> {
        let source = Source::of_export(&self.root, name, &self.export)?;
        let mut window = Window::new(source, chunk, self.export.limits);
        window.require(3)?;
        skip_mark(&mut window, self.export.encoding.of_cells(), name)?;
        if window.at_end() && window.bytes().is_empty() {
            return Err(Error::contract("file is empty")
                .at("dataset", &self.dataset.code)
                .at("export", name)
                .hint("a file of no byte tells nothing; ask the holder to deliver it again"));
        }
        Ok(Rows::new(window, N::cutter(&self.export)?, 1))
    }

    /// The paths of a column: those that the export maps to it, else its abbreviation or code as a name.
    fn paths(&self, code: &str) -> Result<Paths> {
        let mapped: Vec<&String> =
            self.export.columns.iter().filter(|(_, to)| *to == code).map(|(path, _)| path).collect();
        let mut paths = Vec::new();
        for path in &mapped {
            let parsed = Paths::parse(path, N::SEPARATOR).map_err(|error| {
                Error::config(format!("column is no path: {error}"))
                    .at("dataset", &self.dataset.code)
                    .at("column", path)
            })?;
            paths.extend(parsed.0);
        }
        if mapped.is_empty() {
            if !self.knows(code) {
                return Err(Error::contract(format!("column `{code}` is missing"))
                    .at("dataset", &self.dataset.code)
                    .at("column", code)
                    .hint("map the path of its value in `columns` of the dataset's [export]"));
            }
            let std = self.dataset.items.get(code).and_then(|item| item.std.as_deref());
            paths.extend(std.into_iter().chain([code]).map(Paths::of_name));
        }
        Ok(Paths(paths))
    }

    fn knows(&self, code: &str) -> bool {
        let mapped = self.dataset.maps.iter().flat_map(|map| [&map.from, &map.to]);
        let mut keys = self.dataset.keys().map(|key| &key.item).chain(mapped);
        self.dataset.items.contains_key(code) || keys.any(|key| key == code)
    }

    /// The name of a partition, its rows, and what decodes them as `spec` wants.
    #[allow(clippy::type_complexity)]
    fn decoding(
        &self,
        partition: usize,
        spec: &ScanSpec,
        chunk: usize,
    ) -> Result<(&str, Rows<N::Cutter>, NestedDecoder<N::Markup>, Columns)> {
        let name = self.names.get(partition).ok_or_else(|| Error::internal("no such partition"))?;
        let rows = self.rows(name, chunk)?;
        let paths = spec.schema.fields().iter().map(|field| self.paths(field.name())).collect::<Result<Vec<_>>>();
        let paths = paths.map_err(|error| error.at("export", name))?;
        let probe = spec.probe.clone().zip(columns::key(spec)?);
        let index = |name: &str| spec.schema.index_of(name).ok();
        let keys = match index(&spec.key_column) {
            Some(key) => vec![key],
            // Who reads without one may look rows up by any.
            None => self.dataset.lookup_keys().iter().filter_map(|key| index(&key.item)).collect(),
        };
        let encoding = self.export.encoding.of_cells();
        let decoder = NestedDecoder::new(N::markup(&self.export), encoding, paths, keys, probe);
        let columns = Columns::try_new(Arc::clone(&spec.schema), encoding, self.export.list_separator)?;
        Ok((name, rows, decoder, columns))
    }
}

impl<N: Nested> Connector for NestedConnector<N> {
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

    /// The manifest, and that no file is cut off.
    fn verify_control(&self) -> Result<()> {
        for name in &self.names {
            let manifest = match self.export.control.manifest {
                Some(_) => control::verify_manifest(&self.root, name),
                None => Ok(()),
            };
            let whole = manifest.and_then(|()| {
                let mut rows = self.rows(name, self.chunk)?;
                while rows.advance()?.is_some() {}
                Ok(())
            });
            whole.map_err(|error| error.at("dataset", &self.dataset.code))?;
        }
        Ok(())
    }

    fn checks_totals_while_reading(&self) -> bool {
        self.export.control.manifest.is_none()
    }
}

impl<N: Nested> Replay for NestedConnector<N> {
    fn replay(&self, partition: usize, spec: &ScanSpec, rows: &[KeptRow]) -> Result<Replayed> {
        let (name, file, mut decoder, columns) = self.decoding(partition, spec, self.chunk.min(HEAD_CHUNK))?;
        text::replay(&mut decoder, columns, spec, (name, file.order()), rows)
    }
}
