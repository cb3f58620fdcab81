//! A file of a new holder → what an `[export]` section could say of it. It only suggests: a person reads it over.
//!
//! ```text
//!  head of the file ─► format ─┬─ text ─► encoding ─► delimiter ─► header ──┐
//!                              ├─ workbook ─► sheet ─► title, header rows ──┼─► columns ─► types, identifiers ─► catalog file
//!                              ├─ parquet, avro ─► schema ──────────────────┤
//!                              └─ copybook ─► fields ───────────────────────┘
//! ```
//!
//! | file | knows |
//! |---|---|
//! | `format` | what the first bytes tell; the encoding is for [`crate::detect`] |
//! | `table` | delimiters and headers of text; titles and headers of sheets |
//! | `types` | what the values of a column are |
//! | `proposal` | what was found, as a catalog file |

mod format;
mod proposal;
mod table;
mod types;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ieum_model::dataset::{Encoding, Framing};
use ieum_model::error::{Error, Result};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

use crate::files::Source;
use crate::records::copybook;
use crate::{avro, detect, xlsx};

pub use crate::detect::shown;
pub use format::FileFormat;
pub use proposal::{Column, Proposal, SheetPlace};
pub use types::Identify;

/// Bytes of a text file that are looked at.
const HEAD: usize = 1024 * 1024;
/// Bytes of a workbook at most.
const MAX_BOOK: usize = 512 * 1024 * 1024;
/// Rows of a sheet that are looked at.
const SHEET_ROWS: usize = 200;

/// What the file at `path` seems to be. `identify` says whether a value is a sound identifier of a kind.
///
/// # Errors
/// When the file cannot be read, or is a workbook or Parquet file that is damaged.
///
/// # Privacy
/// Reads rows of the file; what it gives has the names of columns and sheets, and no value of a row.
pub fn discover(path: &Path, identify: &Identify<'_>) -> Result<Proposal> {
    let (folder, name) = parts(path)?;
    let mut source = Source::open(folder, &name)?;
    let mut head = vec![0; HEAD];
    let filled = source.fill(&mut head)?;
    head.truncate(filled);
    let is_whole = filled < HEAD;
    let format = format::guess(&head, is_whole);
    let proposal = match format {
        FileFormat::Xlsx => workbook(source, head, is_whole, identify)?,
        FileFormat::Parquet => parquet(path)?,
        FileFormat::Avro => avro(Source::open(folder, &name)?)?,
        FileFormat::Csv => table::of_text(&head, is_whole, identify),
        FileFormat::Records => records(&head),
        other => Proposal::of(other),
    };
    Ok(Proposal { path: name, ..proposal })
}

/// The fields that a copybook declares, as an export of records in `encoding`.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Config`] with the line of what cannot be laid out.
pub fn of_copybook(text: &str, encoding: Encoding) -> Result<Proposal> {
    let book = copybook::parse(text)?;
    let mut proposal = Proposal::of(FileFormat::Records);
    proposal.encoding = Some(encoding);
    proposal.framing = Some(if encoding.is_ebcdic() { Framing::Fixed } else { Framing::Lines });
    proposal.record_bytes = Some(book.record_bytes);
    if book.varying {
        proposal
            .notes
            .push("the last part may occur less often: if records vary in length, write framing = \"rdw\"".into());
    }
    proposal.columns = book.fields.into_iter().map(Column::of_field).collect();
    Ok(proposal)
}

fn parts(path: &Path) -> Result<(&Path, String)> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Error::config("the path names no file").at("path", path.display()))?;
    Ok((path.parent().unwrap_or(Path::new("")), name.to_owned()))
}

/// What `read` gives; readers of workbooks and Parquet files panic over some damages.
fn guarded<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(Error::contract("the file is damaged")))
}

fn workbook(mut source: Source, mut file: Vec<u8>, is_whole: bool, identify: &Identify<'_>) -> Result<Proposal> {
    let mut at_end = is_whole;
    while !at_end && file.len() <= MAX_BOOK {
        let start = file.len();
        file.resize(start + HEAD, 0);
        let filled = source.fill(&mut file[start..])?;
        file.truncate(start + filled);
        at_end = filled < HEAD;
    }
    let preview = guarded(|| xlsx::preview(file, SHEET_ROWS)).map_err(|error| error.at("export", source.name()))?;
    Ok(table::of_sheets(&preview, identify))
}

fn parquet(path: &Path) -> Result<Proposal> {
    let file = File::open(path).map_err(|error| crate::files::io_error(&path.display().to_string(), &error))?;
    let metadata = guarded(|| {
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new());
        metadata.map_err(|error| Error::contract(format!("not a whole Parquet file: {error}")))
    });
    let metadata = metadata.map_err(|error| error.at("file", path.display()))?;
    let mut proposal = Proposal::of(FileFormat::Parquet);
    let columns = metadata.schema().fields().iter().map(|field| types::of_arrow(field));
    proposal.columns = proposal::coded(columns.collect());
    Ok(proposal)
}

fn avro(source: Source) -> Result<Proposal> {
    let mut proposal = Proposal::of(FileFormat::Avro);
    let found = avro::columns(source)?.into_iter();
    let found = found.map(|(name, item_type)| types::Found { name, item_type, identifies: false });
    proposal.columns = proposal::coded(found.collect());
    Ok(proposal)
}

/// Records without delimiter, of which no description says how they are cut.
fn records(head: &[u8]) -> Proposal {
    let mut proposal = Proposal::of(FileFormat::Records);
    let ebcdic = detect::ebcdic(head);
    proposal.encoding = Some(ebcdic.unwrap_or_else(|| detect::encoding(head)));
    let note = "how records are cut is not in the file: give its copybook (`ieum source copybook`), or write `layout`";
    proposal.notes.push(note.into());
    if ebcdic.is_none() {
        proposal.framing = Some(Framing::Lines);
        proposal.record_bytes = head.split(|byte| *byte == b'\n').next().map(|line| line.trim_ascii_end().len());
    } else {
        proposal.framing = Some(Framing::Fixed);
    }
    proposal
}
