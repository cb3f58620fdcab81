//! Consent records as ISO/IEC TS 27560 describes them, and the data that a consent covers.
//!
//! A request that names a record (`consent_id`) is answered only as far as the record goes: its latest state on the run's
//! date, the recipients and purposes of its processes, and the personal data that these name. What cannot be read is never
//! taken for a consent.

mod coverage;
mod json_ld;
#[cfg(test)]
mod tests;

use chrono::{NaiveDate, NaiveDateTime};
use rustc_hash::FxHashMap;

use crate::catalog::Catalog;
use crate::check::CheckedRequest;

pub use coverage::Coverage;

/// What became of a consent at some instant (ISO/IEC TS 27560, event type; `dpv:ConsentStatus`). In order of strictness: of
/// two at one instant the later counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConsentState {
    /// Given, or given again.
    Given,
    /// Asked for, put off, refused, or unknown: there is none.
    NotGiven,
    /// Its time is over, or it is invalid.
    Expired,
    /// Taken back by the subject, or revoked.
    Withdrawn,
}

/// An event in the life of a consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConsentEvent {
    /// When.
    pub at: NaiveDateTime,
    /// What.
    pub state: ConsentState,
    /// The last instant on which it is valid; `None` for one without end.
    pub until: Option<NaiveDateTime>,
}

/// A process that the subject consented to: these data, for these purposes, to these recipients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// Purposes and services, as written.
    pub purposes: Vec<String>,
    /// Recipients, as written.
    pub recipients: Vec<String>,
    /// Personal data, as written.
    pub data: Vec<String>,
    /// The part of the catalog that the personal data name.
    covered: Coverage,
}

/// A consent record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentRecord {
    /// Its names: identifier, and IRI.
    ids: Vec<String>,
    /// Its events, by time.
    events: Vec<ConsentEvent>,
    processes: Vec<Process>,
}

/// What a consent record says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consented {
    /// This much may be delivered.
    To(Coverage),
    /// Given for another recipient or purpose.
    OtherUse,
    /// Not given.
    NotGiven,
    /// Not valid on that date.
    Expired,
    /// Taken back.
    Withdrawn,
    /// There is no such record, or it cannot be read.
    Unknown,
}

/// A record that cannot be used: where it stands, and what is wrong with it. Never a value of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The file.
    pub file: String,
    /// Number of the record in the file, from 1.
    pub record: usize,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, record {}: {}", self.file, self.record, self.what)
    }
}

/// The consent records of a night, by name.
#[derive(Debug, Default)]
pub struct Consents {
    records: Vec<ConsentRecord>,
    /// `None` for a name that several records have.
    by_id: FxHashMap<String, Option<usize>>,
    /// Records that cannot be used: requests that name one of them are refused.
    pub unusable: Vec<Unusable>,
    /// Personal data that name nothing in the catalog: how many, and the first record with one.
    pub unknown_data: Option<(u64, Unusable)>,
}

impl Consents {
    /// Adds the records of a file: a JSON-LD document that is one record, a list of them or a `@graph`, or one such a line.
    ///
    /// # Errors
    /// What is wrong with the file as a whole, without a value of it.
    pub fn add(&mut self, catalog: &Catalog, file: &str, text: &str) -> Result<(), String> {
        for (number, record) in (1..).zip(json_ld::records(text)?) {
            let unusable = |what: String| Unusable { file: file.to_owned(), record: number, what };
            match record {
                Ok(record) => self.keep(catalog, record, &unusable),
                Err(what) => self.unusable.push(unusable(what)),
            }
        }
        Ok(())
    }

    fn keep(&mut self, catalog: &Catalog, mut record: ConsentRecord, unusable: &dyn Fn(String) -> Unusable) {
        for process in &mut record.processes {
            let (covered, unknown) = Coverage::of(catalog, &process.data);
            process.covered = covered;
            if unknown > 0 {
                let first = || unusable("it names personal data that the catalog lacks: they cover nothing".to_owned());
                self.unknown_data.get_or_insert_with(|| (0, first())).0 += unknown;
            }
        }
        let place = self.records.len();
        for id in &record.ids {
            if self.by_id.insert(id.clone(), Some(place)).is_some() {
                self.by_id.insert(id.clone(), None);
                self.unusable.push(unusable("another record has the same name: neither counts".to_owned()));
            }
        }
        self.records.push(record);
    }

    /// What the record of that name says of a request to this recipient, for this purpose or service, on that date.
    pub fn of(&self, id: &str, recipient: &str, uses: [&str; 2], on: NaiveDate) -> Consented {
        match self.by_id.get(id) {
            Some(Some(place)) => self.records[*place].says(recipient, uses, on),
            _ => Consented::Unknown,
        }
    }
}

impl Consents {
    /// What the record says that a checked request names; `None` for one that names none.
    pub fn of_checked(&self, request: &CheckedRequest, on: NaiveDate) -> Option<Consented> {
        let id = request.consent.record.as_deref()?;
        let uses = [&*request.purpose, request.service.as_deref().unwrap_or_default()];
        Some(self.of(id, &request.recipient, uses, on))
    }
}

impl ConsentRecord {
    fn says(&self, recipient: &str, uses: [&str; 2], on: NaiveDate) -> Consented {
        let latest = self.events.iter().rev().find(|event| event.at.date() <= on);
        let state = match latest {
            // Nothing but a consent that begins later.
            None if self.events.iter().any(|event| event.state == ConsentState::Given) => ConsentState::Expired,
            None => ConsentState::NotGiven,
            Some(event) if event.state != ConsentState::Given => event.state,
            Some(event) if event.until.is_some_and(|until| until.date() < on) => ConsentState::Expired,
            Some(_) => ConsentState::Given,
        };
        match state {
            ConsentState::NotGiven => return Consented::NotGiven,
            ConsentState::Expired => return Consented::Expired,
            ConsentState::Withdrawn => return Consented::Withdrawn,
            ConsentState::Given => {}
        }
        let names = |written: &[String], name: &str| {
            !name.is_empty() && written.iter().any(|text| text == name || coverage::last_segment(text) == name)
        };
        let allows = |process: &&Process| {
            names(&process.recipients, recipient) && uses.iter().any(|purpose| names(&process.purposes, purpose))
        };
        let mut allowed = self.processes.iter().filter(allows).map(|process| process.covered.clone()).peekable();
        match allowed.peek() {
            None => Consented::OtherUse,
            Some(_) => Consented::To(allowed.fold(Coverage::default(), Coverage::and)),
        }
    }
}
