//! seal: a statement of every bundle, Merkle trees over them, the root signed, and a receipt for each request.
//!
//! ```text
//!  root of the run ── head, signed ─► seal.json, seal.json.minisig
//!      ├── root of receipts/bank/loan.ndjson ── its statements, in the order of the bundles
//!      └── root of receipts/semas/fund.ndjson ── …
//! ```
//!
//! The statements of a recipient and service stand in one file, in any layout: a file for each would cost as much as the
//! bundles. They are written while bundles are made; only leaf hashes stay in memory. The file proves all of its statements,
//! and gives the receipt of each (`ieum receipt`), which says and proves one of them alone.
//!
//! Files stand in the order of recipient and service, statements in that of the requests (by request id). A request that is
//! refused as a whole has no bundle: `receipts/refused.ndjson`, the first file where there is one, states those, of every
//! recipient and service, since they may name some that there are not.
//!
//! A statement has the digest of the bundle as its recipient reads it, whether it is encrypted or not. Whoever has a receipt
//! can therefore test a guess of a whole bundle.

mod check;
mod file;
mod hand;
mod head;
mod merkle;
mod receipt;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{Datelike, NaiveDate};
use ieum_model::check::CheckedRequest;
use ieum_model::error::Result;
use ieum_privacy::SigningKey;
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

pub use check::check;
pub use file::ReceiptFile;
pub use hand::{Verified, receipt_of, verify_bundle, verify_refusal};
pub use head::{SEAL, TreeHead};
pub use merkle::{Hash, Tree, leaf_hash, root_by};
pub use receipt::{
    BundleDigest, ConsentReference, DocumentAsked, FileProof, Form, Given, Receipt, STATEMENT, Statement, TERMS, Terms,
};

use crate::bundle::{Answer, Bundle, document_name};
use crate::course::{Course, Courses};
use crate::input::Night;
use crate::manifest::{hex, sha256_hex};
use crate::sink::{Output, OutputWriter};
use receipt::{FileLeaf, FileName, REFUSED_FILE, encode};

/// Folder of the receipts, below the output folder.
pub const RECEIPTS: &str = "receipts";

/// What stands for the service of requests that name documents themselves.
const NO_SERVICE: &str = "documents";

/// What the manifest says of the seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealRecord {
    /// Bundles of the run.
    pub bundles: u64,
    /// Requests that were refused as a whole.
    pub refused: u64,
    /// Files of receipts: leaves of the run's tree.
    pub tree_size: u64,
    /// Root over them, lower-case hexadecimal.
    pub root: String,
}

/// Path of a file of receipts; made from validated codes only.
fn path_of((recipient, service): FileName<'_>) -> String {
    match (recipient, service) {
        REFUSED_FILE => format!("{RECEIPTS}/{service}.ndjson"),
        _ => format!("{RECEIPTS}/{recipient}/{service}.ndjson"),
    }
}

/// The seal of a run, in the making.
pub struct Sealing<'a> {
    night: &'a Night,
    courses: &'a Courses,
    key: &'a SigningKey,
    /// Plan digest by source.
    plans: Vec<Option<&'a str>>,
    files: BTreeMap<FileName<'a>, File<'a>>,
}

/// A file of receipts, in the making.
struct File<'a> {
    writer: OutputWriter,
    leaves: Vec<Hash>,
    /// Digests of the terms of requests that ask the same.
    terms: FxHashMap<Alike<'a>, Arc<str>>,
    written: FxHashSet<Arc<str>>,
}

/// What makes the terms of two requests of a file the same: their list of lines, by its address, purpose, and the sources
/// that the lines are read from.
type Alike<'a> = (usize, &'a str, Box<[u32]>);

/// A request with its subject and the digest of its bundle; of one that was refused as a whole, without.
struct Digested<'b, 'a> {
    request: &'a CheckedRequest,
    subject: Option<&'b str>,
    digest: Option<BundleDigest>,
}

impl<'a> Sealing<'a> {
    /// A seal over nothing yet; `None` where the night has no key that signs.
    pub fn begin(night: &'a Night, courses: &'a Courses, plans: &'a BTreeMap<String, String>) -> Option<Self> {
        let key = night.signing.as_ref()?;
        let plans = courses.sources.iter().map(|source| plans.get(&source.name()).map(String::as_str)).collect();
        Some(Self { night, courses, key, plans, files: BTreeMap::new() })
    }

    /// States the requests of one shard and their bundles, in their order; `answers` are those of all lines so far.
    ///
    /// # Errors
    /// When the output does not take the statements.
    pub fn add(
        &mut self,
        answers: &[Option<Answer>],
        requests: &'a [CheckedRequest],
        bundles: &[Bundle<'_>],
        digests: Vec<BundleDigest>,
        output: &Output,
    ) -> Result<()> {
        let mut by_file: BTreeMap<FileName<'a>, Vec<Digested<'_, 'a>>> = BTreeMap::new();
        let refused = requests.iter().filter(|request| request.refusal.is_some());
        let refused: Vec<_> = refused.map(|request| Digested { request, subject: None, digest: None }).collect();
        if !refused.is_empty() {
            by_file.insert(REFUSED_FILE, refused);
        }
        let requests = &self.night.checked.requests;
        for (bundle, digest) in bundles.iter().zip(digests) {
            let request = &requests[bundle.request.ordinal as usize];
            let name = (&*request.recipient, request.service.as_deref().unwrap_or(NO_SERVICE));
            let digested = Digested { request, subject: bundle.subject.as_deref(), digest: Some(digest) };
            by_file.entry(name).or_default().push(digested);
        }
        let mut files = std::mem::take(&mut self.files);
        for name in by_file.keys() {
            if !files.contains_key(name) {
                let writer = output.create(&path_of(*name))?;
                let (terms, written) = (FxHashMap::default(), FxHashSet::default());
                files.insert(*name, File { writer, leaves: Vec::new(), terms, written });
            }
        }
        let state = |(name, file): (&FileName<'a>, &mut File<'a>)| match by_file.get(name) {
            Some(bundles) => self.state(file, answers, bundles),
            None => Ok(()),
        };
        files.par_iter_mut().try_for_each(state)?;
        self.files = files;
        Ok(())
    }

    fn state(&self, file: &mut File<'a>, answers: &[Option<Answer>], bundles: &[Digested<'_, 'a>]) -> Result<()> {
        let mut terms = Vec::with_capacity(bundles.len());
        for bundle in bundles {
            terms.push(self.terms(file, bundle.request)?);
        }
        let make = |(bundle, (terms, _)): (&Digested<'_, 'a>, &(Arc<str>, _))| {
            let line = encode(&self.statement(answers, bundle, terms))?;
            Ok((leaf_hash(&line), line))
        };
        let made: Vec<(Hash, Vec<u8>)> = bundles.par_iter().zip(&terms).map(make).collect::<Result<_>>()?;
        let mut text = Vec::with_capacity(made.iter().map(|(_, line)| line.len() + 1).sum());
        for ((leaf, line), (_, new)) in made.iter().zip(terms) {
            text.extend(new.unwrap_or_default());
            text.extend_from_slice(line);
            text.push(b'\n');
            file.leaves.push(*leaf);
        }
        file.writer.append(&text).map(drop)
    }

    /// The digest of a request's terms, and their line where the file has it not yet.
    fn terms(&self, file: &mut File<'a>, request: &'a CheckedRequest) -> Result<(Arc<str>, Option<Vec<u8>>)> {
        let first = self.courses.first_line[request.ordinal as usize] as usize;
        let source = |course: &Course| match course {
            Course::Read(source) => *source,
            Course::Decided(..) => u32::MAX,
        };
        let sources: Box<[u32]> = self.courses.lines[first..][..request.lines.len()].iter().map(source).collect();
        let alike = (Arc::as_ptr(&request.lines).addr(), &*request.purpose, sources);
        if let Some(digest) = file.terms.get(&alike) {
            return Ok((Arc::clone(digest), None));
        }
        let asked = |(offset, source): (usize, &u32)| DocumentAsked {
            document: document_name(request, offset),
            items: Cow::Borrowed(&request.lines[offset].items),
            plan: self.plans.get(*source as usize).copied().flatten().map(Cow::Borrowed),
        };
        let terms = Terms {
            terms: TERMS.into(),
            recipient: Cow::Borrowed(&request.recipient),
            service: request.service.as_deref().map(Cow::Borrowed),
            purpose: Cow::Borrowed(&request.purpose),
            legal_basis: Cow::Borrowed(&request.legal_basis),
            documents: alike.2.iter().enumerate().map(asked).collect(),
        };
        let mut line = encode(&terms)?;
        let digest: Arc<str> = sha256_hex(&line).into();
        line.push(b'\n');
        file.terms.insert(alike, Arc::clone(&digest));
        // Two lists of lines can say the same.
        let is_new = file.written.insert(Arc::clone(&digest));
        Ok((digest, is_new.then_some(line)))
    }

    fn statement<'b>(&self, answers: &[Option<Answer>], bundle: &'b Digested<'_, '_>, terms: &'b str) -> Statement<'b> {
        let (request, consent) = (bundle.request, &bundle.request.consent);
        let first = self.courses.first_line[request.ordinal as usize] as usize;
        let given = |answer: &Option<Answer>| {
            answer.map(|answer| Given {
                outcome: answer.outcome.code().into(),
                reason: answer.reason.map(|reason| reason.code().into()),
                records: answer.records,
            })
        };
        let refusal = request.refusal.map(|(outcome, reason)| Answer { outcome, reason, records: 0 });
        let date = |date: NaiveDate| Cow::Owned(iso(date));
        Statement {
            receipt: STATEMENT.into(),
            request_id: Cow::Borrowed(&request.request_id),
            terms: terms.into(),
            consent: ConsentReference {
                regime: Cow::Borrowed(&consent.regime),
                requested_at: date(consent.requested_at),
                valid_from: consent.valid_from.map(date),
                valid_until: consent.valid_until.map(date),
                record: consent.record.as_deref().map(Cow::Borrowed),
            },
            subject: bundle.subject.map(Cow::Borrowed),
            answers: answers[first..][..request.lines.len()].iter().map(given).collect(),
            refusal: given(&refusal),
            bundle: bundle.digest.as_ref().map(Cow::Borrowed),
        }
    }

    /// Signs the root, ends every file of receipts, and writes head and signature.
    ///
    /// # Errors
    /// When the output does not take them.
    pub fn finish(mut self, output: &mut Output) -> Result<SealRecord> {
        let files = std::mem::take(&mut self.files);
        let refused = files.get(&REFUSED_FILE).map_or(0, |file| file.leaves.len() as u64);
        let stated: u64 = files.values().map(|file| file.leaves.len() as u64).sum();
        let bundles = stated - refused;
        let close = |((recipient, service), mut file): (FileName<'a>, File<'a>)| {
            let (size, tree) = (file.leaves.len() as u64, Tree::new(std::mem::take(&mut file.leaves)));
            let leaf = FileLeaf { recipient, service, bundles: size, root: hex(&tree.root()) }.hash()?;
            Ok((file.writer, size, leaf))
        };
        let files = files.into_iter().collect::<Vec<_>>().into_par_iter().map(close).collect::<Result<Vec<_>>>()?;
        let tree = Tree::new(files.iter().map(|(.., leaf)| *leaf).collect());
        let head = self.head(&tree, bundles, refused);
        let (signature, file) = head.sign(self.key)?;
        for (place, (mut writer, bundles, _)) in (0..).zip(files) {
            let mut proof = encode(&FileProof {
                file_index: place,
                bundles,
                file_path: tree.path(place).map(|hash| hex(hash)).collect(),
                head: head.clone(),
                signature: signature.clone(),
            })?;
            proof.push(b'\n');
            writer.append(&proof)?;
            output.keep(writer)?;
        }
        output.put(SEAL, &head.encode()?)?;
        output.put(&format!("{SEAL}{}", file.ending), &file.bytes)?;
        Ok(SealRecord { bundles, refused, tree_size: head.tree_size, root: head.root })
    }

    fn head(&self, tree: &Tree, bundles: u64, refused: u64) -> TreeHead {
        let night = self.night;
        TreeHead {
            seal: String::new(),
            run_id: night.run_id(),
            as_of: night.as_of.to_string(),
            catalog_digest: night.catalog_digest.clone(),
            requests_digest: night.requests_digest.clone(),
            key_id: night.master.key_id().to_owned(),
            key_epoch: night.master.epoch(),
            bundles,
            refused,
            tree_size: tree.size(),
            root: hex(&tree.root()),
            signing_key: String::new(),
            public_key: String::new(),
        }
        .by(self.key.public())
    }
}

/// A date as ISO 8601 writes it; as its `Display`, in a tenth of the time.
fn iso(date: NaiveDate) -> String {
    let Some(year) = u32::try_from(date.year()).ok().filter(|year| *year <= 9999) else { return date.to_string() };
    let digit = |number: u32, place: u32| char::from(b'0' + (number / place % 10) as u8);
    let (month, day) = (date.month(), date.day());
    let mut text = String::with_capacity(10);
    text.extend([1000, 100, 10, 1].map(|place| digit(year, place)));
    for number in [month, day] {
        text.extend(['-', digit(number, 10), digit(number, 1)]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_its_display() {
        for days in (-800_000..4_000_000).step_by(9_973) {
            let date = NaiveDate::from_num_days_from_ce_opt(days).expect("a date");
            assert_eq!(iso(date), date.to_string());
        }
    }
}
