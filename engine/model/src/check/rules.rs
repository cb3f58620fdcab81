//! What the catalog says of a request as a whole: its lines, and the first ground it is refused on.

use std::sync::Arc;

use chrono::NaiveDate;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::catalog::{Catalog, Recipient};
use crate::outcome::Reason;
use crate::request::{CYCLES, Request, RequestedDocument};
use crate::service::Service;

use super::CheckedLine;
use super::asked::Limits;
use super::identity::is_child;
use super::lines::{AskedLine, merge, requested_lines, stated};

/// What the catalog says of the requests of one night, looked up and judged once for all that ask the same.
pub(super) struct Rules<'a> {
    catalog: &'a Catalog,
    on: NaiveDate,
    recipients: FxHashMap<&'a str, &'a Recipient>,
    recipient_types: FxHashSet<&'a str>,
    services: FxHashMap<&'a str, AskedService<'a>>,
    /// Documents that requests named themselves.
    documents: FxHashMap<RequestedDocument, Vec<AskedLine>>,
    pub(super) no_basis: Arc<str>,
}

pub(super) struct AskedService<'a> {
    service: &'a Service,
    pub(super) recipient: Arc<str>,
    pub(super) purpose: Arc<str>,
    pub(super) legal_basis: Arc<str>,
    lines: Vec<AskedLine>,
}

impl<'a> Rules<'a> {
    pub(super) fn new(catalog: &'a Catalog, on: NaiveDate) -> Self {
        let service = |(code, service): (&'a String, &'a Service)| {
            let lines = service.documents.iter().map(|line| AskedLine::of(catalog, line)).collect();
            let (recipient, purpose) = (service.recipient.as_str().into(), service.purpose.as_str().into());
            let legal_basis = service.legal_basis.as_str().into();
            (code.as_str(), AskedService { service, recipient, purpose, legal_basis, lines })
        };
        Self {
            catalog,
            on,
            recipients: catalog.recipients.iter().map(|(code, recipient)| (code.as_str(), recipient)).collect(),
            recipient_types: catalog.recipient_types.keys().map(String::as_str).collect(),
            services: catalog.services.iter().map(service).collect(),
            documents: FxHashMap::default(),
            no_basis: Arc::default(),
        }
    }

    pub(super) fn catalog(&self) -> &'a Catalog {
        self.catalog
    }

    pub(super) fn service(&self, request: &Request) -> Option<&AskedService<'a>> {
        self.services.get(request.service.as_deref()?)
    }

    /// Every document line of the request that applies to its applicant, with what may be delivered.
    pub(super) fn lines(&mut self, request: &Request, limits: Limits<'_>) -> Vec<CheckedLine> {
        for document in request.documents.iter() {
            if !self.documents.contains_key(document) {
                let lines = requested_lines(self.catalog, document);
                let asked = lines.iter().map(|line| AskedLine::of(self.catalog, line)).collect();
                self.documents.insert(document.clone(), asked);
            }
        }
        let bundled = self.service(request).map(|asked| asked.lines.as_slice()).unwrap_or_default();
        let named = request.documents.iter().filter_map(|document| self.documents.get(document)).flatten();
        let reasoned = stated(&request.third_person_reason);
        let mut lines: Vec<CheckedLine> = Vec::with_capacity(bundled.len() + request.documents.len());
        for line in bundled.iter().chain(named).filter(|line| line.when.is_none_or(|when| when == request.applicant)) {
            let checked = line.checked(request, limits, reasoned);
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
    pub(super) fn refusal(&self, request: &Request, recipient: &str, subject_unclear: bool) -> Option<Reason> {
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
        let mut claimed =
            request.recipient_type.as_deref().into_iter().chain([known_recipient.recipient_type.as_str()]);
        let eligible = claimed.all(|kind| self.recipient_types.contains(kind));
        if !eligible || service.is_some_and(|service| service.recipient != recipient) {
            return Some(Reason::R08);
        }
        let begun = request.valid_from.is_none_or(|from| from <= on);
        let valid = begun && request.valid_until.is_none_or(|until| on <= until);
        (!valid).then_some(Reason::ConsentExpired)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fixture::*;
    use super::super::{CheckedLine, refused};
    use crate::outcome::Reason;
    use crate::request::{Request, SubjectId};

    #[test]
    fn every_ground_of_refusal_decides_the_request_and_its_lines() {
        type Change = fn(&mut Request);
        let table: [(&str, Reason, Change); 16] = [
            ("unknown service", Reason::R05, |r| {
                use_service(r);
                r.service = Some("loans".into());
            }),
            ("service and documents", Reason::R05, |r| r.service = Some("loan".into())),
            ("unknown recipient", Reason::R05, |r| r.recipient = "bank".into()),
            ("no subject", Reason::R05, |r| r.subject_ids.clear()),
            ("bad identifier", Reason::R05, |r| r.subject_ids[0].value = "bad".into()),
            ("periodic without cycle", Reason::R05, |r| r.periodic = true),
            ("not verified", Reason::R06, |r| r.verified = false),
            ("agent not confirmed", Reason::R04, |r| r.agent = Some("a".to_owned())),
            ("child", Reason::R01, |r| r.subject_ids[0].value = CHILD.into()),
            ("foreign child", Reason::R01, |r| {
                r.subject_ids[0] = SubjectId { kind: "frno".into(), value: "1301017000000".into() };
            }),
            ("recipient not eligible", Reason::R08, |r| r.recipient = "casino".into()),
            ("claimed type unknown", Reason::R08, |r| r.recipient_type = Some("club".into())),
            ("another recipient than the service's", Reason::R08, |r| {
                use_service(r);
                r.recipient = "bank_b".into();
            }),
            ("consent not yet valid", Reason::ConsentExpired, |r| r.valid_from = Some(day("2026-05-02"))),
            ("consent expired", Reason::ConsentExpired, |r| r.valid_until = Some(day("2026-04-30"))),
            ("nothing asked", Reason::R05, |r| r.documents = Arc::default()),
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
            ("fourteen today", |r| r.subject_ids[0].value = "1205013000000".into()),
            ("child with an agent", |r| {
                r.subject_ids[0].value = CHILD.into();
                r.agent = Some("a".to_owned());
                r.agent_confirmed = true;
            }),
            ("first and last day", |r| {
                r.valid_from = Some(on());
                r.valid_until = Some(on());
            }),
            ("odd digits in a person's number", |r| r.subject_ids[0].value = "일".repeat(13).into()),
        ];
        for (what, change) in table {
            assert_eq!(one(change).refusal, None, "{what}");
        }
    }
}
