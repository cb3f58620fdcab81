//! Files of nested rows.

use std::marker::PhantomData;
use std::sync::Arc;

use ieum_model::connector::ScanSpec;
use ieum_model::dataset::{Dataset, Encoding, Export};
use ieum_model::error::{Error, Result};
use ieum_model::path::Paths;

use super::decoder::{Markup, NestedDecoder};
use crate::columns;
use crate::convert::Columns;
use crate::export::{Decoding, ExportFiles, TextExport, TextFormat};
use crate::files::Source;
use crate::text::{self, Cutter, Rows, Window};

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
pub(crate) type NestedConnector<N> = TextExport<NestedRows<N>>;

/// A [`Nested`] format as one whose rows stand one after the other.
pub(crate) struct NestedRows<N>(PhantomData<N>);

impl<N: Nested> NestedRows<N> {
    fn rows(files: &ExportFiles, name: &str, chunk: usize) -> Result<Rows<N::Cutter>> {
        let export = &files.export;
        let mut window = Window::new(Source::of_export(&files.root, name, export)?, chunk, export.limits);
        window.require(3)?;
        text::skip_mark(&mut window, export.encoding.of_cells(), name)?;
        if window.at_end() && window.bytes().is_empty() {
            return Err(files.broken(name, "file is empty", text::TELLS_NOTHING));
        }
        Ok(Rows::new(window, N::cutter(export)?, 1))
    }
}

impl<N: Nested> TextFormat for NestedRows<N> {
    type Cutter = N::Cutter;
    type Decoder = NestedDecoder<N::Markup>;

    fn try_new(dataset: &Dataset, export: &Export) -> Result<Self> {
        N::cutter(export).map_err(|error| error.at("dataset", &dataset.code))?;
        Ok(Self(PhantomData))
    }

    fn decoding(
        &self,
        files: &ExportFiles,
        name: &str,
        spec: &ScanSpec,
        chunk: usize,
    ) -> Result<Decoding<N::Cutter, Self::Decoder>> {
        let rows = Self::rows(files, name, chunk)?;
        let paths = paths(files, spec, N::SEPARATOR).map_err(|error| error.at("export", name))?;
        let (decoder, columns) =
            decoder(files, spec, N::markup(&files.export), paths, files.export.encoding.of_cells())?;
        Ok(Decoding { rows, decoder, columns })
    }

    /// That no file is cut off.
    fn verify(&self, files: &ExportFiles, name: &str, chunk: usize) -> Result<()> {
        let mut rows = Self::rows(files, name, chunk)?;
        while rows.advance()?.is_some() {}
        Ok(())
    }
}

/// The paths of each column that is wanted: those that the export maps to it, else its abbreviation or code as a name.
///
/// # Errors
/// When what is mapped is no path, or nobody knows the column.
pub(crate) fn paths(files: &ExportFiles, spec: &ScanSpec, separator: char) -> Result<Vec<Paths>> {
    spec.schema.fields().iter().map(|field| paths_of(&files.dataset, &files.export, field.name(), separator)).collect()
}

fn paths_of(dataset: &Dataset, export: &Export, code: &str, separator: char) -> Result<Paths> {
    let mapped: Vec<&String> = export.columns.iter().filter(|(_, to)| *to == code).map(|(path, _)| path).collect();
    let mut paths = Vec::new();
    for path in &mapped {
        let parsed = Paths::parse(path, separator).map_err(|error| {
            Error::config(format!("column is no path: {error}")).at("dataset", &dataset.code).at("column", path)
        })?;
        paths.extend(parsed.0);
    }
    if mapped.is_empty() {
        if !knows(dataset, code) {
            return Err(Error::contract(format!("column `{code}` is missing"))
                .at("dataset", &dataset.code)
                .at("column", code)
                .hint("map the path of its value in `columns` of the dataset's [export]"));
        }
        let std = dataset.items.get(code).and_then(|item| item.std.as_deref());
        paths.extend(std.into_iter().chain([code]).map(Paths::of_name));
    }
    Ok(Paths(paths))
}

fn knows(dataset: &Dataset, code: &str) -> bool {
    let mapped = dataset.maps.iter().flat_map(|map| [&map.from, &map.to]);
    let mut keys = dataset.keys().map(|key| &key.item).chain(mapped);
    dataset.items.contains_key(code) || keys.any(|key| key == code)
}

/// What decodes rows as `spec` wants, whose `paths` stand in the order of its columns, and the batch that they become. The names of
/// members are in `encoding`.
///
/// # Errors
/// When the columns are none that an item can have, which is our bug.
pub(crate) fn decoder<M: Markup>(
    files: &ExportFiles,
    spec: &ScanSpec,
    markup: M,
    paths: Vec<Paths>,
    encoding: Encoding,
) -> Result<(NestedDecoder<M>, Columns)> {
    let probe = spec.probe.clone().zip(columns::key(spec)?);
    let index = |name: &str| spec.schema.index_of(name).ok();
    let keys = match index(&spec.key_column) {
        Some(key) => vec![key],
        // Who reads without one may look rows up by any.
        None => files.dataset.lookup_keys().iter().filter_map(|key| index(&key.item)).collect(),
    };
    let types = columns::types(&files.dataset);
    let types = spec.schema.fields().iter().map(|field| types.get(field.name()).copied()).collect();
    let decoder = NestedDecoder::new(markup, encoding, paths, types, keys, probe);
    let columns = Columns::try_new(Arc::clone(&spec.schema), encoding, files.export.list_separator)?;
    Ok((decoder, columns))
}
