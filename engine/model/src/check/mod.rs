//! Request × catalog × date: what may be delivered, or the refusal and its reason.
//!
//! A request stands or falls by the first rule that speaks: received twice, withdrawn, about a protected person
//! (E_SUPPRESSED), not specific (R05), identity not confirmed (R06), agent not confirmed (R04), child without an agent
//! (R01), recipient not eligible (R08), consent not valid, duplicate. Only requests that pass every other rule can make a
//! later one a duplicate, so that an unverified or withdrawn request never displaces a genuine one.

mod asked;
mod checker;
mod duplicates;
#[cfg(test)]
mod fixture;
mod identity;
mod lines;
mod rules;
mod withdrawn;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::NaiveDate;

use crate::catalog::Catalog;
use crate::outcome::{Outcome, Reason};
use crate::request::{MalformedRequest, Request, RequestedDocument, SubjectId, Withdrawal};

pub use checker::Checker;
pub use identity::IdGrade;
pub use withdrawn::TakenBack;

/// What a line or request is answered with before any export is read.
pub type Decision = (Outcome, Option<Reason>);

/// One document line of a request, checked. Requests that ask the same share what it says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CheckedLine {
    /// Dataset code.
    pub document: Arc<str>,
    /// Codes of the items that may be delivered, in the catalog's order, each once; none where the line is decided.
    pub items: Arc<[String]>,
    /// Items that were asked for and may not be delivered.
    pub withheld: Arc<[(String, Reason)]>,
    /// The line is wanted only if that document was not found.
    pub fallback_of: Option<Arc<str>>,
    /// The answer, where it does not depend on an export.
    pub decided: Option<Decision>,
}

/// A request, checked: what answering it takes, and no more of what was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedRequest {
    /// Position in the order of the answers.
    pub ordinal: u32,
    /// Where in the request file.
    pub line: u64,
    /// Unique name; safe as a file name.
    pub request_id: Box<str>,
    /// Who the data is about.
    pub subject_ids: Box<[SubjectId]>,
    /// Code of the recipient.
    pub recipient: Arc<str>,
    /// Bundle service.
    pub service: Option<Arc<str>>,
    /// Purpose of use: the request's, else the service's.
    pub purpose: Arc<str>,
    /// Legal basis of the service; empty without one.
    pub legal_basis: Arc<str>,
    /// What the subject consented to, as far as the request says.
    pub consent: Box<Consent>,
    /// Why nothing is delivered at all; every line is then decided alike.
    pub refusal: Option<Decision>,
    /// Document lines, in the order of the service or of the request. Requests that ask the same share one list.
    pub lines: Arc<[CheckedLine]>,
}

/// On whose word a request is answered: what a receipt repeats of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// The statute the request is made under.
    pub regime: Arc<str>,
    /// When the request was made.
    pub requested_at: NaiveDate,
    /// First date the consent is valid on.
    pub valid_from: Option<NaiveDate>,
    /// Last date the consent is valid on.
    pub valid_until: Option<NaiveDate>,
    /// Name of the consent record.
    pub record: Option<Box<str>>,
}

/// Documents that requests named themselves, without a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedDocuments {
    /// The documents, as written.
    pub documents: Arc<[RequestedDocument]>,
    /// How many requests that are not refused named them and asked the same.
    pub requests: u64,
    /// Ordinal of the first of these.
    pub first: u32,
}

/// A document line that an earlier run delayed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CarriedOver {
    /// The request.
    pub request_id: String,
    /// Dataset code of the line.
    pub dataset: String,
}

/// Everything one run has to answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckedNight {
    /// Requests, sorted by `request_id`, then line.
    pub requests: Vec<CheckedRequest>,
    /// Periodic requests skipped because they are not due.
    pub not_due: u64,
    /// Requests that cannot be read; the reader of the request file adds its own.
    pub malformed: Vec<MalformedRequest>,
    /// Identifiers graded [`IdGrade::Warn`].
    pub warnings: u64,
    /// What requests named in place of a service, by the first request.
    pub named: Vec<NamedDocuments>,
    /// How many requests that are not refused name another holder than that of a document they ask for, and the ordinal of
    /// the first.
    pub other_holder: Option<(u64, u32)>,
    /// How many requests name a format for their bundle, and the first id of them, by format.
    pub formats: BTreeMap<Arc<str>, (u64, Box<str>)>,
    /// Lines that an earlier run left open and whose request was not received this time, in order: they stay open.
    pub carried_on: Vec<CarriedOver>,
    /// Lines that an earlier run left open and whose request does not ask for them any more.
    pub no_longer_asked: u64,
    /// Places of withdrawals that take nothing back: no such request was received, and none is open.
    pub idle_withdrawals: Vec<usize>,
}

/// Judges an identifier by kind and value.
pub type Grade<'a> = &'a (dyn Fn(&str, &str) -> IdGrade + Sync);

/// Decides for every request and document line what may be delivered on that date.
///
/// `grade` judges an identifier by kind and value. The order of `requests` does not matter. A night of more requests than
/// should be held at a time goes through a [`Checker`].
pub fn check(
    catalog: &Catalog,
    requests: Vec<Request>,
    withdrawals: &[Withdrawal],
    carried_over: &[CarriedOver],
    on: NaiveDate,
    grade: Grade<'_>,
) -> CheckedNight {
    let mut checker = Checker::new(catalog, withdrawals, carried_over, on, grade);
    checker.add(requests);
    checker.finish()
}

impl CheckedNight {
    /// Refuses requests at these places as a whole, because of what was found out about them when they were checked.
    pub fn refuse(&mut self, places: impl IntoIterator<Item = u32>, reason: Reason) {
        let mut lines = asked::Lines::default();
        let mut before = Vec::new();
        for place in places {
            let request = &mut self.requests[place as usize];
            request.refusal = Some(refused(reason));
            // Kept until the end: the lists are told apart by where they stand.
            let refused = lines.refused(&request.lines, refused(reason));
            before.push(std::mem::replace(&mut request.lines, refused));
        }
    }
}

fn refused(reason: Reason) -> Decision {
    (Outcome::Refused, Some(reason))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::fixture::*;
    use super::*;

    #[test]
    fn a_request_that_keeps_every_rule_is_answered_with_its_default_items() {
        let checked = one(|_| ());
        assert_eq!(checked.refusal, None);
        assert_eq!((&*checked.lines[0].document, checked.lines[0].decided), ("tax", None));
        assert_eq!(*checked.lines[0].items, ["a.1"]);
        let bundle = one(|r| {
            use_service(r);
            r.recipient = Arc::default();
        });
        assert_eq!((bundle.refusal, &*bundle.recipient), (None, "bank_a"));
        assert_eq!((&*bundle.purpose, &*bundle.legal_basis), ("a loan", "an act"));
    }

    #[test]
    fn a_periodic_request_is_skipped_until_due_but_for_what_was_carried_over() {
        let monthly = |from: &str| {
            vec![request("r1", |r| {
                ask(r, "tax;land");
                r.periodic = true;
                r.cycle = Some("monthly".into());
                r.requested_at = day(from);
            })]
        };
        let carried = |id: &str, dataset: &str| CarriedOver { request_id: id.to_owned(), dataset: dataset.to_owned() };
        let skipped = night(monthly("2026-04-30"), &[], &[carried("r10", "tax"), carried("r1", "lan")]);
        assert_eq!((skipped.not_due, skipped.requests.len()), (1, 0));
        let rest = night(monthly("2026-04-30"), &[], &[carried("r1", "land")]);
        let documents: Vec<_> = rest.requests[0].lines.iter().map(|line| &*line.document).collect();
        assert_eq!((rest.not_due, documents), (0, vec!["land"]));
        let due = night(monthly("2026-04-01"), &[], &[carried("r1", "land")]);
        assert_eq!((due.not_due, due.requests[0].lines.len()), (0, 2));
    }

    #[test]
    fn a_single_request_that_was_carried_over_is_asked_for_the_open_lines_only() {
        let carried = CarriedOver { request_id: "r1".to_owned(), dataset: "land".to_owned() };
        let night = night(vec![request("r1", |r| ask(r, "tax;land"))], &[], &[carried]);
        let documents: Vec<_> = night.requests[0].lines.iter().map(|line| &*line.document).collect();
        assert_eq!(documents, ["land"]);
    }

    #[test]
    fn no_line_that_was_carried_over_is_lost_in_silence() {
        let carried = |id: &str, dataset: &str| CarriedOver { request_id: id.to_owned(), dataset: dataset.to_owned() };
        let asked = || vec![request("r2", |r| ask(r, "tax;land"))];
        // Of a request that asks for none of its open lines, every line is asked.
        let changed = night(asked(), &[], &[carried("r2", "kin")]);
        assert_eq!((changed.requests[0].lines.len(), changed.not_due, changed.no_longer_asked), (2, 0, 1));
        let partly = night(asked(), &[], &[carried("r2", "kin"), carried("r2", "land")]);
        assert_eq!((partly.requests[0].lines.len(), partly.no_longer_asked), (1, 1));
        // What is not here stays open, unless it was taken back.
        let open = [carried("r3", "tax"), carried("r1", "land"), carried("r1", "tax"), carried("r2", "tax")];
        let night = night(asked(), &[withdrawal("2026-05-01", Some("land"))], &open);
        assert_eq!((night.carried_on, night.no_longer_asked), (vec![carried("r1", "tax"), carried("r3", "tax")], 0));
    }

    #[test]
    fn a_request_about_a_protected_person_is_refused_before_any_other_rule_speaks() {
        let hidden = |id: &str, change: fn(&mut Request)| {
            request(id, |r| {
                r.subject_ids.push(SubjectId { kind: "ci".into(), value: "hidden".into() });
                change(r);
            })
        };
        let requests = vec![
            hidden("r1", |_| ()),
            hidden("r2", |r| r.verified = false),
            hidden("r3", |r| ask(r, "nowhere")),
            hidden("r4", |r| r.subject_ids[0].value = "bad".into()),
            request("r5", |_| ()),
        ];
        let night = night(requests, &[], &[]);
        let suppressed = Some(Reason::Suppressed);
        assert_eq!(refusals(&night), [suppressed, suppressed, suppressed, suppressed, None]);
        for request in &night.requests[..4] {
            assert!(request.lines.iter().all(|line| line.items.is_empty() && line.decided == request.refusal));
        }
        let mut found = night.clone();
        found.refuse([4], Reason::Suppressed);
        assert_eq!((refusals(&found), found.requests[4].lines[0].items.len()), (vec![suppressed; 5], 0));
    }

    #[test]
    fn a_request_with_an_unsafe_name_is_not_answered() {
        let night = night(vec![request("r1", |r| r.request_id = "../r1".to_owned())], &[], &[]);
        assert_eq!((night.requests.len(), night.malformed.len()), (0, 1));
        assert_eq!(night.malformed[0].request_id, None);
    }
}
