//! JSON (RFC 8259): an object a line, or an array of objects in a document. FHIR R4 bulk files are the former.
//!
//! Numbers keep the digits they have in the file; only a whole number that was written with a fraction of zeros, as tools do
//! that know no whole numbers, loses it where an item is one.

pub mod cutter;
pub mod markup;
pub mod tape;

use ieum_model::dataset::{Dataset, Export};
use ieum_model::error::{Error, Result};

use self::cutter::{ArrayCutter, LineCutter};
use self::markup::Json;
use crate::folder::Folder;
use crate::nested::reader::{Nested, NestedConnector};
use crate::replay::Replay;
use crate::text::CHUNK;

/// An object a line.
pub struct Lines;

/// An array of objects.
pub struct Document;

impl Nested for Lines {
    type Cutter = LineCutter;
    type Markup = Json;
    const SEPARATOR: char = '.';

    fn cutter(_export: &Export) -> Result<LineCutter> {
        Ok(LineCutter)
    }

    fn markup(export: &Export) -> Json {
        Json::of(export)
    }
}

impl Nested for Document {
    type Cutter = ArrayCutter;
    type Markup = Json;
    const SEPARATOR: char = '.';

    fn cutter(export: &Export) -> Result<ArrayCutter> {
        let rows = export.rows.as_deref().unwrap_or_default();
        let names: Vec<String> = rows.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let is_path = rows.is_empty() || names.join(".") == rows;
        if is_path { Ok(ArrayCutter::new(names)) } else { Err(Error::config("`rows` is no path").at("rows", rows)) }
    }

    fn markup(export: &Export) -> Json {
        Json::of(export)
    }
}

/// Opens the export of `dataset` below `root`, an object a line.
///
/// # Errors
/// When no file matches.
pub fn open_lines(root: impl Into<Folder>, dataset: &Dataset) -> Result<Box<dyn Replay>> {
    Ok(Box::new(NestedConnector::<Lines>::try_new(root, dataset, CHUNK)?))
}

/// Opens the export of `dataset` below `root`, an array of objects.
///
/// # Errors
/// When no file matches, or the export does not say where the array stands.
pub fn open_document(root: impl Into<Folder>, dataset: &Dataset) -> Result<Box<dyn Replay>> {
    Ok(Box::new(NestedConnector::<Document>::try_new(root, dataset, CHUNK)?))
}
