//! Workbooks of a spreadsheet program, `.xlsx` and `.xls`: titles, headers of several rows, cells that are filled down, one
//! sheet a month.
//!
//! ```text
//!  file ─► bytes ─► limits ─► book ───────► rows, a thread ahead ─► header ─► fill down ─► key cell ─► probe ─► miss
//!                   biff      (calamine)                                                      └► hit: wanted cells ─► convert
//! ```
//!
//! | file | knows |
//! |---|---|
//! | `biff`, `limits` | what must be known of a file before a reader trusts it |
//! | `book` | workbook → sheets → blocks of rows |
//! | `cell` | a cell, and its text as an item's type wants it |
//! | `header` | the names of columns |
//! | `decoder` | rows → columns and rejects; no files |
//! | `reader` | files, partitions, control totals |

mod biff;
mod book;
mod cell;
mod decoder;
mod header;
mod limits;
mod reader;

use ieum_model::dataset::Dataset;
use ieum_model::error::Result;

use crate::export::{ExportFiles, FileExport};
use crate::export_of;
use crate::folder::Folder;
use crate::replay::Replay;

pub use book::{BookKind, Preview, is_book, preview};
pub use header::joined;

/// Opens the workbook export of `dataset` below `root`.
///
/// # Errors
/// When no file matches, or the export declares what a workbook does not have.
pub fn open(root: impl Into<Folder>, dataset: &Dataset) -> Result<Box<dyn Replay>> {
    let format = reader::Xlsx::try_new(dataset, export_of(dataset)?)?;
    Ok(Box::new(FileExport { files: ExportFiles::find(root, dataset)?, format }))
}
