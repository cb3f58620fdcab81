//! XML: an element for every row, wherever it stands in the document.
//!
//! Rows are cut by the name of their element alone, so a document that is not well-formed is read row by row all the same: what
//! is broken is rejected with its place, and reading goes on at the next row. A row element never holds one of its own name.
//! What stands between rows and is no row, is rejected too; what stands before the first one and after the last is not read.
//!
//! No entity is expanded but the five of XML and characters by their number, so none can grow: a document that declares
//! entities is refused.

pub mod cutter;
pub mod markup;
pub mod tree;

use ieum_model::dataset::{Dataset, Export};
use ieum_model::error::{Error, Result};

use self::cutter::ElementCutter;
use self::markup::Xml;
use crate::encoding;
use crate::folder::Folder;
use crate::nested::reader::{Nested, NestedConnector};
use crate::replay::Replay;
use crate::text::CHUNK;

/// An element for every row.
pub struct Elements;

impl Nested for Elements {
    type Cutter = ElementCutter;
    type Markup = Xml;
    const SEPARATOR: char = '/';

    fn cutter(export: &Export) -> Result<ElementCutter> {
        let name = export.rows.as_deref().filter(|name| !name.is_empty());
        let name = name.and_then(|name| encoding::encode(export.encoding.of_cells(), name));
        name.map(|name| ElementCutter::new(&name))
            .ok_or_else(|| Error::config("xml needs the name of its row element in `rows`"))
    }

    fn markup(export: &Export) -> Xml {
        Xml::of(export)
    }
}

/// Opens the export of `dataset` below `root`.
///
/// # Errors
/// When no file matches, or the export does not name its row element.
pub fn open(root: impl Into<Folder>, dataset: &Dataset) -> Result<Box<dyn Replay>> {
    Ok(Box::new(NestedConnector::<Elements>::try_new(root, dataset, CHUNK)?))
}
