//! What the subjects took back.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::request::{Request, Withdrawal};

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

#[cfg(test)]
mod tests {
    use super::super::fixture::*;
    use crate::check::CarriedOver;
    use crate::outcome::Outcome;
    use crate::request::Withdrawal;

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
