//! Who received what: entries by person, recipient and date.

use std::fs;
use std::io::ErrorKind as IoErrorKind;
use std::path::Path;

use arrow::array::{Array, AsArray, ListArray, RecordBatch, StringArray};
use arrow::datatypes::UInt64Type;
use bytes::Bytes;
use chrono::NaiveDate;
use ieum_model::error::{Error, ErrorKind, Result};
use ieum_privacy::MasterKey;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;

use super::chain::{Chain, Link};
use super::verify::{date_of, entries_are_missing, entries_differ, has_expired};
use super::{FOLDER, broken, domain, name_of};
use crate::from_io;
use crate::keys::canonical;
use crate::manifest::sha256_hex;
use crate::reach::space_of;

/// A person, business… as a request names it: kind of identifier and value.
///
/// # Privacy
/// Holds an identifier: it does not print.
pub struct Subject {
    /// Kind: `rrno`, `brno`, …
    pub kind: String,
    /// The identifier, in any spelling.
    pub value: String,
}

/// What to look for; what is absent is not asked about.
#[derive(Default)]
pub struct Query {
    /// The person, business… concerned.
    pub subject: Option<Subject>,
    /// Code of the recipient.
    pub recipient: Option<String>,
    /// First declared date.
    pub from: Option<NaiveDate>,
    /// Last declared date.
    pub to: Option<NaiveDate>,
}

/// One document line that was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Found {
    pub as_of: String,
    pub run_id: String,
    pub request_id: String,
    pub recipient: String,
    pub service: Option<String>,
    pub purpose: String,
    pub legal_basis: String,
    /// Absent where a request was refused that has no document.
    pub dataset: Option<String>,
    pub items: Vec<String>,
    pub outcome: String,
    pub reason: Option<String>,
    pub records: u64,
}

/// Hands over every line that the query is about, in the order of the chain and of the requests; runs whose entries are
/// gone after their retention are passed over, and counted. The links that `keys` made are compared with their MACs, and
/// entries with the digests in the links.
///
/// # Errors
/// [`ErrorKind::Integrity`] when the chain is broken, or entries differ or are missing before their time, [`ErrorKind::Key`] when a person is asked for and a run named its
/// persons with none of `keys`, which are the epochs of one master key or of several.
///
/// # Privacy
/// Sees the identifier that is asked for; hands over what the ledger holds, which has none.
pub fn who(out: &Path, keys: &[&MasterKey], query: &Query, found: &mut dyn FnMut(Found) -> Result<()>) -> Result<u64> {
    let folder = out.join(FOLDER);
    let chain = Chain::read(&folder)?;
    chain.head(&folder)?;
    for master in keys {
        chain.authenticate(&folder, (master.key_id(), master.epoch()), &domain(master))?;
    }
    let last = chain.links.last().and_then(date_of);
    let named_by = |master: &MasterKey, subject: &Subject| {
        let space = space_of(&subject.kind);
        canonical(space, &subject.value).map(|key| name_of(&domain(master), space, &key)).unwrap_or_default()
    };
    let mut gone = 0;
    for link in chain.links.iter().filter(|link| concerns(link, query)) {
        let master = keys.iter().find(|key| (key.key_id(), key.epoch()) == (link.key_id.as_str(), link.key_epoch));
        let name = query.subject.as_ref().zip(master).map(|(subject, master)| named_by(master, subject));
        if query.subject.is_some() && master.is_none() {
            return Err(Error::new(ErrorKind::Key, "a run named its persons with another key")
                .at("run", &link.run_id)
                .at("key", format!("{} epoch {}", link.key_id, link.key_epoch))
                .hint("give that key, or ask about the dates of this one with --from and --to"));
        }
        let path = folder.join(&link.entries);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == IoErrorKind::NotFound && has_expired(link, last) => {
                gone += 1;
                continue;
            }
            Err(error) if error.kind() == IoErrorKind::NotFound => return Err(entries_are_missing(link, &path)),
            Err(error) => return Err(from_io(&error, &path)),
        };
        if sha256_hex(&bytes) != link.entries_sha256 {
            return Err(entries_differ(link, &path));
        }
        let unreadable = |error: String| broken(format!("entries cannot be read: {error}"), &path);
        let file = Bytes::from(bytes);
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(ParquetRecordBatchReaderBuilder::build);
        for batch in reader.map_err(|error| unreadable(error.to_string()))? {
            let batch = batch.map_err(|error| unreadable(error.to_string()))?;
            let lines = lines(&batch, link, name.as_deref(), query.recipient.as_deref());
            lines
                .ok_or_else(|| unreadable("not entries of a ledger".to_owned()))?
                .into_iter()
                .try_for_each(&mut *found)?;
        }
    }
    Ok(gone)
}

fn concerns(link: &Link, query: &Query) -> bool {
    let date = link.as_of.parse::<NaiveDate>().ok();
    let after = |from: NaiveDate| date.is_none_or(|date| date >= from);
    let before = |to: NaiveDate| date.is_none_or(|date| date <= to);
    query.from.is_none_or(after) && query.to.is_none_or(before)
}

/// The lines of a batch that are about `name` and `recipient`; `None` where it does not have the columns of entries.
fn lines(batch: &RecordBatch, link: &Link, name: Option<&str>, recipient: Option<&str>) -> Option<Vec<Found>> {
    let text = |column: &str| batch.column_by_name(column)?.as_string_opt::<i32>();
    let list = |column: &str| batch.column_by_name(column)?.as_list_opt::<i32>();
    let (requests, recipients, services) = (text("request_id")?, text("recipient")?, text("service")?);
    let (purposes, bases, reasons) = (text("purpose")?, text("legal_basis")?, text("reason")?);
    let (subjects, documents) = (list("subjects")?, list("documents")?);
    let mut found = Vec::new();
    for row in 0..batch.num_rows() {
        let is_named = name.is_none_or(|name| holds(subjects, row, name));
        if !is_named || recipient.is_some_and(|recipient| recipients.value(row) != recipient) {
            continue;
        }
        let whole = Found {
            as_of: link.as_of.clone(),
            run_id: link.run_id.clone(),
            request_id: requests.value(row).to_owned(),
            recipient: recipients.value(row).to_owned(),
            service: given(services, row),
            purpose: purposes.value(row).to_owned(),
            legal_basis: bases.value(row).to_owned(),
            dataset: None,
            items: Vec::new(),
            outcome: "refused".to_owned(),
            reason: given(reasons, row),
            records: 0,
        };
        let of_request = documents.value(row);
        let of_request = of_request.as_struct_opt()?;
        let text = |column: &str| of_request.column_by_name(column)?.as_string_opt::<i32>();
        let (datasets, items) = (text("dataset")?, text("items")?);
        let (outcomes, reasons) = (text("outcome")?, text("reason")?);
        let records = of_request.column_by_name("records")?.as_primitive_opt::<UInt64Type>()?;
        if of_request.is_empty() {
            found.push(whole);
            continue;
        }
        found.extend((0..of_request.len()).map(|line| Found {
            dataset: Some(datasets.value(line).to_owned()),
            items: items.value(line).split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect(),
            outcome: outcomes.value(line).to_owned(),
            reason: given(reasons, line),
            records: records.value(line),
            ..whole.clone()
        }));
    }
    Some(found)
}

fn holds(subjects: &ListArray, row: usize, name: &str) -> bool {
    let names = subjects.value(row);
    names.as_string_opt::<i32>().is_some_and(|names| names.iter().flatten().any(|one| one == name))
}

fn given(texts: &StringArray, row: usize) -> Option<String> {
    texts.is_valid(row).then(|| texts.value(row).to_owned())
}
