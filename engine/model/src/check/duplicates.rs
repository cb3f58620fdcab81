//! When two requests are the same one, and which of them is answered.

use std::borrow::Cow;
use std::hash::BuildHasher;

use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::outcome::Reason;

use super::asked::each_once;
use super::checker::Judged;
use super::identity::same_written;
use super::{CheckedRequest, refused};

/// Of the sorted requests, one of each `request_id` has the right to it: verified first, then by line. The others are
/// refused.
pub(super) fn give_to_the_best(sorted: &mut [CheckedRequest], judged: &mut Judged) {
    for same in sorted.chunk_by_mut(|a, b| a.request_id == b.request_id).filter(|same| same.len() > 1) {
        let best = same.iter().position(|request| judged.about(request).verified).unwrap_or(0);
        for (_, request) in same.iter_mut().enumerate().filter(|(place, _)| *place != best) {
            judged.refuse_repeated(request, refused(Reason::Duplicate));
        }
    }
}

/// What makes two requests the same one.
#[derive(PartialEq, Eq, Hash)]
struct Sameness<'a> {
    question: u32,
    recipient: &'a str,
    /// Each once, in order.
    subjects: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> Sameness<'a> {
    fn of(request: &'a CheckedRequest, question: u32) -> Self {
        let mut subjects = request.subject_ids.iter().map(same_written).collect();
        each_once(&mut subjects);
        Self { question, recipient: &request.recipient, subjects }
    }
}

/// A number that the same requests share. Few others have it.
pub(super) fn number(request: &CheckedRequest, question: u32) -> u32 {
    let hash = FxBuildHasher.hash_one(Sameness::of(request, question));
    (hash ^ (hash >> 32)) as u32
}

/// Of the same requests only the earliest is answered. All that come here passed the other rules, so all are verified.
pub(super) fn refuse_duplicates(requests: &mut [CheckedRequest], judged: &mut Judged) {
    let asks_once = |request: &CheckedRequest| request.refusal.is_none() && !judged.about(request).periodic;
    let places = (0u32..).zip(requests.iter()).filter(|(_, request)| asks_once(request));
    let mut numbered: Vec<(u32, u32)> = places.map(|(place, request)| (judged.about(request).number, place)).collect();
    numbered.sort_unstable();

    let mut later = Vec::new();
    for alike in numbered.chunk_by(|a, b| a.0 == b.0).filter(|alike| alike.len() > 1) {
        let mut first: FxHashMap<Sameness<'_>, u32> = FxHashMap::default();
        for (_, place) in alike {
            let request = &requests[*place as usize];
            // Places follow the request ids, so that the date alone decides.
            let holder = first.entry(Sameness::of(request, judged.question(request))).or_insert(*place);
            if *holder != *place {
                let requested_at = |place: u32| judged.about(&requests[place as usize]).requested_at;
                let earlier = requested_at(*place) < requested_at(*holder);
                later.push(if earlier { std::mem::replace(holder, *place) } else { *place });
            }
        }
    }
    for place in later {
        judged.refuse(&mut requests[place as usize], refused(Reason::Duplicate));
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;
    use super::*;
    use crate::request::Request;
    use crate::service::Applicant;

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
        assert_eq!(second(|r| r.consented_documents = Some(["tax", "land"].map(Box::from).into())), None);
        assert_eq!(second(|r| r.applicant = Applicant::Corporation), None);
    }

    #[test]
    fn only_the_same_question_is_a_duplicate() {
        let both = |change: fn(&mut Request)| {
            let night = night(vec![request("r1", |_| ()), request("r2", change)], &[], &[]);
            refusals(&night)[1] == Some(Reason::Duplicate)
        };
        assert!(both(|r| r.subject_ids[0].value = "900101-1000000".into()));
        assert!(!both(|r| r.subject_ids[0].value = "9001011000001".into()));
        assert!(!both(|r| ask(r, "tax;land")));
        assert!(!both(|r| ask(r, "tax(b)")));
        assert!(!both(|r| r.recipient = "bank_b".into()));
        assert!(!both(|r| {
            r.periodic = true;
            r.cycle = Some("daily".into());
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
