//! What a document line comes to: the items that may be delivered, and the withheld ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::{Catalog, LEVEL};
use crate::consent::Coverage;
use crate::dataset::{Dataset, Sensitivity};
use crate::outcome::{Outcome, Reason};
use crate::request::{Request, RequestedDocument};
use crate::service::{Applicant, ConsentScope, DocumentLine};

use super::asked::Limits;
use super::{CheckedLine, Decision, refused};

/// What a document line comes to, as far as no request has a say in it.
pub(super) struct AskedLine {
    document: Arc<str>,
    holder: Option<Box<str>>,
    fallback_of: Option<Arc<str>>,
    pub(super) when: Option<Applicant>,
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
    pub(super) fn of(catalog: &Catalog, line: &DocumentLine) -> Self {
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
            holder: dataset.map(|dataset| dataset.holder.as_str().into()),
            fallback_of: line.fallback_of.as_deref().map(Arc::from),
            when: line.when,
            consent: line.consent,
            known: dataset.is_some(),
            unreasoned: delivered(stated(&line.third_person_reason)),
            reasoned: delivered(true),
            decided: asked.err(),
        }
    }

    pub(super) fn checked(&self, request: &Request, (taken_back, covered): Limits<'_>, reasoned: bool) -> CheckedLine {
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
        match covered {
            Some(covered) if checked.decided.is_none() => within(checked, covered),
            _ => checked,
        }
    }

    /// The answer, where no item comes into question.
    fn decide(&self, request: &Request, taken_back: Option<&BTreeSet<&str>>) -> Option<Decision> {
        if self.known && taken_back.is_some_and(|documents| documents.contains(&*self.document)) {
            return Some((Outcome::Withdrawn, None));
        }
        if self.decided.is_some() {
            return self.decided;
        }
        // Asked of one holder, nothing is taken from another.
        if request.holder.is_some() && request.holder.as_deref() != self.holder.as_deref() {
            return Some(refused(Reason::R05));
        }
        let consented = match &request.consented_documents {
            Some(documents) => documents.iter().any(|document| **document == *self.document),
            None => self.consent == ConsentScope::Bundle,
        };
        (!consented).then_some((Outcome::NoConsent, None))
    }
}

/// The line without the items that the consent record of its request does not cover. Where none is left, the document was
/// not consented to.
pub(super) fn within(line: CheckedLine, covered: &Coverage) -> CheckedLine {
    let (items, beyond): (Vec<&String>, Vec<_>) =
        line.items.iter().partition(|item| covered.covers(&line.document, item));
    if beyond.is_empty() {
        return line;
    }
    if items.is_empty() {
        let decided = Some((Outcome::NoConsent, None));
        return CheckedLine { items: Arc::default(), withheld: Arc::default(), decided, ..line };
    }
    let mut withheld: Vec<_> = beyond.into_iter().map(|item| (item.clone(), Reason::ConsentScope)).collect();
    withheld.extend(line.withheld.iter().cloned());
    withheld.sort_unstable();
    CheckedLine { items: items.into_iter().cloned().collect(), withheld: withheld.into(), ..line }
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

/// The lines of what a request names: a document, or all documents of a level (`level:basic`).
pub(super) fn requested_lines(catalog: &Catalog, document: &RequestedDocument) -> Vec<DocumentLine> {
    let bare = document.items.is_none() && document.view.is_none();
    let level = document.dataset.strip_prefix(LEVEL).filter(|_| bare).and_then(|code| catalog.levels.get(code));
    match level {
        Some(level) => level.covers.iter().map(|(of, items)| line(of, Some(items.clone()), None)).collect(),
        None => vec![line(&document.dataset, document.items.clone(), document.view.clone())],
    }
}

fn line(dataset: &str, items: Option<Vec<String>>, view: Option<String>) -> DocumentLine {
    DocumentLine {
        dataset: dataset.to_owned(),
        items,
        view,
        level: None,
        exclude: Vec::new(),
        when: None,
        fallback_of: None,
        consent: ConsentScope::Bundle,
        third_person_reason: None,
    }
}

/// A document named twice is answered once, with the items of both.
pub(super) fn merge(line: &mut CheckedLine, other: &CheckedLine) {
    line.items = union(&line.items, &other.items);
    line.withheld = union(&line.withheld, &other.withheld);
}

fn union<T: Ord + Clone>(some: &Arc<[T]>, more: &Arc<[T]>) -> Arc<[T]> {
    if some == more {
        return Arc::clone(some);
    }
    some.iter().chain(more.iter()).collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

pub(super) fn stated(reason: &Option<String>) -> bool {
    reason.as_deref().is_some_and(|reason| !reason.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;
    use super::*;

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
    fn a_document_is_only_taken_from_the_holder_that_the_request_names() {
        let of = |id: &str, holder: &'static str| {
            request(id, |r| {
                ask(r, "tax;trial");
                r.holder = Some(holder.into());
            })
        };
        let night = night(vec![of("r1", "h"), of("r2", "g"), of("r3", "g")], &[], &[]);
        let decided = |request: usize| night.requests[request].lines[0].decided;
        assert_eq!((decided(0), decided(1)), (None, Some(refused(Reason::R05))));
        assert_eq!((night.requests[2].refusal, night.other_holder), (Some(refused(Reason::Duplicate)), Some((1, 1))));
    }

    #[test]
    fn items_are_matched_by_whole_names_and_delivered_in_catalog_order() {
        let items = |documents: &str| one(|r| ask(r, documents)).lines[0].items.to_vec();
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
            let line = line_of(documents, |r| r.consented_documents = consented.map(|c| [c.into()].into()));
            let expected = (!delivered).then_some((Outcome::NoConsent, None));
            assert_eq!(line.decided, expected, "{documents} {consented:?}");
            assert_eq!(line.items.is_empty(), !delivered);
        }
    }
}
