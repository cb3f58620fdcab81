//! Request × catalog × date: what may be delivered, or the refusal and its reason.
//!
//! A request stands or falls by the first rule that speaks: received twice, withdrawn, not specific (R05), identity not
//! confirmed (R06), agent not confirmed (R04), child without an agent (R01), recipient not eligible (R08), consent not valid,
//! duplicate. Only requests that pass every other rule can make a later one a duplicate, so that an unverified or withdrawn
//! request never displaces a genuine one.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{Datelike, NaiveDate};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::catalog::{Catalog, Recipient};
use crate::dataset::{Dataset, Sensitivity};
use crate::outcome::{Outcome, Reason};
use crate::request::{CYCLES, MalformedRequest, Request, RequestedDocument, SubjectId, Withdrawal, is_request_id};
use crate::service::{Applicant, ConsentScope, DocumentLine, Service};

/// Below this age a legal representative has to consent (refusal ground R01).
const AGE_OF_CONSENT: i32 = 14;

/// How well-formed an identifier is. A failed checksum alone is a warning: it never drops a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdGrade {
    /// Well-formed.
    Ok,
    /// Doubtful; counted, never refused.
    Warn,
    /// Cannot be such an identifier.
    Error,
}

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

/// What the subjects took back.
struct Withdrawn<'a> {
    requests: FxHashSet<&'a str>,
    lines: FxHashMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Withdrawn<'a> {
    fn on(withdrawals: &'a [Withdrawal], on: NaiveDate) -> Self {
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

    /// The documents of a request that were taken back.
    fn lines_of(&self, request: &Request) -> Option<&BTreeSet<&'a str>> {
        if self.lines.is_empty() { None } else { self.lines.get(request.request_id.as_str()) }
    }
}

/// For each of the sorted requests: whether another one has the better right to its `request_id`: verified first, then by line.
fn repeated_ids(sorted: &[Request]) -> Vec<bool> {
    let mut repeated = Vec::with_capacity(sorted.len());
    for same in sorted.chunk_by(|a, b| a.request_id == b.request_id) {
        let first = same.iter().position(|request| request.verified).unwrap_or(0);
        repeated.extend((0..same.len()).map(|place| place != first));
    }
    repeated
}

/// What the catalog says of the requests of one night, looked up and judged once for all that ask the same.
struct Rules<'a> {
    catalog: &'a Catalog,
    withdrawn: &'a Withdrawn<'a>,
    on: NaiveDate,
    recipients: FxHashMap<&'a str, &'a Recipient>,
    recipient_types: FxHashSet<&'a str>,
    services: FxHashMap<&'a str, AskedService<'a>>,
    /// Documents that requests named themselves.
    documents: FxHashMap<RequestedDocument, AskedLine>,
    no_basis: Arc<str>,
}

struct AskedService<'a> {
    service: &'a Service,
    legal_basis: Arc<str>,
    lines: Vec<AskedLine>,
}

impl<'a> Rules<'a> {
    fn new(catalog: &'a Catalog, withdrawn: &'a Withdrawn<'a>, on: NaiveDate) -> Self {
        let service = |(code, service): (&'a String, &'a Service)| {
            let lines = service.documents.iter().map(|line| AskedLine::of(catalog, line)).collect();
            (code.as_str(), AskedService { service, legal_basis: service.legal_basis.as_str().into(), lines })
        };
        Self {
            catalog,
            withdrawn,
            on,
            recipients: catalog.recipients.iter().map(|(code, recipient)| (code.as_str(), recipient)).collect(),
            recipient_types: catalog.recipient_types.keys().map(String::as_str).collect(),
            services: catalog.services.iter().map(service).collect(),
            documents: FxHashMap::default(),
            no_basis: Arc::default(),
        }
    }

    fn service(&self, request: &Request) -> Option<&AskedService<'a>> {
        self.services.get(request.service.as_deref()?)
    }

    /// Every document line of the request that applies to its applicant, with what may be delivered.
    fn lines(&mut self, request: &Request) -> Vec<CheckedLine> {
        for document in &request.documents {
            if !self.documents.contains_key(document) {
                let asked = AskedLine::of(self.catalog, &requested_line(document));
                self.documents.insert(document.clone(), asked);
            }
        }
        let bundled = self.service(request).map(|asked| asked.lines.as_slice()).unwrap_or_default();
        let named = request.documents.iter().filter_map(|document| self.documents.get(document));
        let taken_back = self.withdrawn.lines_of(request);
        let reasoned = stated(&request.third_person_reason);
        let mut lines: Vec<CheckedLine> = Vec::with_capacity(bundled.len() + request.documents.len());
        for line in bundled.iter().chain(named).filter(|line| line.when.is_none_or(|when| when == request.applicant)) {
            let checked = line.checked(request, taken_back, reasoned);
            let same = |other: &&mut CheckedLine| {
                (&other.document, &other.fallback_of, other.decided)
                    == (&checked.document, &checked.fallback_of, checked.decided)
            };
            match lines.iter_mut().find(same) {
                Some(other) => merge(other, &checked),
                None => lines.push(checked),
            }
        }
        lines
    }

    /// The first ground on which the request as a whole is refused.
    fn refusal(&self, request: &Request, recipient: &str, subject_unclear: bool) -> Option<Reason> {
        let on = self.on;
        let service = self.service(request).map(|asked| asked.service);
        // A request names a service or documents; with both it is not clear what is asked under the service's legal basis.
        let specific = match (&request.service, request.documents.is_empty()) {
            (Some(_), true) => service.is_some(),
            (None, named_none) => !named_none,
            (Some(_), false) => false,
        };
        let cycle = request.cycle.as_deref();
        let cycle_missing = request.periodic && !cycle.is_some_and(|cycle| CYCLES.contains(&cycle));
        let known_recipient = self.recipients.get(recipient);
        let Some(known_recipient) = known_recipient.filter(|_| specific && !cycle_missing && !subject_unclear) else {
            return Some(Reason::R05);
        };
        if !request.verified {
            return Some(Reason::R06);
        }
        if request.agent.is_some() && !request.agent_confirmed {
            return Some(Reason::R04);
        }
        if request.agent.is_none() && request.subject_ids.iter().any(|id| is_child(id, on)) {
            return Some(Reason::R01);
        }
        let mut claimed = request.recipient_type.iter().chain([&known_recipient.recipient_type]);
        let eligible = claimed.all(|kind| self.recipient_types.contains(kind.as_str()));
        if !eligible || service.is_some_and(|service| service.recipient != recipient) {
            return Some(Reason::R08);
        }
        let begun = request.valid_from.is_none_or(|from| from <= on);
        let valid = begun && request.valid_until.is_none_or(|until| on <= until);
        (!valid).then_some(Reason::ConsentExpired)
    }
}

/// Whether the identifier's birth date says that the subject is a child on that date. A birth date still to come says
/// nothing: only synthetic numbers have one (they can be nobody's).
fn is_child(id: &SubjectId, on: NaiveDate) -> bool {
    matches!(id.kind.as_str(), "rrno" | "frno")
        && birth_date(&id.value).filter(|born| *born <= on).is_some_and(|born| {
            let before_birthday = (on.month(), on.day()) < (born.month(), born.day());
            on.year() - born.year() - i32::from(before_birthday) < AGE_OF_CONSENT
        })
}

/// The birth date in a resident or foreigner registration number: `YYMMDD`, then a digit for sex and century.
fn birth_date(number: &str) -> Option<NaiveDate> {
    let mut digits = number.chars().filter(|c| !is_filler(*c)).map(|c| c.to_digit(10));
    let mut two = || Some(digits.next()?? * 10 + digits.next()??);
    let (year, month, day) = (two()?, two()?, two()?);
    let century = match digits.next()?? {
        1 | 2 | 5 | 6 => 1900,
        3 | 4 | 7 | 8 => 2000,
        _ => 1800,
    };
    NaiveDate::from_ymd_opt(century + year as i32, month, day)
}

fn is_filler(c: char) -> bool {
    c == '-' || c.is_whitespace()
}

fn requested_line(document: &RequestedDocument) -> DocumentLine {
    DocumentLine {
        dataset: document.dataset.clone(),
        items: document.items.clone(),
        view: document.view.clone(),
        exclude: Vec::new(),
        when: None,
        fallback_of: None,
        consent: ConsentScope::Bundle,
        third_person_reason: None,
    }
}

/// A document named twice is answered once, with the items of both.
fn merge(line: &mut CheckedLine, other: &CheckedLine) {
    line.items = union(&line.items, &other.items);
    line.withheld = union(&line.withheld, &other.withheld);
}

fn union<T: Ord + Clone>(some: &Arc<[T]>, more: &Arc<[T]>) -> Arc<[T]> {
    if some == more {
        return Arc::clone(some);
    }
    some.iter().chain(more.iter()).collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

fn stated(reason: &Option<String>) -> bool {
    reason.as_deref().is_some_and(|reason| !reason.trim().is_empty())
}

/// What a document line comes to, as far as no request has a say in it.
struct AskedLine {
    document: Arc<str>,
    fallback_of: Option<Arc<str>>,
    when: Option<Applicant>,
    consent: ConsentScope,
    /// Without a dataset there is nothing that could be taken back.
    known: bool,
    /// The answer, whoever asks.
    decided: Option<Decision>,
    /// What is delivered if no request gives a reason for third-person items, and if one does.
    unreasoned: Delivered,
    reasoned: Delivered,
}

#[derive(Default)]
struct Delivered {
    items: Arc<[String]>,
    withheld: Arc<[(String, Reason)]>,
}

impl AskedLine {
    fn of(catalog: &Catalog, line: &DocumentLine) -> Self {
        let dataset = catalog.datasets.get(&line.dataset);
        let asked = dataset.map_or(Err(refused(Reason::R05)), |dataset| {
            if !dataset.transferable {
                return Err(refused(Reason::R02));
            }
            asked_items(dataset, line).filter(|asked| !asked.is_empty()).ok_or(refused(Reason::R05))
        });
        let delivered = |third_person: bool| {
            let Ok(asked) = &asked else { return Delivered::default() };
            let (withheld, items): (Vec<_>, Vec<_>) =
                asked.iter().partition(|(_, sensitivity)| **sensitivity == Sensitivity::T && !third_person);
            Delivered {
                items: items.into_iter().map(|(item, _)| (*item).to_owned()).collect(),
                withheld: withheld.into_iter().map(|(item, _)| ((*item).to_owned(), Reason::R03)).collect(),
            }
        };
        Self {
            document: line.dataset.as_str().into(),
            fallback_of: line.fallback_of.as_deref().map(Arc::from),
            when: line.when,
            consent: line.consent,
            known: dataset.is_some(),
            unreasoned: delivered(stated(&line.third_person_reason)),
            reasoned: delivered(true),
            decided: asked.err(),
        }
    }

    fn checked(&self, request: &Request, taken_back: Option<&BTreeSet<&str>>, reasoned: bool) -> CheckedLine {
        let mut checked = CheckedLine {
            document: Arc::clone(&self.document),
            items: Arc::default(),
            withheld: Arc::default(),
            fallback_of: self.fallback_of.clone(),
            decided: self.decide(request, taken_back),
        };
        if checked.decided.is_none() {
            let delivered = if reasoned { &self.reasoned } else { &self.unreasoned };
            checked.items = Arc::clone(&delivered.items);
            checked.withheld = Arc::clone(&delivered.withheld);
            checked.decided = delivered.items.is_empty().then_some(refused(Reason::R03));
        }
        checked
    }

    /// The answer, where no item comes into question.
    fn decide(&self, request: &Request, taken_back: Option<&BTreeSet<&str>>) -> Option<Decision> {
        if self.known && taken_back.is_some_and(|documents| documents.contains(&*self.document)) {
            return Some((Outcome::Withdrawn, None));
        }
        if self.decided.is_some() {
            return self.decided;
        }
        let consented = match &request.consented_documents {
            Some(documents) => documents.iter().any(|document| **document == *self.document),
            None => self.consent == ConsentScope::Bundle,
        };
        (!consented).then_some((Outcome::NoConsent, None))
    }
}

/// The items of a line less the excluded ones; nothing if a name is unknown, also among the excluded.
fn asked_items<'a>(dataset: &'a Dataset, line: &DocumentLine) -> Option<BTreeMap<&'a str, Sensitivity>> {
    let named = |names: &[String]| -> Option<BTreeMap<&'a str, Sensitivity>> {
        names.iter().map(|name| dataset.item(name).map(|(code, item)| (code, item.sensitivity))).collect()
    };
    // An unknown view is an error even where the items are listed.
    let view = match &line.view {
        Some(view) => Some(dataset.views.get(view)?),
        None => None,
    };
    let mut asked = match (&line.items, view) {
        (Some(items), _) => named(items)?,
        (None, Some(view)) => named(view)?,
        (None, None) => dataset
            .default_items()
            .into_iter()
            .filter_map(|name| dataset.item(name).map(|(code, item)| (code, item.sensitivity)))
            .collect(),
    };
    let excluded = named(&line.exclude)?;
    asked.retain(|code, _| !excluded.contains_key(code));
    Some(asked)
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

/// The identifier without the hyphens and blanks that numbers are shown with.
fn same_written(id: &SubjectId) -> (&str, Cow<'_, str>) {
    let value = match id.kind.as_str() {
        "rrno" | "frno" | "brno" | "crno" if id.value.contains(is_filler) => {
            id.value.chars().filter(|c| !is_filler(*c)).collect()
        }
        _ => Cow::Borrowed(id.value.as_str()),
    };
    (&id.kind, value)
}

/// Of the same requests only the earliest is answered. All that come here passed the other rules, so all are verified.
fn refuse_duplicates(catalog: &Catalog, requests: &mut [CheckedRequest], withdrawn: &Withdrawn<'_>) {
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const CHILD: &str = "120502-3000000";

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn on() -> NaiveDate {
        day("2026-05-01")
    }

    fn dataset(code: &str, more: &str, items: &[(&str, &str, &str)]) -> (String, Dataset) {
        let mut text = format!(
            "code = '{code}'\nname_ko = 'x'\nholder = 'h'\ncategory = '2'\nbasis = 'K'\nkey = {{ item = 'rrno', space = 'person' }}\n{more}\n"
        );
        for (item, sensitivity, more) in items {
            text += &format!("[items.'{item}']\nname_ko = 'x'\ntype = 'str'\nsensitivity = '{sensitivity}'\n{more}\n");
        }
        text += "[views]\nfew = ['a.10', 'ALIAS']\n";
        (code.to_owned(), toml::from_str(&text).unwrap())
    }

    fn catalog(documents: &str) -> Catalog {
        let items = [("a.1", "G", "default = true"), ("a.10", "G", ""), ("b", "F", "std = 'ALIAS'"), ("t", "T", "")];
        let mut catalog = Catalog::default();
        catalog.datasets.extend([
            dataset("tax", "", &items),
            dataset("land", "", &items),
            dataset("trial", "transferable = false", &items),
            dataset("kin", "", &[("a.10", "T", "default = true"), ("b", "T", "std = 'ALIAS'")]),
        ]);
        catalog.recipient_types.insert("bank".to_owned(), toml::from_str("name_ko = 'x'\nname_en = 'x'").unwrap());
        for (code, kind) in [("bank_a", "bank"), ("bank_b", "bank"), ("casino", "gambling")] {
            let recipient = toml::from_str(&format!("name_ko = 'x'\nrecipient_type = '{kind}'")).unwrap();
            catalog.recipients.insert(code.to_owned(), recipient);
        }
        let service = format!(
            "code = 'loan'\nname_ko = 'x'\nrecipient = 'bank_a'\nbasis = 'L'\npurpose = 'a loan'\nlegal_basis = 'an act'\nretention_days = 30\n{documents}"
        );
        catalog.services.insert("loan".to_owned(), toml::from_str(&service).unwrap());
        catalog
    }

    /// A verified request of an adult for default items of `tax`, changed by `change`.
    fn request(request_id: &str, change: impl FnOnce(&mut Request)) -> Request {
        let get = |field: &str| {
            let text = match field {
                "request_id" => request_id,
                "subject_ids" => "rrno:9001011000000",
                "documents" => "tax",
                "recipient" => "bank_a",
                "requested_at" => "2026-04-30",
                "verified" => "Y",
                _ => return None,
            };
            Some(Cow::Borrowed(text))
        };
        let mut request = Request::from_fields(&get, 1).unwrap();
        change(&mut request);
        request
    }

    fn ask(request: &mut Request, documents: &str) {
        let get = |field: &str| match field {
            "request_id" => Some("x".into()),
            "requested_at" => Some("20260101".into()),
            "documents" => Some(documents.into()),
            _ => None,
        };
        request.documents = Request::from_fields(&get, 1).unwrap().documents;
    }

    fn use_service(request: &mut Request) {
        request.documents.clear();
        request.service = Some("loan".to_owned());
    }

    fn grade(_: &str, value: &str) -> IdGrade {
        match value {
            "bad" => IdGrade::Error,
            "odd" => IdGrade::Warn,
            _ => IdGrade::Ok,
        }
    }

    const TAX: &str = "[[documents]]\ndataset = 'tax'\n";

    fn night(requests: Vec<Request>, withdrawals: &[Withdrawal], carried: &[CarriedOver]) -> CheckedNight {
        check(&catalog(TAX), requests, withdrawals, carried, on(), &grade)
    }

    fn one(change: impl FnOnce(&mut Request)) -> CheckedRequest {
        night(vec![request("r1", change)], &[], &[]).requests.remove(0)
    }

    fn line_of(documents: &str, change: impl FnOnce(&mut Request)) -> CheckedLine {
        let request = request("r1", |r| {
            use_service(r);
            change(r);
        });
        check(&catalog(documents), vec![request], &[], &[], on(), &grade).requests.remove(0).lines.remove(0)
    }

    fn refusals(night: &CheckedNight) -> Vec<Option<Reason>> {
        night.requests.iter().map(|checked| checked.refusal.and_then(|(_, reason)| reason)).collect()
    }

    fn withdrawal(at: &str, dataset: Option<&str>) -> Withdrawal {
        Withdrawal { request_id: "r1".to_owned(), withdrawn_at: day(at), dataset: dataset.map(str::to_owned) }
    }

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
    fn every_ground_of_refusal_decides_the_request_and_its_lines() {
        type Change = fn(&mut Request);
        let table: [(&str, Reason, Change); 16] = [
            ("unknown service", Reason::R05, |r| {
                use_service(r);
                r.service = Some("loans".to_owned());
            }),
            ("service and documents", Reason::R05, |r| r.service = Some("loan".to_owned())),
            ("unknown recipient", Reason::R05, |r| r.recipient = "bank".to_owned()),
            ("no subject", Reason::R05, |r| r.subject_ids.clear()),
            ("bad identifier", Reason::R05, |r| r.subject_ids[0].value = "bad".to_owned()),
            ("periodic without cycle", Reason::R05, |r| r.periodic = true),
            ("not verified", Reason::R06, |r| r.verified = false),
            ("agent not confirmed", Reason::R04, |r| r.agent = Some("a".to_owned())),
            ("child", Reason::R01, |r| r.subject_ids[0].value = CHILD.to_owned()),
            ("foreign child", Reason::R01, |r| {
                r.subject_ids[0] = SubjectId { kind: "frno".to_owned(), value: "1301017000000".to_owned() };
            }),
            ("recipient not eligible", Reason::R08, |r| r.recipient = "casino".to_owned()),
            ("claimed type unknown", Reason::R08, |r| r.recipient_type = Some("club".to_owned())),
            ("another recipient than the service's", Reason::R08, |r| {
                use_service(r);
                r.recipient = "bank_b".to_owned();
            }),
            ("consent not yet valid", Reason::ConsentExpired, |r| r.valid_from = Some(day("2026-05-02"))),
            ("consent expired", Reason::ConsentExpired, |r| r.valid_until = Some(day("2026-04-30"))),
            ("nothing asked", Reason::R05, |r| r.documents.clear()),
        ];
        for (what, reason, change) in table {
            let checked = one(change);
            assert_eq!(checked.refusal, Some(refused(reason)), "{what}");
            let alike = |line: &CheckedLine| line.decided == checked.refusal && line.items.is_empty();
            assert!(checked.lines.iter().all(alike), "{what}");
            assert_eq!(checked.lines.is_empty(), matches!(what, "unknown service" | "nothing asked"), "{what}");
        }
    }

    #[test]
    fn what_is_just_allowed_is_allowed() {
        type Change = fn(&mut Request);
        let table: [(&str, Change); 4] = [
            ("fourteen today", |r| r.subject_ids[0].value = "1205013000000".to_owned()),
            ("child with an agent", |r| {
                r.subject_ids[0].value = CHILD.to_owned();
                r.agent = Some("a".to_owned());
                r.agent_confirmed = true;
            }),
            ("first and last day", |r| {
                r.valid_from = Some(on());
                r.valid_until = Some(on());
            }),
            ("odd digits in a person's number", |r| r.subject_ids[0].value = "일".repeat(13)),
        ];
        for (what, change) in table {
            assert_eq!(one(change).refusal, None, "{what}");
        }
    }

    #[test]
    fn a_doubtful_identifier_is_counted_and_never_refused() {
        let night = night(vec![request("r1", |r| r.subject_ids[0].value = "odd".to_owned())], &[], &[]);
        assert_eq!((night.warnings, refusals(&night)), (1, vec![None]));
    }

    #[test]
    fn a_line_is_decided_alone() {
        let checked = one(|r| ask(r, "tax(a.1,ALIAS);nowhere;land(a.1,a.1x);land@all;trial"));
        let decided: Vec<_> = checked.lines.iter().map(|l| (&*l.document, l.decided)).collect();
        let r05 = Some(refused(Reason::R05));
        let r02 = Some(refused(Reason::R02));
        assert_eq!(decided, [("tax", None), ("nowhere", r05), ("land", r05), ("trial", r02)]);
        assert_eq!(*checked.lines[0].items, ["a.1", "b"]);
        assert!(checked.lines[2].items.is_empty() && checked.refusal.is_none());
    }

    #[test]
    fn items_are_matched_by_whole_names_and_delivered_in_catalog_order() {
        let items = |documents: &str| one(|r| ask(r, documents)).lines.remove(0).items.to_vec();
        assert_eq!(items("tax(a.1)"), ["a.1"]);
        assert_eq!(items("tax(a.10)"), ["a.10"]);
        assert_eq!(items("tax(b,ALIAS,a.10,b)"), ["a.10", "b"]);
        assert_eq!(items("tax@few"), ["a.10", "b"]);
        assert_eq!(items("tax(b);tax(a.1)"), ["a.1", "b"]);
        assert!(items("tax(a)").is_empty());
    }

    #[test]
    fn excluded_items_are_neither_delivered_nor_withheld() {
        let line =
            line_of("[[documents]]\ndataset = 'tax'\nitems = ['a.1', 'b', 't']\nexclude = ['ALIAS', 't']\n", |_| ());
        assert_eq!((line.items.to_vec(), line.withheld.to_vec()), (vec!["a.1".to_owned()], vec![]));
        let typo = line_of("[[documents]]\ndataset = 'tax'\nexclude = ['c']\n", |_| ());
        assert_eq!(typo.decided, Some(refused(Reason::R05)));
        let nothing = line_of("[[documents]]\ndataset = 'tax'\nexclude = ['a.1']\n", |_| ());
        assert_eq!(nothing.decided, Some(refused(Reason::R05)));
    }

    #[test]
    fn third_person_items_need_a_reason() {
        let withheld = |item: &str| Arc::from([(item.to_owned(), Reason::R03)]);
        let some = one(|r| ask(r, "tax(a.1,t);kin"));
        assert_eq!((&some.lines[0].withheld, some.lines[0].decided), (&withheld("t"), None));
        assert_eq!(*some.lines[0].items, ["a.1"]);
        assert_eq!((&some.lines[1].withheld, some.lines[1].decided), (&withheld("a.10"), Some(refused(Reason::R03))));
        let reasoned = one(|r| {
            ask(r, "kin");
            r.third_person_reason = Some("inheritance".to_owned());
        });
        assert_eq!((reasoned.lines[0].items.len(), reasoned.lines[0].decided), (1, None));
        let by_line = line_of("[[documents]]\ndataset = 'kin'\nthird_person_reason = 'law'\n", |_| ());
        assert_eq!(by_line.decided, None);
        let blank = line_of("[[documents]]\ndataset = 'kin'\nthird_person_reason = ' '\n", |_| ());
        assert_eq!(blank.decided, Some(refused(Reason::R03)));
    }

    #[test]
    fn a_conditional_line_is_left_out_for_the_other_applicant_and_a_fallback_is_kept() {
        let documents = "[[documents]]\ndataset = 'land'\nwhen = 'corporation'\n[[documents]]\ndataset = 'tax'\nfallback_of = 'land'\n";
        let line = line_of(documents, |_| ());
        assert_eq!((&*line.document, line.fallback_of.as_deref()), ("tax", Some("land")));
        assert_eq!(&*line_of(documents, |r| r.applicant = Applicant::Corporation).document, "land");
    }

    #[test]
    fn a_document_without_consent_goes_on_the_paper_list() {
        let bundle = "[[documents]]\ndataset = 'tax'\n";
        let single = "[[documents]]\ndataset = 'tax'\nconsent = 'per_document'\n";
        let table = [
            (bundle, None, true),
            (bundle, Some("land"), false),
            (bundle, Some("tax"), true),
            (single, None, false),
            (single, Some("tax_b"), false),
            (single, Some("tax"), true),
        ];
        for (documents, consented, delivered) in table {
            let line = line_of(documents, |r| r.consented_documents = consented.map(|c| vec![c.to_owned()]));
            let expected = (!delivered).then_some((Outcome::NoConsent, None));
            assert_eq!(line.decided, expected, "{documents} {consented:?}");
            assert_eq!(line.items.is_empty(), !delivered);
        }
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
