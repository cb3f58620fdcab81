//! Avro object container files (specification 1.12): blocks of rows behind a header that holds their schema.
//!
//! ```text
//!  file ─► Blocks ───────────► rows cut by the schema ─► key ─► probe ─► miss
//!          unpacked, within      one after the other        └► hit: tree ─► paths ─► values ─► convert
//!          limits, marks compared
//! ```
//!
//! An item is what a path finds in a row, as in JSON. Rows stand in memory one block at a time. A file whose blocks do not hold
//! what their schema says is damaged, which is an error of its export; a value that cannot become its item's is a reject.
//!
//! Dates, times and decimal numbers become items as those of Parquet do: a time that is an instant becomes Korean civil time, one
//! that is `local-` is taken as it stands.
//!
//! | file | knows |
//! |---|---|
//! | `schema` | the types of a file's rows |
//! | `container` | header and blocks; the codecs `null`, `deflate`, `snappy` and `zstandard` |
//! | `walk` | where a row ends, and every value in it |
//! | `tree` | the values of a row as text |
//! | `reader` | files, partitions |

mod container;
pub(crate) mod reader;
mod schema;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

use ieum_model::dataset::Dataset;
use ieum_model::error::Result;

use crate::export::TextExport;
use crate::folder::Folder;
use crate::replay::Replay;
use crate::text::CHUNK;

pub(crate) use reader::columns;

/// Opens the Avro export of `dataset` below `root`.
///
/// # Errors
/// When no file matches, or the export declares what such a file does not have.
pub fn open(root: impl Into<Folder>, dataset: &Dataset) -> Result<Box<dyn Replay>> {
    Ok(Box::new(TextExport::<reader::Avro>::try_new(root, dataset, CHUNK)?))
}
