//! Request × catalog × date: what may be delivered, or the refusal and its reason.
//!
//! A request stands or falls by the first rule that speaks: received twice, withdrawn, not specific (R05), identity not
//! confirmed (R06), agent not confirmed (R04), child without an agent (R01), recipient not eligible (R08), consent not valid,
//! duplicate. Only requests that pass every other rule can make a later one a duplicate, so that an unverified or withdrawn
//! request never displaces a genuine one.

mod duplicates;
#[cfg(test)]
mod fixture;
mod identity;
mod lines;
mod rules;
mod withdrawn;

use std::sync::Arc;

use chrono::NaiveDate;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::catalog::Catalog;
use crate::outcome::{Outcome, Reason};
use crate::request::{CYCLES, MalformedRequest, Request, Withdrawal, is_request_id};

pub use identity::IdGrade;

use duplicates::{refuse_duplicates, repeated_ids};
use rules::Rules;
use withdrawn::Withdrawn;

/// What a line or request is answered with before any export is read.
pub type Decision = (Outcome, Option<Reason>);

/// One document line of a request, checked. Requests that ask the same share what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// A request, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedRequest {
    /// Position in the order of the answers.
    pub ordinal: u32,
    /// The request as received.
    pub request: Request,
    /// Code of the recipient.
    pub recipient: String,
    /// Bundle service.
    pub service: Option<String>,
    /// Purpose of use: the request's, else the service's.
    pub purpose: String,
    /// Legal basis of the service; empty without one.
    pub legal_basis: Arc<str>,
    /// Why nothing is delivered at all; every line is then decided alike.
    pub refusal: Option<Decision>,
    /// Document lines, in the order of the service or of the request.
    pub lines: Vec<CheckedLine>,
}

/// A document line that an earlier run delayed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
}

/// Decides for every request and document line what may be delivered on that date.
///
/// `grade` judges an identifier by kind and value. The order of `requests` does not matter.
pub fn check(
    catalog: &Catalog,
    mut requests: Vec<Request>,
    withdrawals: &[Withdrawal],
    carried_over: &[CarriedOver],
    on: NaiveDate,
    grade: &dyn Fn(&str, &str) -> IdGrade,
) -> CheckedNight {
    requests.sort_by(|a, b| {
        let place = |r: &Request| (r.line, !r.verified, r.requested_at);
        a.request_id.cmp(&b.request_id).then_with(|| place(a).cmp(&place(b)))
    });
    let withdrawn = Withdrawn::on(withdrawals, on);
    let mut carried: FxHashMap<&str, FxHashSet<&str>> = FxHashMap::default();
    for line in carried_over {
        carried.entry(&line.request_id).or_default().insert(&line.dataset);
    }

    let repeated = repeated_ids(&requests);
    let mut rules = Rules::new(catalog, &withdrawn, on);
    let mut night = CheckedNight { requests: Vec::with_capacity(requests.len()), ..CheckedNight::default() };
    for (request, repeated) in requests.into_iter().zip(repeated) {
        if !is_request_id(&request.request_id) {
            night.malformed.push(MalformedRequest {
                request_id: None,
                line: request.line,
                field: "request_id",
                expected: "safe as a file name".to_owned(),
            });
            continue;
        }
        let known_cycle = request.cycle.as_deref().is_some_and(|cycle| CYCLES.contains(&cycle));
        let waiting = request.periodic && known_cycle && !request.is_due(on);
        let mut lines = rules.lines(&request);
        let carried = carried.get(request.request_id.as_str());
        let answered_but_for_these = carried.is_some() && !request.periodic;
        if (waiting || answered_but_for_these) && !repeated {
            lines.retain(|line| carried.is_some_and(|carried| carried.contains(&*line.document)));
            if lines.is_empty() {
                night.not_due += 1;
                continue;
            }
        }
        let service = rules.service(&request);
        let mut subject_unclear = request.subject_ids.is_empty();
        for id in &request.subject_ids {
            match grade(&id.kind, &id.value) {
                IdGrade::Ok => {}
                IdGrade::Warn => night.warnings += 1,
                IdGrade::Error => subject_unclear = true,
            }
        }
        let recipient = match service {
            Some(asked) if request.recipient.is_empty() => asked.service.recipient.clone(),
            _ => request.recipient.clone(),
        };
        let purpose = match service {
            Some(asked) if request.purpose.is_empty() => asked.service.purpose.clone(),
            _ => request.purpose.clone(),
        };
        let refusal = if repeated {
            Some((Outcome::Refused, Some(Reason::Duplicate)))
        } else if withdrawn.requests.contains(request.request_id.as_str()) {
            Some((Outcome::Withdrawn, None))
        } else {
            rules.refusal(&request, &recipient, subject_unclear).map(refused)
        };
        let mut checked = CheckedRequest {
            ordinal: 0,
            recipient,
            service: request.service.clone(),
            purpose,
            legal_basis: service.map_or_else(|| Arc::clone(&rules.no_basis), |asked| Arc::clone(&asked.legal_basis)),
            refusal: None,
            lines,
            request,
        };
        if let Some(decision) = refusal {
            refuse(&mut checked, decision);
        }
        night.requests.push(checked);
    }
    refuse_duplicates(catalog, &mut night.requests, &withdrawn);
    for (ordinal, checked) in (0u32..).zip(&mut night.requests) {
        checked.ordinal = ordinal;
    }
    night
}

fn refused(reason: Reason) -> Decision {
    (Outcome::Refused, Some(reason))
}

fn refuse(checked: &mut CheckedRequest, decision: Decision) {
    checked.refusal = Some(decision);
    for line in &mut checked.lines {
        line.items = Arc::default();
        line.withheld = Arc::default();
        line.decided = Some(decision);
    }
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
            r.recipient.clear();
        });
        assert_eq!((bundle.refusal, bundle.recipient.as_str()), (None, "bank_a"));
        assert_eq!((bundle.purpose.as_str(), &*bundle.legal_basis), ("a loan", "an act"));
    }

    #[test]
    fn a_periodic_request_is_skipped_until_due_but_for_what_was_carried_over() {
        let monthly = |from: &str| {
            vec![request("r1", |r| {
                ask(r, "tax;land");
                r.periodic = true;
                r.cycle = Some("monthly".to_owned());
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
    fn a_request_with_an_unsafe_name_is_not_answered() {
        let night = night(vec![request("r1", |r| r.request_id = "../r1".to_owned())], &[], &[]);
        assert_eq!((night.requests.len(), night.malformed.len()), (0, 1));
        assert_eq!(night.malformed[0].request_id, None);
    }
}
