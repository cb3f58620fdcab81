//! Bare records of byte-counted fields, as COBOL programs write them: EBCDIC or not, numbers zoned, packed or binary, with no
//! header and no trailer record.
//!
//! ```text
//!  records ─► framing ─► key's bytes ─► text ─► probe ─► miss
//!             fixed, lines, rdw                   └► hit: wanted fields ─► number or text ─► convert
//!
//!  copybook ─► levels ─► offsets ─► fields: what `[export]` declares
//! ```
//!
//! | file | knows |
//! |---|---|
//! | `ebcdic` | the tables of code pages 37, 500 and 933 |
//! | `number` | zoned, packed and binary numbers → decimal text |
//! | `decoder` | records → fields → columns; no files |
//! | `reader` | files, partitions, control totals |
//! | [`copybook`] | the layout that a COBOL program declares |

#[cfg(test)]
mod cobrix;
pub mod copybook;
mod decoder;
pub(crate) mod ebcdic;
mod number;
mod picture;
pub(crate) mod reader;

use ieum_model::dataset::Dataset;
use ieum_model::error::Result;

use crate::folder::Folder;
use crate::replay::Replay;
use crate::text::CHUNK;

/// Opens the export of `dataset` below `root`, whose files are bare records.
///
/// # Errors
/// When no file matches, or the export declares no layout.
pub fn open(root: impl Into<Folder>, dataset: &Dataset) -> Result<Box<dyn Replay>> {
    Ok(Box::new(reader::RecordsConnector::try_new(root, dataset, CHUNK)?))
}
