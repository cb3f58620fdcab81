//! What the subjects took back, before the night was checked and after.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::NaiveDate;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::consent::{Consented, Consents};
use crate::outcome::Outcome;
use crate::request::{Request, Withdrawal};

use super::asked::Lines;
use super::checker::without_consent;
use super::lines::within;
use super::{CarriedOver, CheckedLine, CheckedNight, CheckedRequest, Decision};

/// What the subjects took back.
pub(super) struct Withdrawn<'a> {
    pub(super) requests: FxHashSet<&'a str>,
    lines: FxHashMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Withdrawn<'a> {
    pub(super) fn on(withdrawals: &'a [Withdrawal], on: NaiveDate) -> Self {
        let mut withdrawn = Self { requests: FxHashSet::default(), lines: FxHashMap::default() };
        for withdrawal in withdrawals.iter().filter(|withdrawal| withdrawal.withdrawn_at <= on) {
            match withdrawal.dataset.as_deref() {
                Some(dataset) => {
                    withdrawn.lines.entry(&withdrawal.request_id).or_default().insert(dataset);
                }
                None => {
                    withdrawn.requests.insert(&withdrawal.request_id);
                }
            }
        }
        withdrawn
    }

    /// Whether a document of a request was taken back, or the request was.
    pub(super) fn has(&self, request: &str, dataset: &str) -> bool {
        self.requests.contains(request) || self.lines.get(request).is_some_and(|lines| lines.contains(dataset))
    }

    /// The documents of a request that were taken back.
    pub(super) fn lines_of(&self, request: &Request) -> Option<&BTreeSet<&'a str>> {
        if self.lines.is_empty() { None } else { self.lines.get(request.request_id.as_str()) }
    }
}

/// What withdrawals and consent records changed of a night that was checked before they came, so that it can be undone.
#[derive(Debug, Default)]
pub struct TakenBack {
    /// Place, refusal and lines of each request that changed, as they were.
    before: Vec<(usize, Option<Decision>, Arc<[CheckedLine]>)>,
    carried_on: Vec<CarriedOver>,
    /// Requests that were taken back as a whole.
    pub requests: u64,
    /// Document lines that are answered otherwise for it, those of these requests too.
    pub documents: u64,
}

impl TakenBack {
    /// Whether nothing of the night has changed.
    pub fn is_nothing(&self) -> bool {
        self.before.is_empty() && self.carried_on.is_empty()
    }
}

impl CheckedNight {
    /// Takes back what `withdrawals` name on that date, and what `consents` do not cover any more, of a night that was checked
    /// without them. Requests and lines keep their places; what was answered already keeps its answer, but for the lines of
    /// a request taken back as a whole. A request that was the repetition of one that is taken back now stays refused, and
    /// what a consent record covers since is not added: the next night answers it.
    pub fn take_back(&mut self, withdrawals: &[Withdrawal], consents: Option<&Consents>, on: NaiveDate) -> TakenBack {
        let withdrawn = Withdrawn::on(withdrawals, on);
        let (mut kept, mut taken) = (Lines::default(), TakenBack::default());
        for (place, request) in self.requests.iter_mut().enumerate().filter(|(_, request)| request.refusal.is_none()) {
            let by_withdrawal = withdrawn.late(request, &mut kept);
            let by_record = match (&by_withdrawal, consents) {
                (Some((Some(_), _)), _) | (_, None) => None,
                (by_withdrawal, Some(consents)) => {
                    let lines = by_withdrawal.as_ref().map_or(&request.lines, |(_, lines)| lines);
                    beyond_record(request, lines, consents.of_checked(request, on), &mut kept)
                }
            };
            let Some((refusal, lines)) = by_record.or(by_withdrawal) else { continue };
            taken.requests += u64::from(refusal.is_some());
            let changed = lines.iter().zip(request.lines.iter()).filter(|(now, before)| now != before);
            taken.documents += changed.count() as u64;
            let before =
                (std::mem::replace(&mut request.refusal, refusal), std::mem::replace(&mut request.lines, lines));
            taken.before.push((place, before.0, before.1));
        }
        let open = |line: &CarriedOver| !withdrawn.has(&line.request_id, &line.dataset);
        if !self.carried_on.iter().all(open) {
            let still_open = self.carried_on.iter().filter(|line| open(line)).cloned().collect();
            taken.carried_on = std::mem::replace(&mut self.carried_on, still_open);
        }
        taken
    }

    /// Undoes [`CheckedNight::take_back`].
    pub fn give_back(&mut self, taken: TakenBack) {
        for (place, refusal, lines) in taken.before {
            (self.requests[place].refusal, self.requests[place].lines) = (refusal, lines);
        }
        if !taken.carried_on.is_empty() {
            self.carried_on = taken.carried_on;
        }
    }
}

/// Refusal and lines of a request whose consent record says less than it did when the request was checked.
fn beyond_record(
    request: &CheckedRequest,
    lines: &Arc<[CheckedLine]>,
    consented: Option<Consented>,
    kept: &mut Lines,
) -> Option<Late> {
    match consented? {
        Consented::To(covered) => {
            let within: Vec<CheckedLine> = lines.iter().map(|line| within(line.clone(), &covered)).collect();
            (*within != **lines).then(|| (request.refusal, kept.once(within)))
        }
        not => without_consent(not).map(|decision| (Some(decision), kept.refused(&request.lines, decision))),
    }
}

/// Refusal and lines of a request that was checked before.
type Late = (Option<Decision>, Arc<[CheckedLine]>);

impl Withdrawn<'_> {
    /// Refusal and lines of a request of which something was taken back after it was checked.
    fn late(&self, request: &CheckedRequest, kept: &mut Lines) -> Option<Late> {
        const GONE: Decision = (Outcome::Withdrawn, None);
        if self.requests.contains(&*request.request_id) {
            return Some((Some(GONE), kept.refused(&request.lines, GONE)));
        }
        let documents = self.lines.get(&*request.request_id)?;
        let is_gone = |line: &CheckedLine| line.decided.is_none() && documents.contains(&*line.document);
        if !request.lines.iter().any(is_gone) {
            return None;
        }
        let line = |line: &CheckedLine| match is_gone(line) {
            true => {
                CheckedLine { items: Arc::default(), withheld: Arc::default(), decided: Some(GONE), ..line.clone() }
            }
            false => line.clone(),
        };
        Some((None, kept.once(request.lines.iter().map(line).collect())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fixture::*;
    use crate::check::{CarriedOver, Checker};
    use crate::consent::Consents;
    use crate::outcome::Outcome;
    use crate::request::{Request, Withdrawal};

    #[test]
    fn what_is_taken_back_late_is_answered_as_if_it_had_been_taken_back_before() {
        let carried = CarriedOver { request_id: "r9".to_owned(), dataset: "tax".to_owned() };
        let requests = || {
            vec![request("r1", |r| ask(r, "tax;land;trial")), request("r2", |_| ()), request("r3", |r| ask(r, "land"))]
        };
        let of = |id: &str, dataset: Option<&str>| Withdrawal {
            request_id: id.to_owned(),
            ..withdrawal("2026-05-01", dataset)
        };
        for withdrawals in [vec![of("r1", Some("land")), of("r9", None)], vec![of("r1", None), of("r3", None)], vec![]]
        {
            let before = night(requests(), &withdrawals, std::slice::from_ref(&carried));
            let untouched = night(requests(), &[], std::slice::from_ref(&carried));
            let mut late = untouched.clone();
            let taken = late.take_back(&withdrawals, None, on());
            assert_eq!((&late.requests, &late.carried_on), (&before.requests, &before.carried_on));
            assert_eq!(taken.is_nothing(), withdrawals.is_empty());
            late.give_back(taken);
            assert_eq!(late, untouched);
        }
        let mut late = night(requests(), &[], &[]);
        let taken = late.take_back(&[of("r1", None), of("r2", Some("tax")), of("r3", Some("tax"))], None, on());
        assert_eq!((taken.requests, taken.documents), (1, 4));
        assert!(late.take_back(&[withdrawal("2026-05-02", None)], None, on()).is_nothing(), "not on this date yet");
    }

    /// The record `c1`, of a consent that this recipient gets this for this purpose.
    fn records(status: &str, recipient: &str, data: &str) -> Consents {
        let mut consents = Consents::default();
        let text = format!(
            r#"{{"@id": "c1", "@type": "dpv:ConsentRecord", "dpv:hasProcess": {{"@type": "dpv:Process", "dpv:hasRecipient": "{recipient}", "dpv:hasPurpose": "loan",
                "dpv:hasPersonalData": [{data}]}}, "dpv:hasConsentStatus": {{"@type": "dpv:{status}",
                "dpv:isIndicatedAtTime": "2026-04-01", "dpv:hasDuration": {{"@type": "dpv:TemporalDuration", "rdf:value": "P1Y"}}}}}}"#
        );
        consents.add(&catalog(TAX), "consents.jsonld", &text).unwrap();
        assert_eq!(consents.unusable, []);
        consents
    }

    #[test]
    fn a_consent_record_that_ends_late_is_answered_as_if_it_had_ended_before() {
        let given = records("ConsentGiven", "bank_a", r#""x:tax", "x:land""#);
        let night = |consents: &Consents| {
            let catalog = catalog(TAX);
            let mut checker = Checker::new(&catalog, &[], &[], on(), &grade).with_consents(consents);
            let rests_on = |r: &mut Request| (r.consent_id, r.purpose) = (Some("c1".into()), "loan".into());
            checker.add([
                request("r1", |r| {
                    rests_on(r);
                    ask(r, "tax(a.1,a.10);land");
                }),
                request("r2", rests_on),
                request("r3", |r| ask(r, "land")),
            ]);
            checker.finish()
        };
        let less = [
            (records("ConsentWithdrawn", "bank_a", r#""x:tax", "x:land""#), 2, 3),
            (records("ConsentExpired", "bank_a", r#""x:tax", "x:land""#), 2, 3),
            (records("ConsentGiven", "another", r#""x:tax", "x:land""#), 2, 3),
            (Consents::default(), 2, 3),
            (records("ConsentGiven", "bank_a", r#""x:tax""#), 0, 1),
            (records("ConsentGiven", "bank_a", r#""x:tax/a.10", "x:land""#), 0, 2),
            (records("ConsentGiven", "bank_a", r#""x:tax", "x:land", "x:trial""#), 0, 0),
        ];
        for (now, requests, documents) in less {
            let untouched = night(&given);
            let mut late = untouched.clone();
            let taken = late.take_back(&[], Some(&now), on());
            assert_eq!(late.requests, night(&now).requests);
            assert_eq!((taken.requests, taken.documents, taken.is_nothing()), (requests, documents, documents == 0));
            late.give_back(taken);
            assert_eq!(late, untouched);
        }
        // What a record covers since is not added.
        let mut late = night(&records("ConsentGiven", "bank_a", r#""x:land""#));
        assert!(late.take_back(&[], Some(&given), on()).is_nothing());
        // A withdrawal of a document and a record that covers less, both.
        let mut late = night(&given);
        let land = Withdrawal { request_id: "r1".to_owned(), ..withdrawal("2026-05-01", Some("land")) };
        let taken = late.take_back(&[land], Some(&records("ConsentGiven", "bank_a", r#""x:tax/a.10""#)), on());
        let lines = &late.requests[0].lines;
        assert_eq!((lines[1].decided, &*lines[0].items), (Some((Outcome::Withdrawn, None)), &["a.10".to_owned()][..]));
        assert_eq!((taken.requests, taken.documents), (0, 3));
    }

    #[test]
    fn a_withdrawal_of_a_request_that_nobody_made_is_known() {
        let carried = CarriedOver { request_id: "r2".to_owned(), dataset: "tax".to_owned() };
        let withdrawals =
            ["r1", "r10", "r2"].map(|id| Withdrawal { request_id: id.to_owned(), ..withdrawal("2026-05-01", None) });
        let night = night(vec![request("r1", |_| ())], &withdrawals, &[carried]);
        assert_eq!((night.idle_withdrawals, night.carried_on), (vec![1], vec![]));
    }

    #[test]
    fn a_withdrawal_counts_from_its_day_on() {
        let decided = |at: &str, dataset| {
            let requests = vec![request("r1", |r| ask(r, "tax;land")), request("r10", |_| ())];
            let night = night(requests, &[withdrawal(at, dataset)], &[]);
            assert_eq!(night.requests[1].refusal, None);
            let lines = &night.requests[0].lines;
            (night.requests[0].refusal, lines[0].decided, lines[1].decided)
        };
        let gone = Some((Outcome::Withdrawn, None));
        assert_eq!(decided("2026-05-01", None), (gone, gone, gone));
        assert_eq!(decided("2026-05-02", None), (None, None, None));
        assert_eq!(decided("2026-04-30", Some("land")), (None, None, gone));
    }
}
