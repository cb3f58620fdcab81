//! When two requests are the same one, and which of them is answered.

use std::borrow::Cow;
use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::catalog::Catalog;
use crate::outcome::Reason;
use crate::request::{Request, RequestedDocument};
use crate::service::Applicant;

use super::identity::same_written;
use super::withdrawn::Withdrawn;
use super::{CheckedRequest, refuse, refused};

/// For each of the sorted requests: whether another one has the better right to its `request_id`: verified first, then by line.
pub(super) fn repeated_ids(sorted: &[Request]) -> Vec<bool> {
    let mut repeated = Vec::with_capacity(sorted.len());
    for same in sorted.chunk_by(|a, b| a.request_id == b.request_id) {
        let first = same.iter().position(|request| request.verified).unwrap_or(0);
        repeated.extend((0..same.len()).map(|place| place != first));
    }
    repeated
}

/// What makes two requests the same one. What can be named in any order and twice is sorted, each once.
#[derive(PartialEq, Eq, Hash)]
struct Sameness<'a> {
    subjects: Vec<(&'a str, Cow<'a, str>)>,
    service: Option<&'a str>,
    documents: Vec<SameDocument<'a>>,
    recipient: &'a str,
    /// What was taken back: asking again for it is no repetition.
    withdrawn: Option<&'a BTreeSet<&'a str>>,
    /// Who applies, and what they consented to and why: another consent is another request.
    applicant: Applicant,
    consented: Option<Vec<&'a str>>,
    third_person_reason: Option<&'a str>,
}

/// Dataset, items by code, view.
type SameDocument<'a> = (&'a str, Option<Vec<&'a str>>, Option<&'a str>);

fn sameness<'a>(catalog: &'a Catalog, checked: &'a CheckedRequest, withdrawn: &'a Withdrawn<'_>) -> Sameness<'a> {
    let request = &checked.request;
    let document = |document: &'a RequestedDocument| {
        let dataset = catalog.datasets.get(&document.dataset);
        let code = |name: &'a String| dataset.and_then(|d| d.item(name)).map_or(name.as_str(), |(code, _)| code);
        let items = document.items.as_ref().map(|items| each_once(items.iter().map(code)));
        (document.dataset.as_str(), items, document.view.as_deref())
    };
    Sameness {
        subjects: each_once(request.subject_ids.iter().map(same_written)),
        service: request.service.as_deref(),
        documents: each_once(request.documents.iter().map(document)),
        recipient: &checked.recipient,
        withdrawn: withdrawn.lines_of(request),
        applicant: request.applicant,
        consented: request.consented_documents.as_ref().map(|codes| each_once(codes.iter().map(String::as_str))),
        third_person_reason: request.third_person_reason.as_deref(),
    }
}

fn each_once<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// Of the same requests only the earliest is answered. All that come here passed the other rules, so all are verified.
pub(super) fn refuse_duplicates(catalog: &Catalog, requests: &mut [CheckedRequest], withdrawn: &Withdrawn<'_>) {
    let mut first: FxHashMap<Sameness<'_>, usize> = FxHashMap::default();
    first.reserve(requests.len());
    let mut later = Vec::new();
    for (place, checked) in requests.iter().enumerate() {
        if checked.refusal.is_some() || checked.request.periodic {
            continue;
        }
        // Places follow the request ids, so that the date alone decides.
        let holder = first.entry(sameness(catalog, checked, withdrawn)).or_insert(place);
        if *holder != place {
            let earlier = checked.request.requested_at < requests[*holder].request.requested_at;
            later.push(if earlier { std::mem::replace(holder, place) } else { place });
        }
    }
    drop(first);
    for place in later {
        refuse(&mut requests[place], refused(Reason::Duplicate));
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;
    use super::*;

    #[test]
    fn of_the_same_requests_the_earliest_verified_one_is_answered() {
        let at = |id: &str, date: &str, verified: bool| {
            request(id, |r| {
                r.requested_at = day(date);
                r.verified = verified;
            })
        };
        let requests = vec![
            at("r3", "2026-04-02", true),
            at("r0", "2026-04-01", false),
            at("r2", "2026-04-02", true),
            at("r1", "2026-04-03", true),
        ];
        let answered = night(requests.clone(), &[], &[]);
        let duplicate = Some(Reason::Duplicate);
        assert_eq!(refusals(&answered), [Some(Reason::R06), duplicate, None, duplicate]);
        let reversed: Vec<Request> = requests.into_iter().rev().collect();
        assert_eq!(night(reversed, &[], &[]), answered);
        assert_eq!(answered.requests.iter().map(|checked| checked.ordinal).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn another_consent_or_applicant_makes_another_question() {
        let second = |change: fn(&mut Request)| {
            let night = night(vec![request("r1", |_| ()), request("r2", change)], &[], &[]);
            refusals(&night)[1]
        };
        assert_eq!(second(|_| ()), Some(Reason::Duplicate));
        assert_eq!(second(|r| r.third_person_reason = Some("a reason".to_owned())), None);
        assert_eq!(second(|r| r.consented_documents = Some(vec!["tax".to_owned(), "land".to_owned()])), None);
        assert_eq!(second(|r| r.applicant = Applicant::Corporation), None);
    }

    #[test]
    fn only_the_same_question_is_a_duplicate() {
        let both = |change: fn(&mut Request)| {
            let night = night(vec![request("r1", |_| ()), request("r2", change)], &[], &[]);
            refusals(&night)[1] == Some(Reason::Duplicate)
        };
        assert!(both(|r| r.subject_ids[0].value = "900101-1000000".to_owned()));
        assert!(!both(|r| r.subject_ids[0].value = "9001011000001".to_owned()));
        assert!(!both(|r| ask(r, "tax;land")));
        assert!(!both(|r| ask(r, "tax(b)")));
        assert!(!both(|r| r.recipient = "bank_b".to_owned()));
        assert!(!both(|r| {
            r.periodic = true;
            r.cycle = Some("daily".to_owned());
        }));
        let after_withdrawal =
            night(vec![request("r1", |_| ()), request("r2", |_| ())], &[withdrawal("2026-05-01", None)], &[]);
        assert_eq!(after_withdrawal.requests[1].refusal, None);
    }

    #[test]
    fn a_request_id_is_answered_once_and_an_unverified_request_cannot_take_it() {
        let at = |line: u64, verified: bool| {
            request("r1", |r| {
                r.line = line;
                r.verified = verified;
                ask(r, if line == 1 { "land" } else { "tax" });
            })
        };
        let duplicate = Some(Reason::Duplicate);
        assert_eq!(refusals(&night(vec![at(2, true), at(1, true)], &[], &[])), [None, duplicate]);
        assert_eq!(refusals(&night(vec![at(1, false), at(2, true)], &[], &[])), [duplicate, None]);
    }
}
