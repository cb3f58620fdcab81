//! What was read of an export, and what must hold of it.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use ieum_connectors::replay::{KeptRow, Replay};
use ieum_model::connector::{KeyProbe, ReadCounts, Reject, RejectSink, Repaired, ScanSpec};
use ieum_model::dataset::Dataset;
use ieum_model::error::{Error, ErrorKind, Result};

use super::place;

/// The columns of [`dataset`], its key first.
pub const COLUMNS: [&str; 6] = ["rrno", "name", "amount", "day", "rate", "tags"];
/// More bytes than an input has.
const WHOLE: usize = 256 * 1024;
/// Rows, and rejects, of which no more are read: a compressed file may hold many.
const ENOUGH: usize = 100_000;

/// A dataset with this `[export]` section.
pub fn dataset(export: &str) -> Dataset {
    let text = format!(
        "code='d'\nname_ko='d'\nholder='h'\ncategory='1'\nbasis='K'\nkey={{item='rrno',space='person'}}\n\
         items.name={{name_ko='n',std='NM',type='str',sensitivity='D'}}\n\
         items.amount={{name_ko='a',type='amt',sensitivity='F'}}\n\
         items.day={{name_ko='d',type='date',sensitivity='G'}}\n\
         items.rate={{name_ko='r',type='dec',sensitivity='G'}}\n\
         items.tags={{name_ko='t',type='str',sensitivity='G',list=true}}\n[export]\n{export}"
    );
    toml::from_str(&text).expect("the dataset of a target")
}

/// Keeps rejects, and the notes of repaired rows.
#[derive(Default)]
struct Bin(Mutex<(Vec<Reject>, Vec<Reject>)>);

impl RejectSink for Bin {
    fn reject(&self, reject: Reject) -> Result<()> {
        let rejects = &mut self.0.lock().expect("no thread panicked").0;
        if rejects.len() >= ENOUGH {
            return Err(enough());
        }
        rejects.push(reject);
        Ok(())
    }

    fn repaired(&self, note: Reject) -> Result<Repaired> {
        self.0.lock().expect("no thread panicked").1.push(note);
        Ok(Repaired::Told)
    }
}

fn enough() -> Error {
    Error::contract("enough was read")
}

/// Wanted keys; bytes that are no text may be one.
struct Wanted(HashSet<String>);

impl KeyProbe for Wanted {
    fn may_match(&self, raw_key: &[u8]) -> bool {
        std::str::from_utf8(raw_key).map_or(true, |key| self.0.contains(key.trim()))
    }
}

/// What was read of all partitions of an export, up to an error.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// Cells as text.
    pub rows: Vec<Vec<Option<String>>>,
    /// Without bytes.
    pub counts: ReadCounts,
    /// In file order.
    pub rejects: Vec<Reject>,
    /// In file order.
    pub repaired: Vec<Reject>,
    /// What ended the reading.
    pub error: Option<Error>,
}

impl Outcome {
    fn key(row: &[Option<String>]) -> Option<&str> {
        row[0].as_deref().map(str::trim)
    }

    /// About half of the keys.
    fn some_keys(&self) -> HashSet<String> {
        let half = |key: &&str| key.bytes().fold(7_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)) & 16 == 0;
        self.rows.iter().filter_map(|row| Self::key(row)).filter(half).map(str::to_owned).collect()
    }
}

fn texts(batch: &RecordBatch, rows: &mut Vec<Vec<Option<String>>>) {
    let options = FormatOptions::default();
    for column in batch.columns() {
        column.to_data().validate_full().expect("a column that Arrow can trust");
    }
    let formats: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).expect("a type with text"))
        .collect();
    rows.extend((0..batch.num_rows()).map(|row| {
        let cell = |(column, format): (&arrow::array::ArrayRef, &ArrayFormatter<'_>)| {
            column.is_valid(row).then(|| format.value(row).to_string())
        };
        batch.columns().iter().zip(&formats).map(cell).collect()
    }));
}

fn spec(dataset: &Dataset, columns: &[&str], probe: Option<&HashSet<String>>, bin: &Arc<Bin>) -> ScanSpec {
    let fields: Vec<_> = columns.iter().map(|code| dataset.column_field(code)).collect();
    ScanSpec {
        schema: Arc::new(Schema::new(fields)),
        key_column: columns[0].to_owned(),
        probe: probe.map(|keys| Arc::new(Wanted(keys.clone())) as _),
        rejects: Arc::<Bin>::clone(bin),
        batch_rows: 3,
    }
}

/// Reads every partition.
pub fn read(connector: &dyn Replay, dataset: &Dataset, columns: &[&str], probe: Option<&HashSet<String>>) -> Outcome {
    let bin = Arc::new(Bin::default());
    let spec = spec(dataset, columns, probe, &bin);
    let (mut rows, mut counts, mut error) = (Vec::new(), ReadCounts::default(), None);
    for partition in 0..connector.partitions().len() {
        let mut reader = match connector.open(partition, &spec) {
            Ok(reader) => reader,
            Err(refused) => {
                error = Some(refused);
                break;
            }
        };
        loop {
            let batch = reader.next_batch();
            assert!(reader.counts().balances(), "every row is accounted for: {:?}", reader.counts());
            match batch {
                Ok(Some(_)) if rows.len() >= ENOUGH => {
                    error = Some(enough());
                    break;
                }
                Ok(Some(batch)) => {
                    assert!(batch.num_rows() > 0 && batch.schema() == spec.schema);
                    texts(&batch, &mut rows);
                }
                Ok(None) => break,
                Err(refused) => {
                    error = Some(refused);
                    break;
                }
            }
        }
        counts += reader.counts();
        if error.is_some() {
            break;
        }
    }
    counts.bytes = 0;
    let (rejects, repaired) = std::mem::take(&mut *bin.0.lock().expect("no thread panicked"));
    match &error {
        // Of a file that cannot be read on, the last rows are not handed over.
        Some(error) => is_of_the_file(error),
        None => {
            assert_eq!(counts.kept, rows.len() as u64, "every kept row is handed over");
            assert_eq!(counts.rejected, rejects.len() as u64, "every reject is handed over");
        }
    }
    Outcome { rows, counts, rejects, repaired, error }
}

/// The holder's bytes are at fault; not the machine, the catalog, or the reader.
pub fn is_of_the_file(error: &Error) {
    assert!(matches!(error.kind, ErrorKind::Contract | ErrorKind::ControlTotals), "{error:?}");
}

/// Reads an export with a probe and one column of it, and compares. Gives the keys that were wanted and the rows of them.
pub fn probed(connector: &dyn Replay, dataset: &Dataset, columns: &[&str], all: &Outcome) {
    let keys = all.some_keys();
    let hit = read(connector, dataset, columns, Some(&keys));
    if all.error.is_none() {
        assert_eq!(hit.error, None, "a probe finds no fault that reading everything does not find");
        let wanted = |row: &&Vec<Option<String>>| Outcome::key(row).is_some_and(|key| keys.contains(key));
        let filtered: Vec<_> = all.rows.iter().filter(wanted).collect();
        assert_eq!(hit.rows.iter().collect::<Vec<_>>(), filtered, "a probe keeps what filtering afterwards keeps");
        assert_eq!(hit.counts.read, all.counts.read, "a probe meets every row");
    }
    let places: BTreeSet<(&str, u64, u64)> = hit.rejects.iter().map(place_of).collect();
    let told: BTreeSet<(&str, u64, u64)> = all.rejects.iter().map(place_of).collect();
    if all.error.is_none() {
        assert!(places.is_subset(&told), "a probe makes no new rejects");
        for reject in
            all.rejects.iter().filter(|reject| reject.column.as_ref().is_some_and(|column| column != columns[0]))
        {
            let is_wanted = |key: &Vec<u8>| std::str::from_utf8(key).is_ok_and(|key| keys.contains(key.trim()));
            let is_wanted = reject.strays.keys.iter().any(is_wanted);
            assert!(!is_wanted || places.contains(&place_of(reject)), "a rejected row of a wanted key is told");
        }
    }
    let narrow = read(connector, dataset, &columns[..1], None);
    if all.error.is_none() && narrow.error.is_none() {
        assert_eq!(narrow.counts.read, all.counts.read);
        assert!(narrow.rows.len() >= all.rows.len(), "fewer columns have fewer faults");
        let mut keys = narrow.rows.iter();
        assert!(all.rows.iter().all(|row| keys.any(|key| key[0] == row[0])), "the same keys, in the same order");
    }
}

fn place_of(reject: &Reject) -> (&str, u64, u64) {
    (&reject.source, reject.line, reject.byte_offset)
}

/// Rows that were kept aside are decoded as where they stand: all of them are rejected again.
pub fn replayed(connector: &dyn Replay, dataset: &Dataset, columns: &[&str], all: &Outcome) {
    for (partition, name) in connector.partitions().iter().enumerate() {
        let rejects: Vec<Reject> = all.rejects.iter().filter(|reject| reject.source == *name).cloned().collect();
        if rejects.is_empty() || all.error.is_some() {
            continue;
        }
        let kept = connector.keep(partition, &rejects).expect("a file that was read is read again");
        assert_eq!(kept.len(), rejects.len());
        let row = |(reject, bytes): (&Reject, Vec<u8>)| KeptRow {
            line: reject.line,
            byte_offset: reject.byte_offset,
            bytes,
            // Where a row ends was in doubt.
            shapeless: (reject.column.is_none() && matches!(reject.rule, "length" | "quote"))
                .then(|| (reject.rule, reject.reason.clone())),
        };
        let rows: Vec<KeptRow> = rejects.iter().zip(kept).map(row).collect();
        let bin = Arc::new(Bin::default());
        let again = connector.replay(partition, &spec(dataset, columns, None, &bin), &rows);
        let again = again.expect("kept rows can be decoded");
        assert_eq!((again.counts.rejected, again.counts.read), (rejects.len() as u64, rejects.len() as u64));
        let told = std::mem::take(&mut bin.0.lock().expect("no thread panicked").0);
        // A row that was cut short breaks several rules at once.
        let rule = |reject: &Reject| {
            (reject.line, reject.byte_offset, reject.column.clone().map(|column| (column, reject.rule)))
        };
        assert!(told.iter().map(rule).eq(rejects.iter().map(rule)), "a kept row breaks the rule it broke in its file");
    }
}

/// Opens an export whose file lies below `root`; `None` where its files are at fault.
pub fn opened(root: &Path, dataset: &Dataset, chunk: usize) -> Option<Box<dyn Replay>> {
    match ieum_connectors::open_in_chunks(root, dataset, chunk) {
        Ok(connector) => Some(connector),
        Err(error) => {
            is_of_the_file(&error);
            None
        }
    }
}

/// Everything that must hold of a file of text, whose rejects are pieces of it.
pub fn text(export: &str, name: &str, bytes: &[u8], chunk: usize) -> Option<Outcome> {
    let dataset = dataset(export);
    place::with_file(name, bytes, |root| {
        let connector = opened(root, &dataset, WHOLE)?;
        let all = read(connector.as_ref(), &dataset, &COLUMNS, None);
        // Small, but not so small that a long row is looked at again for every byte of it.
        let chunk = chunk.max(bytes.len() / 64).max(1);
        let pieces = read(opened(root, &dataset, chunk)?.as_ref(), &dataset, &COLUMNS, None);
        assert_eq!(pieces, all, "what is read does not depend on the chunk");
        for told in all.rejects.iter().chain(&all.repaired) {
            let at = usize::try_from(told.byte_offset).expect("a place in the file");
            assert!(
                bytes.get(at..).is_some_and(|rest| rest.starts_with(&told.raw)),
                "a row is told as it stands in its file"
            );
        }
        probed(opened(root, &dataset, chunk)?.as_ref(), &dataset, &COLUMNS, &all);
        probed(connector.as_ref(), &dataset, &COLUMNS, &all);
        replayed(connector.as_ref(), &dataset, &COLUMNS, &all);
        Some(all)
    })
}

/// Everything that must hold of a file of another format.
pub fn table(export: &str, name: &str, bytes: &[u8], columns: &[&str]) -> Option<Outcome> {
    let dataset = dataset(export);
    place::with_file(name, bytes, |root| {
        let connector = opened(root, &dataset, WHOLE)?;
        let all = read(connector.as_ref(), &dataset, columns, None);
        assert_eq!(read(connector.as_ref(), &dataset, columns, None), all, "what is read is the same each time");
        probed(connector.as_ref(), &dataset, columns, &all);
        replayed(connector.as_ref(), &dataset, columns, &all);
        Some(all)
    })
}
