//! One night's requests, judged a block at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::NaiveDate;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::catalog::Catalog;
use crate::consent::{Consented, Consents};
use crate::outcome::{Outcome, Reason};
use crate::request::{CYCLES, MalformedRequest, Request, Withdrawal, is_request_id};

use super::asked::{AskedOnce, Lines};
use super::duplicates::{self, give_to_the_best, refuse_duplicates};
use super::rules::Rules;
use super::withdrawn::Withdrawn;
use super::{CarriedOver, CheckedNight, CheckedRequest, Consent, Decision, Grade, IdGrade, NamedDocuments, refused};

/// Decides what may be delivered, request by request; what the requests have to do with each other it decides last.
///
/// Of a request it keeps what the night needs, and shares what is the same: lines, names, legal bases.
pub struct Checker<'a> {
    rules: Rules<'a>,
    withdrawals: &'a [Withdrawal],
    withdrawn: Withdrawn<'a>,
    consents: Option<&'a Consents>,
    carried: FxHashMap<&'a str, FxHashSet<&'a str>>,
    grade: Grade<'a>,
    on: NaiveDate,
    judged: Judged,
    formats: BTreeMap<Arc<str>, (u64, Box<str>)>,
    /// Until the end a request's ordinal is its place in the order of arrival.
    requests: Vec<CheckedRequest>,
}

/// What is known of requests beside themselves.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) asked: AskedOnce,
    pub(super) lines: Lines,
    by_arrival: Vec<About>,
}

/// What decides between requests, and is of no use after that.
pub(super) struct About {
    pub(super) requested_at: NaiveDate,
    /// Number of what it asks for.
    pub(super) asked: u32,
    /// Shared by the requests that are the same one.
    pub(super) number: u32,
    warnings: u32,
    pub(super) verified: bool,
    pub(super) periodic: bool,
    /// Nothing of it is to be answered on this date.
    pub(super) not_due: bool,
}

impl Judged {
    pub(super) fn about(&self, request: &CheckedRequest) -> &About {
        &self.by_arrival[request.ordinal as usize]
    }

    pub(super) fn question(&self, request: &CheckedRequest) -> u32 {
        self.asked.get(self.about(request).asked).question
    }

    /// Whether the request asks for a dataset, due or not.
    fn asks_for(&self, request: &CheckedRequest, dataset: &str) -> bool {
        self.asked.get(self.about(request).asked).lines.iter().any(|line| *line.document == *dataset)
    }

    /// Decides the request and its lines.
    pub(super) fn refuse(&mut self, request: &mut CheckedRequest, decision: Decision) {
        request.lines = self.lines.refused(&request.lines, decision);
        request.refusal = Some(decision);
    }

    /// Refuses a request that another one has the better right to the name of: due or not, all it asks for.
    pub(super) fn refuse_repeated(&mut self, request: &mut CheckedRequest, decision: Decision) {
        let about = &mut self.by_arrival[request.ordinal as usize];
        about.not_due = false;
        request.lines = Arc::clone(&self.asked.get(about.asked).lines);
        self.refuse(request, decision);
    }
}

impl<'a> Checker<'a> {
    /// Has seen no request yet. `grade` judges an identifier by kind and value.
    pub fn new(
        catalog: &'a Catalog,
        withdrawals: &'a [Withdrawal],
        carried_over: &'a [CarriedOver],
        on: NaiveDate,
        grade: Grade<'a>,
    ) -> Self {
        let mut carried: FxHashMap<&str, FxHashSet<&str>> = FxHashMap::default();
        for line in carried_over {
            carried.entry(&line.request_id).or_default().insert(&line.dataset);
        }
        Self {
            rules: Rules::new(catalog, on),
            withdrawals,
            withdrawn: Withdrawn::on(withdrawals, on),
            consents: None,
            carried,
            grade,
            on,
            judged: Judged::default(),
            formats: BTreeMap::new(),
            requests: Vec::new(),
        }
    }

    /// With the consent records that requests may rest on. A request that names one is refused without them.
    pub fn with_consents(self, consents: &'a Consents) -> Self {
        Self { consents: Some(consents), ..self }
    }

    /// What the consent record says that the request names, if it names one.
    fn consented(&self, request: &Request) -> Option<Consented> {
        let id = request.consent_id.as_deref()?;
        let Some(consents) = self.consents else { return Some(Consented::Unknown) };
        let service = self.rules.service(request);
        let recipient = service.filter(|_| request.recipient.is_empty()).map_or(&request.recipient, |of| &of.recipient);
        let purpose = service.filter(|_| request.purpose.is_empty()).map_or(&request.purpose, |of| &of.purpose);
        let uses = [&**purpose, request.service.as_deref().unwrap_or_default()];
        Some(consents.of(id, recipient, uses, self.on))
    }

    /// Judges requests, in any order.
    pub fn add(&mut self, requests: impl IntoIterator<Item = Request>) {
        for request in requests {
            self.judge(request);
        }
    }

    fn judge(&mut self, request: Request) {
        self.count_format(&request);
        let consented = self.consented(&request);
        let covered = match &consented {
            Some(Consented::To(covered)) => Some(covered),
            _ => None,
        };
        let Judged { asked, lines: kept, by_arrival } = &mut self.judged;
        let taken_back = self.withdrawn.lines_of(&request);
        let number = asked.number(&request, (taken_back, covered), &mut self.rules, kept);
        let mut lines = Arc::clone(&asked.get(number).lines);

        let known_cycle = request.cycle.as_deref().is_some_and(|cycle| CYCLES.contains(&cycle));
        let waiting = request.periodic && known_cycle && !request.is_due(self.on);
        let carried = self.carried.get(request.request_id.as_str());
        let answered_but_for_these = carried.is_some() && !request.periodic;
        let mut not_due = false;
        if waiting || answered_but_for_these {
            let open = kept.only(&lines, carried);
            not_due = waiting && open.is_empty();
            // A single request that asks for none of its open lines has changed: it is asked as a whole.
            if waiting || !open.is_empty() {
                lines = open;
            }
        }

        let mut subject_unclear = request.subject_ids.is_empty();
        let (mut warnings, mut protected) = (0, false);
        for id in &request.subject_ids {
            match (self.grade)(&id.kind, &id.value) {
                IdGrade::Ok => {}
                IdGrade::Warn => warnings += 1,
                IdGrade::Error => subject_unclear = true,
                IdGrade::Protected => protected = true,
            }
        }
        let service = self.rules.service(&request);
        let recipient = service.filter(|_| request.recipient.is_empty()).map(|asked| &asked.recipient);
        let recipient = Arc::clone(recipient.unwrap_or(&request.recipient));
        let purpose = service.filter(|_| request.purpose.is_empty()).map(|asked| &asked.purpose);
        let refusal = if self.withdrawn.requests.contains(request.request_id.as_str()) {
            Some((Outcome::Withdrawn, None))
        } else if protected {
            Some(refused(Reason::Suppressed))
        } else {
            let by_rule = self.rules.refusal(&request, &recipient, subject_unclear).map(refused);
            by_rule.or_else(|| consented.and_then(without_consent))
        };
        let mut about = About {
            requested_at: request.requested_at,
            asked: number,
            number: 0,
            warnings,
            verified: request.verified,
            periodic: request.periodic,
            not_due,
        };
        let mut checked = CheckedRequest {
            ordinal: self.requests.len() as u32,
            line: request.line,
            recipient,
            purpose: Arc::clone(purpose.unwrap_or(&request.purpose)),
            legal_basis: Arc::clone(service.map_or(&self.rules.no_basis, |asked| &asked.legal_basis)),
            consent: Box::new(Consent {
                regime: request.regime,
                requested_at: request.requested_at,
                valid_from: request.valid_from,
                valid_until: request.valid_until,
                record: request.consent_id,
            }),
            service: request.service,
            request_id: request.request_id.into(),
            subject_ids: request.subject_ids.into(),
            refusal: None,
            lines,
        };
        // Here, where all of it is at hand; the end would have to fetch it again for every request.
        about.number = duplicates::number(&checked, asked.get(about.asked).question);
        by_arrival.push(about);
        // Where no document line applies, the request does not say what it asks for.
        if let Some(decision) = refusal.or_else(|| checked.lines.is_empty().then_some(refused(Reason::R05))) {
            self.judged.refuse(&mut checked, decision);
        }
        self.requests.push(checked);
    }

    fn count_format(&mut self, request: &Request) {
        let Some(format) = &request.format else { return };
        let id = request.request_id.as_str();
        match self.formats.get_mut(format) {
            None => drop(self.formats.insert(Arc::clone(format), (1, id.into()))),
            Some((count, first)) => {
                *count += 1;
                if *id < **first {
                    *first = id.into();
                }
            }
        }
    }

    /// The night of all requests. Neither their order nor the blocks they came in matter.
    pub fn finish(self) -> CheckedNight {
        let Self { mut requests, mut judged, carried, withdrawals, withdrawn, formats, .. } = self;
        requests.sort_unstable_by(|a, b| {
            let place = |request: &CheckedRequest| {
                let about = judged.about(request);
                (request.line, !about.verified, about.requested_at, request.ordinal)
            };
            a.request_id.cmp(&b.request_id).then_with(|| place(a).cmp(&place(b)))
        });
        give_to_the_best(&mut requests, &mut judged);

        let mut night = CheckedNight { formats, ..CheckedNight::default() };
        let open = carried.iter().flat_map(|(id, datasets)| datasets.iter().map(move |dataset| (*id, *dataset)));
        for (id, dataset) in open.filter(|(id, dataset)| !withdrawn.has(id, dataset)) {
            match of_id(&requests, id) {
                [] => night.carried_on.push(CarriedOver { request_id: id.to_owned(), dataset: dataset.to_owned() }),
                received => {
                    let asks = |request: &CheckedRequest| judged.asks_for(request, dataset);
                    night.no_longer_asked += u64::from(!received.iter().any(asks));
                }
            }
        }
        night.carried_on.sort_unstable();
        let known = |id: &str| carried.contains_key(id) || !of_id(&requests, id).is_empty();
        let idle = withdrawals.iter().enumerate().filter(|(_, withdrawal)| !known(&withdrawal.request_id));
        night.idle_withdrawals = idle.map(|(place, _)| place).collect();
        requests.retain(|request| {
            if !is_request_id(&request.request_id) {
                night.malformed.push(MalformedRequest {
                    file: String::new(),
                    request_id: None,
                    line: request.line,
                    field: "request_id",
                    expected: "safe as a file name".to_owned(),
                    raw: Vec::new(),
                });
                return false;
            }
            let about = judged.about(request);
            if about.not_due {
                night.not_due += 1;
                return false;
            }
            night.warnings += u64::from(about.warnings);
            true
        });
        refuse_duplicates(&mut requests, &mut judged);
        let counts = counts(&requests, &judged);
        night.named = named(&counts, &judged);
        let of_another = counts.iter().zip(judged.asked.all()).filter(|(_, asked)| asked.of_another_holder);
        let of_another = of_another.map(|(counted, _)| *counted).filter(|(count, _)| *count > 0);
        night.other_holder = of_another.reduce(|a, b| (a.0 + b.0, a.1.min(b.1)));
        for (ordinal, checked) in (0u32..).zip(&mut requests) {
            checked.ordinal = ordinal;
        }
        night.requests = requests;
        night
    }
}

/// The answer to a request that its consent record does not allow.
pub(super) fn without_consent(consented: Consented) -> Option<Decision> {
    match consented {
        Consented::To(_) => None,
        Consented::OtherUse => Some(refused(Reason::ConsentScope)),
        Consented::NotGiven => Some((Outcome::NoConsent, None)),
        Consented::Expired => Some(refused(Reason::ConsentExpired)),
        Consented::Withdrawn => Some((Outcome::Withdrawn, None)),
        Consented::Unknown => Some(refused(Reason::ConsentUnknown)),
    }
}

/// The requests of that id, of the sorted ones.
fn of_id<'a>(sorted: &'a [CheckedRequest], id: &str) -> &'a [CheckedRequest] {
    let start = sorted.partition_point(|request| *request.request_id < *id);
    let rest = &sorted[start..];
    &rest[..rest.partition_point(|request| *request.request_id == *id)]
}

/// How many requests that are not refused as a whole ask for it, and the first of them, by the number of what is asked.
fn counts(requests: &[CheckedRequest], judged: &Judged) -> Vec<(u64, u32)> {
    let mut counts = vec![(0, u32::MAX); judged.asked.all().len()];
    for (ordinal, request) in (0u32..).zip(requests).filter(|(_, request)| request.refusal.is_none()) {
        let (count, first) = &mut counts[judged.about(request).asked as usize];
        (*count, *first) = (*count + 1, ordinal.min(*first));
    }
    counts
}

/// The documents that requests named themselves.
fn named(counts: &[(u64, u32)], judged: &Judged) -> Vec<NamedDocuments> {
    let counted = judged.asked.all().iter().zip(counts.iter().copied());
    let asked = counted.filter(|(asked, (count, _))| *count > 0 && !asked.documents.is_empty());
    let documents = |asked: &super::asked::Asked| Arc::clone(&asked.documents);
    let named = asked.map(|(asked, (requests, first))| NamedDocuments { documents: documents(asked), requests, first });
    let mut named: Vec<NamedDocuments> = named.collect();
    named.sort_unstable_by_key(|named| named.first);
    named
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::super::fixture::*;
    use super::*;

    /// What tells requests apart and what they ask; lines are counted.
    type Asked = (&'static str, &'static str, &'static str, &'static str, bool, bool);

    fn requests(asked: &[Asked]) -> Vec<Request> {
        let one = |(line, (id, subject, documents, at, verified, periodic)): (u64, &Asked)| {
            request("r1", |r| {
                r.request_id = (*id).to_owned();
                r.line = line;
                r.subject_ids[0].value = (*subject).into();
                r.requested_at = day(at);
                r.verified = *verified;
                r.periodic = *periodic;
                r.cycle = periodic.then(|| "weekly".into());
                match *documents {
                    "" => use_service(r),
                    documents => ask(r, documents),
                }
            })
        };
        (1..).zip(asked).map(one).collect()
    }

    fn asked() -> impl Strategy<Value = Asked> {
        let documents = select(vec!["", "tax", "tax;land", "land;tax", "tax(b)", "tax(ALIAS)", "nowhere"]);
        (
            select(vec!["r1", "r2", "r3", "r4", "r5", "../r"]),
            select(vec!["9001011000000", "900101-1000000", "odd", "bad", CHILD]),
            documents,
            select(vec!["2026-04-23", "2026-04-24", "2026-04-30"]),
            prop::bool::weighted(0.8),
            prop::bool::weighted(0.3),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn neither_blocks_nor_order_change_the_night(
            asked in prop::collection::vec((asked(), any::<u8>()), 1..12),
            block in 1usize..4,
        ) {
            let withdrawals = [withdrawal("2026-05-01", Some("land"))];
            let carried = [("r2", "land"), ("r3", "tax")]
                .map(|(id, dataset)| CarriedOver { request_id: id.to_owned(), dataset: dataset.to_owned() });
            let (asked, places): (Vec<Asked>, Vec<u8>) = asked.into_iter().unzip();
            let requests = requests(&asked);
            let mut shuffled: Vec<(u8, Request)> = places.into_iter().zip(requests.clone()).collect();
            shuffled.sort_by_key(|(place, _)| *place);
            let shuffled = shuffled.into_iter().map(|(_, request)| request).collect();
            let whole = night(requests, &withdrawals, &carried);
            let in_blocks = night_in_blocks(shuffled, block, &withdrawals, &carried);
            prop_assert_eq!(&in_blocks, &whole);
        }
    }

    #[test]
    fn requests_that_ask_the_same_share_their_lines() {
        let person = |id: &str, number: &str, change: fn(&mut Request)| {
            request(id, |r| {
                r.subject_ids[0].value = number.into();
                change(r);
            })
        };
        let reasoned = |r: &mut Request| r.third_person_reason = Some("inheritance".to_owned());
        let requests = vec![
            person("r1", "9001011000000", use_service),
            person("r2", "9001011000001", use_service),
            person("r3", "9001011000002", |r| ask(r, "tax;land")),
            person("r4", "9001011000003", |r| ask(r, "tax;land")),
            person("r5", "9001011000004", |r| ask(r, "tax;land")),
            person("r6", "bad", |r| ask(r, "tax;land")),
            person("r7", "bad", |r| ask(r, "tax;land")),
            person("r8", "9001011000005", reasoned),
        ];
        let night = night_in_blocks(requests, 3, &[], &[]);
        let same = |a: usize, b: usize| Arc::ptr_eq(&night.requests[a].lines, &night.requests[b].lines);
        assert!(same(0, 1) && same(2, 3) && same(3, 4) && same(5, 6));
        assert!(!same(2, 7) && !same(4, 5));
        // However they were asked: the same lines are the same list.
        assert!(same(0, 7));
        let named: Vec<_> = night.named.iter().map(|named| (named.requests, named.first)).collect();
        assert_eq!(named, [(3, 2), (1, 7)]);
    }

    #[test]
    fn a_checked_request_is_small() {
        // A night's largest list: what is added here is there a million times.
        assert!(size_of::<CheckedRequest>() <= 136 && size_of::<About>() <= 20);
    }
}
