//! What requests ask for, kept once for all that ask the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::catalog::Catalog;
use crate::consent::Coverage;
use crate::request::{Request, RequestedDocument};
use crate::service::Applicant;

use super::rules::Rules;
use super::{CheckedLine, Decision};

/// What a request asks for.
pub(super) struct Asked {
    /// Its document lines, where nothing speaks against the request as a whole.
    pub(super) lines: Arc<[CheckedLine]>,
    /// Documents that it names itself.
    pub(super) documents: Arc<[RequestedDocument]>,
    /// Whether a line is of another holder than the request names.
    pub(super) of_another_holder: bool,
    /// The same number for the same question, however it is put: in another order, or with an item's other name.
    pub(super) question: u32,
}

/// Everything that is asked for, by number.
#[derive(Default)]
pub(super) struct AskedOnce {
    asked: Vec<Asked>,
    numbers: FxHashMap<Box<[u8]>, u32>,
    questions: FxHashMap<Box<[u8]>, u32>,
    key: Key,
}

impl AskedOnce {
    /// The number of what the request asks for. A request that asks as one before it did costs a look-up.
    pub(super) fn number(
        &mut self,
        request: &Request,
        limits: Limits<'_>,
        rules: &mut Rules<'_>,
        lines: &mut Lines,
    ) -> u32 {
        self.key.write(&Question::as_put(request, limits));
        if let Some(number) = self.numbers.get(self.key.0.as_slice()) {
            return *number;
        }
        let number = self.asked.len() as u32;
        self.numbers.insert(self.key.0.as_slice().into(), number);
        self.key.write(&Question::in_order(request, limits, rules.catalog()));
        let next = self.questions.len() as u32;
        let question = *self.questions.entry(self.key.0.as_slice().into()).or_insert(next);
        let documents = Arc::clone(&request.documents);
        let checked = rules.lines(request, limits);
        let holder_of = |line: &CheckedLine| rules.catalog().datasets.get(&*line.document).map(|of| of.holder.as_str());
        let another = |holder: &str| checked.iter().filter_map(holder_of).any(|of| of != holder);
        let of_another_holder = request.holder.as_deref().is_some_and(another);
        self.asked.push(Asked { lines: lines.once(checked), documents, of_another_holder, question });
        number
    }

    pub(super) fn get(&self, number: u32) -> &Asked {
        &self.asked[number as usize]
    }

    pub(super) fn all(&self) -> &[Asked] {
        &self.asked
    }
}

/// What decides the lines of a request, and whether another one asks the same.
struct Question<'a> {
    service: Option<&'a str>,
    holder: Option<&'a str>,
    documents: Vec<AskedDocument<'a>>,
    /// What was taken back: asking again for it is no repetition.
    taken_back: Vec<&'a str>,
    /// Who applies, and what they consented to and why: another consent is another request.
    applicant: Applicant,
    consented: Option<Vec<&'a str>>,
    third_person_reason: Option<&'a str>,
    /// What the consent record of the request covers.
    covered: Option<Vec<&'a str>>,
}

/// What limits the lines of a request: documents that were taken back, and what its consent record covers.
pub(super) type Limits<'a> = (Option<&'a BTreeSet<&'a str>>, Option<&'a Coverage>);

/// Dataset, items, view.
type AskedDocument<'a> = (&'a str, Option<Vec<&'a str>>, Option<&'a str>);

impl<'a> Question<'a> {
    fn as_put(request: &'a Request, (taken_back, covered): Limits<'a>) -> Self {
        let document = |document: &'a RequestedDocument| {
            let items = document.items.as_ref().map(|items| items.iter().map(String::as_str).collect());
            (document.dataset.as_str(), items, document.view.as_deref())
        };
        Self {
            service: request.service.as_deref(),
            holder: request.holder.as_deref(),
            documents: request.documents.iter().map(document).collect(),
            taken_back: taken_back.into_iter().flatten().copied().collect(),
            applicant: request.applicant,
            consented: request.consented_documents.as_ref().map(|codes| codes.iter().map(|code| &**code).collect()),
            third_person_reason: request.third_person_reason.as_deref(),
            covered: covered.map(|covered| covered.names().collect()),
        }
    }

    /// What can be named in any order and twice is sorted, each once; items go by their code.
    fn in_order(request: &'a Request, limits: Limits<'a>, catalog: &'a Catalog) -> Self {
        let mut question = Self::as_put(request, limits);
        for (dataset, items, _) in &mut question.documents {
            let dataset = catalog.datasets.get(*dataset);
            for name in items.iter_mut().flatten() {
                *name = dataset.and_then(|dataset| dataset.item(name)).map_or(*name, |(code, _)| code);
            }
            items.iter_mut().for_each(each_once);
        }
        each_once(&mut question.documents);
        question.consented.iter_mut().for_each(each_once);
        question
    }
}

pub(super) fn each_once<T: Ord>(values: &mut Vec<T>) {
    values.sort_unstable();
    values.dedup();
}

/// A question as bytes: no two questions have the same ones.
#[derive(Default)]
struct Key(Vec<u8>);

impl Key {
    fn write(&mut self, question: &Question<'_>) {
        self.0.clear();
        self.0.push(question.applicant as u8);
        self.maybe(question.service, Self::text);
        self.maybe(question.holder, Self::text);
        self.maybe(question.third_person_reason, Self::text);
        self.maybe(question.consented.as_deref(), Self::texts);
        self.maybe(question.covered.as_deref(), Self::texts);
        self.texts(&question.taken_back);
        self.count(question.documents.len());
        for (dataset, items, view) in &question.documents {
            self.text(dataset);
            self.maybe(items.as_deref(), Self::texts);
            self.maybe(*view, Self::text);
        }
    }

    fn count(&mut self, count: usize) {
        self.0.extend_from_slice(&(count as u64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn texts(&mut self, texts: &[&str]) {
        self.count(texts.len());
        texts.iter().for_each(|text| self.text(text));
    }

    fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Lists of document lines, each kept once.
#[derive(Default)]
pub(super) struct Lines {
    kept: FxHashSet<Arc<[CheckedLine]>>,
    /// By where the list is kept, and the decision.
    refused: FxHashMap<(usize, Decision), Arc<[CheckedLine]>>,
}

impl Lines {
    pub(super) fn once(&mut self, lines: Vec<CheckedLine>) -> Arc<[CheckedLine]> {
        if let Some(known) = self.kept.get(lines.as_slice()) {
            return Arc::clone(known);
        }
        let lines: Arc<[CheckedLine]> = lines.into();
        self.kept.insert(Arc::clone(&lines));
        lines
    }

    /// The lines for the documents of `open`.
    pub(super) fn only(&mut self, lines: &[CheckedLine], open: Option<&FxHashSet<&str>>) -> Arc<[CheckedLine]> {
        let is_open = |line: &&CheckedLine| open.is_some_and(|open| open.contains(&*line.document));
        self.once(lines.iter().filter(is_open).cloned().collect())
    }

    /// The lines of a request that is refused as a whole, of a list that is kept.
    pub(super) fn refused(&mut self, lines: &Arc<[CheckedLine]>, decision: Decision) -> Arc<[CheckedLine]> {
        let place = (lines.as_ptr() as usize, decision);
        if let Some(known) = self.refused.get(&place) {
            return Arc::clone(known);
        }
        let refused = |line: &CheckedLine| CheckedLine {
            document: Arc::clone(&line.document),
            items: Arc::default(),
            withheld: Arc::default(),
            fallback_of: line.fallback_of.clone(),
            decided: Some(decision),
        };
        let lines = self.once(lines.iter().map(refused).collect());
        self.refused.insert(place, Arc::clone(&lines));
        lines
    }
}
