//! What becomes of every change of an export, and which records of its base it puts aside.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use ieum_model::connector::{KeyProbe, ScanSpec};
use ieum_model::dataset::Deltas;
use ieum_model::error::Result;
use rustc_hash::{FxHashMap, FxHashSet};
use twox_hash::XxHash64;

use crate::export::{Decoding, ExportFiles, TextFormat};
use crate::fixed_width::CHANGE;
use crate::sample::Bin;
use crate::text::{Decode, Verdict};

/// Rows of a batch while files are looked through.
const BATCH_ROWS: usize = 8192;

/// What is wrong with a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It inserts a record that is there.
    There,
    /// It updates or deletes a record that is not there.
    Absent,
    /// It is none of I, U and D.
    Unknown,
}

impl Fault {
    /// What was expected of it.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::There => "expected an insert of a record that is not there yet",
            Self::Absent => "expected an update or deletion of a record that is there",
            Self::Unknown => "expected I, U or D for what the change does",
        }
    }
}

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is the record as it stands now, or nobody can tell.
    Current,
    /// It is the record as it stands now, by a change that was meant as another.
    Repaired,
    /// A later change has put it aside, or it deletes the record.
    Aside,
    /// It changes nothing.
    Bad(Fault),
}

/// The fates of all changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Of each file of changes, in the order of its rows.
    fates: Vec<Vec<Fate>>,
    /// By file and bytes of a row, for rows that were kept out of their file.
    by_row: FxHashMap<u64, Fate>,
    /// Records of the base that are no longer as they stand there.
    aside: FxHashSet<Vec<u8>>,
}

impl Changes {
    /// The fate of the row with this number, from 1, in a file of changes; of one without number by what it holds.
    pub(super) fn fate(&self, file: usize, ordinal: u64, row: &[u8]) -> Fate {
        let by_number = || self.fates.get(file)?.get(usize::try_from(ordinal.checked_sub(1)?).ok()?).copied();
        by_number().or_else(|| self.by_row.get(&row_hash(file, row)).copied()).unwrap_or(Fate::Current)
    }

    pub(super) fn nothing_aside(&self) -> bool {
        self.aside.is_empty()
    }

    pub(super) fn puts_aside(&self, identity: &[u8]) -> bool {
        self.aside.contains(identity)
    }
}

fn row_hash(file: usize, row: &[u8]) -> u64 {
    XxHash64::oneshot(file as u64, row)
}

/// What tells a record from others: its cells, each behind its length.
pub(super) fn identity(cells: &[Vec<u8>]) -> Vec<u8> {
    let mut identity = Vec::with_capacity(cells.iter().map(|cell| cell.len() + 8).sum());
    for cell in cells {
        identity.extend_from_slice(&(cell.len() as u64).to_le_bytes());
        identity.extend_from_slice(cell);
    }
    identity
}

/// What finds the cells that tell records apart and, of a file of changes, what its rows do.
pub(super) fn told_by(deltas: &Deltas, is_change: bool) -> ScanSpec {
    let change = is_change.then(|| deltas.change.as_deref().unwrap_or(CHANGE));
    let names = deltas.key.iter().map(String::as_str).chain(change);
    let fields: Vec<Field> = names.map(|name| Field::new(name, DataType::Utf8, true)).collect();
    ScanSpec {
        schema: Arc::new(Schema::new(fields)),
        key_column: deltas.key.first().cloned().unwrap_or_default(),
        probe: None,
        // What cannot be read is told when the rows themselves are read.
        rejects: Arc::new(Bin::default()),
        batch_rows: BATCH_ROWS,
    }
}

/// One change of a record.
struct Change {
    file: usize,
    /// Place in its file, from 0.
    at: usize,
    kind: u8,
}

/// Looks through the changes of an export, and in its base for the records that they are of.
///
/// # Errors
/// When a file cannot be read, or lacks a column that tells records apart.
pub(super) fn of<F: TextFormat>(
    format: &F,
    files: &ExportFiles,
    deltas: &Deltas,
    upserts: bool,
    chunk: usize,
) -> Result<Changes> {
    let key_columns = deltas.key.len();
    let mut changes = Changes::default();
    let mut of_records: FxHashMap<Vec<u8>, Vec<Change>> = FxHashMap::default();
    let mut firsts = FxHashSet::default();
    let mut hashes = Vec::new();
    for (file, name) in files.deltas().iter().enumerate() {
        let (mut fates, mut of_file) = (Vec::new(), Vec::new());
        scan(format, files, name, &told_by(deltas, true), chunk, |number, row, cells| {
            let at = usize::try_from(number).unwrap_or(usize::MAX) - 1;
            fates.resize(at + 1, Fate::Current);
            of_file.resize(at + 1, 0);
            of_file[at] = row_hash(file, row);
            let Some(mut cells) = cells else { return };
            let kind = cells.pop().unwrap_or_default();
            let [kind @ (b'I' | b'U' | b'D')] = kind[..] else {
                fates[at] = Fate::Bad(Fault::Unknown);
                return;
            };
            firsts.insert(cells.first().cloned().unwrap_or_default());
            of_records.entry(identity(&cells)).or_default().push(Change { file, at, kind });
        })?;
        changes.fates.push(fates);
        hashes.push(of_file);
    }
    let mut there = FxHashSet::default();
    if !of_records.is_empty() {
        let spec = ScanSpec { probe: Some(Arc::new(Touched(firsts))), ..told_by(deltas, false) };
        for name in files.bases() {
            scan(format, files, name, &spec, chunk, |_, _, cells| {
                let identity = cells.map(|cells| identity(&cells[..key_columns]));
                there.extend(identity.filter(|identity| of_records.contains_key(identity)));
            })?;
        }
    }
    for (identity, of_record) in of_records {
        let is_there = there.contains(&identity);
        if apply(&of_record, is_there, upserts, &mut changes.fates) && is_there {
            changes.aside.insert(identity);
        }
    }
    for (fates, hashes) in changes.fates.iter().zip(&hashes) {
        changes.by_row.extend(hashes.iter().copied().zip(fates.iter().copied()));
    }
    Ok(changes)
}

/// Says what becomes of the changes of one record, and whether any of them changes it.
fn apply(changes: &[Change], mut is_there: bool, upserts: bool, fates: &mut [Vec<Fate>]) -> bool {
    let mut current: Option<&Change> = None;
    let mut changes_it = false;
    for change in changes {
        let fault = match (change.kind, is_there) {
            (b'I', true) => Some(Fault::There),
            (b'U' | b'D', false) => Some(Fault::Absent),
            _ => None,
        };
        if let Some(fault) = fault.filter(|_| !upserts) {
            fates[change.file][change.at] = Fate::Bad(fault);
            continue;
        }
        if let Some(before) = current.take() {
            fates[before.file][before.at] = Fate::Aside;
        }
        is_there = change.kind != b'D';
        changes_it = true;
        fates[change.file][change.at] = match (is_there, fault) {
            (false, _) => Fate::Aside,
            (true, None) => Fate::Current,
            (true, Some(_)) => Fate::Repaired,
        };
        current = is_there.then_some(change);
    }
    changes_it
}

/// Tells the number of every row of a file, from 1, its bytes, and the cells of `spec` as text where they can be read and its probe lets
/// them pass; rows that are passed over are not told.
fn scan<F: TextFormat>(
    format: &F,
    files: &ExportFiles,
    name: &str,
    spec: &ScanSpec,
    chunk: usize,
    mut met: impl FnMut(u64, &[u8], Option<Vec<Vec<u8>>>),
) -> Result<()> {
    let Decoding { mut rows, mut decoder, mut columns } = format.decoding(files, name, spec, chunk)?;
    let width = spec.schema.fields().len();
    let mut number = 0;
    loop {
        number += rows.pass_over(|bytes| decoder.pass_over(bytes));
        let Some(piece) = rows.advance()? else { return Ok(()) };
        number += 1;
        let row = rows.row(&piece);
        let verdict = (!piece.is_broken()).then(|| decoder.decode(row, piece.is_quoted(), &mut columns));
        let is_hit = matches!(verdict, Some(Verdict::Kept | Verdict::Repaired { .. }));
        let cell = |column| columns.text(&decoder.cell(row, piece.is_quoted(), column)?);
        let cells = if is_hit { (0..width).map(cell).collect() } else { None };
        met(number, row, cells);
        if columns.is_full(BATCH_ROWS) {
            columns.finish()?;
        }
    }
}

/// The first cells of what tells the changed records apart.
struct Touched(FxHashSet<Vec<u8>>);

impl KeyProbe for Touched {
    fn may_match(&self, raw_key: &[u8]) -> bool {
        self.0.contains(raw_key)
    }
}
