//! seal: a statement of every bundle, a Merkle tree over them, the root signed, and a receipt for each request.
//!
//! While bundles are made, their statements go aside by shard and only their leaf hashes stay in memory; when the last is
//! made, the tree stands and every statement gets its path. Receipts of a recipient and service stand in one file, a line
//! each, in the order of the packed file: whoever is handed a line can check it with the public key alone.
//!
//! Leaves stand in the order of the requests (by request id). A request that is refused as a whole has no bundle, and no
//! leaf.

mod check;
mod hand;
mod head;
mod merkle;
mod receipt;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use ieum_model::error::{Error, Result};
use ieum_privacy::SigningKey;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use check::check;
pub use hand::{Verified, verify_bundle};
pub use head::{SEAL, SIGNATURE, TreeHead};
pub use merkle::{Hash, Tree, leaf_hash, root_by};
pub use receipt::{BundleDigest, ConsentReference, DocumentGiven, Form, Receipt, STATEMENT, Statement};

use crate::bundle::{Answer, Bundle, document_name};
use crate::course::{Course, Courses};
use crate::from_io;
use crate::input::Night;
use crate::manifest::hex;
use crate::sink::{Output, OutputWriter};

/// Folder of the receipts, below the output folder.
pub const RECEIPTS: &str = "receipts";

/// What the manifest says of the seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealRecord {
    /// Bundles of the run.
    pub tree_size: u64,
    /// Root over their statements, lower-case hexadecimal.
    pub root: String,
}

/// The seal of a run, in the making.
pub struct Sealing<'a> {
    night: &'a Night,
    key: &'a SigningKey,
    /// Plan digest by source.
    plans: Vec<Option<&'a str>>,
    /// Where statements wait for their paths.
    aside: PathBuf,
    shards: u32,
    leaves: Vec<Hash>,
    /// Of each leaf, the ordinal of its request and the bytes of its statement.
    stated: Vec<(u32, u32)>,
}

impl<'a> Sealing<'a> {
    /// A seal over nothing yet; `None` where the night has no key that signs.
    ///
    /// # Errors
    /// When the folder for what waits cannot be made.
    pub fn begin(
        night: &'a Night,
        courses: &Courses,
        plans: &'a BTreeMap<String, String>,
        output: &Output,
    ) -> Result<Option<Self>> {
        let Some(key) = &night.signing else { return Ok(None) };
        let aside = output.stage_folder().join(RECEIPTS);
        fs::create_dir_all(&aside).map_err(|error| from_io(&error, &aside))?;
        let plans = courses.sources.iter().map(|source| plans.get(&source.name()).map(String::as_str)).collect();
        Ok(Some(Self { night, key, plans, aside, shards: 0, leaves: Vec::new(), stated: Vec::new() }))
    }

    /// States the bundles of one shard, in their order; `answers` are those of all lines so far.
    ///
    /// # Errors
    /// When the disk does not take the statements.
    pub fn add(
        &mut self,
        courses: &Courses,
        answers: &[Option<Answer>],
        bundles: &[Bundle<'_>],
        digests: Vec<BundleDigest>,
    ) -> Result<()> {
        let state = |(bundle, digest): (&Bundle<'_>, BundleDigest)| -> Result<(Hash, (u32, u32), Vec<u8>)> {
            let statement = self.statement(courses, answers, bundle, digest);
            let bytes = serde_json::to_vec(&statement).map_err(|error| Error::internal(error.to_string()))?;
            let length = u32::try_from(bytes.len()).map_err(|_| Error::internal("a statement of 4 GiB"))?;
            Ok((leaf_hash(&bytes), (bundle.request.ordinal, length), bytes))
        };
        let stated: Vec<_> = bundles.par_iter().zip(digests).map(state).collect::<Result<_>>()?;
        let mut text = Vec::with_capacity(stated.iter().map(|(.., bytes)| bytes.len()).sum());
        for (leaf, about, bytes) in stated {
            self.leaves.push(leaf);
            self.stated.push(about);
            text.extend_from_slice(&bytes);
        }
        let path = self.shard(self.shards);
        fs::write(&path, text).map_err(|error| from_io(&error, &path))?;
        self.shards += 1;
        Ok(())
    }

    fn shard(&self, shard: u32) -> PathBuf {
        self.aside.join(shard.to_string())
    }

    fn statement<'b>(
        &'b self,
        courses: &Courses,
        answers: &[Option<Answer>],
        bundle: &'b Bundle<'_>,
        digest: BundleDigest,
    ) -> Statement<'b> {
        let (request, consent) = (bundle.request, &bundle.request.consent);
        let first = courses.first_line[request.ordinal as usize] as usize;
        let given = |(offset, line): (usize, &'b ieum_model::check::CheckedLine)| {
            let answer = answers.get(first + offset).copied().flatten()?;
            let plan = match courses.lines[first + offset] {
                Course::Read(source) => self.plans[source as usize],
                Course::Decided(..) => None,
            };
            Some(DocumentGiven {
                document: document_name(request, offset),
                items: Cow::Borrowed(&line.items),
                outcome: answer.outcome.code().into(),
                reason: answer.reason.map(|reason| reason.code().into()),
                records: answer.records,
                plan: plan.map(Cow::Borrowed),
            })
        };
        let date = |date: chrono::NaiveDate| Cow::Owned(date.to_string());
        Statement {
            receipt: STATEMENT.into(),
            request_id: Cow::Borrowed(&request.request_id),
            recipient: Cow::Borrowed(&request.recipient),
            service: request.service.as_deref().map(Cow::Borrowed),
            purpose: Cow::Borrowed(&request.purpose),
            legal_basis: Cow::Borrowed(&request.legal_basis),
            consent: ConsentReference {
                regime: Cow::Borrowed(&consent.regime),
                requested_at: date(consent.requested_at),
                valid_from: consent.valid_from.map(date),
                valid_until: consent.valid_until.map(date),
            },
            subject: bundle.subject.as_deref().map(Cow::Borrowed),
            documents: request.lines.iter().enumerate().filter_map(given).collect(),
            bundle: digest,
        }
    }

    /// Signs the root, and writes head, signature and receipts.
    ///
    /// # Errors
    /// When the output does not take them.
    pub fn finish(mut self, output: &mut Output) -> Result<SealRecord> {
        let tree = Tree::new(std::mem::take(&mut self.leaves));
        let head = self.head(&tree);
        let (signature, file) = head.sign(self.key)?;
        let bytes = head.encode()?;
        output.put(SEAL, &bytes)?;
        output.put(SIGNATURE, file.as_bytes())?;
        let mut tail = b"],\"head\":".to_vec();
        tail.extend_from_slice(bytes.trim_ascii_end());
        tail.extend_from_slice(format!(",\"signature\":\"{signature}\"}}\n").as_bytes());
        self.write_receipts(&tree, &tail, output)?;
        Ok(SealRecord { tree_size: head.tree_size, root: head.root })
    }

    fn head(&self, tree: &Tree) -> TreeHead {
        let night = self.night;
        TreeHead {
            seal: String::new(),
            run_id: night.run_id(),
            as_of: night.as_of.to_string(),
            catalog_digest: night.catalog_digest.clone(),
            requests_digest: night.requests_digest.clone(),
            key_id: night.master.key_id().to_owned(),
            key_epoch: night.master.epoch(),
            tree_size: tree.size(),
            root: hex(&tree.root()),
            signing_key: String::new(),
            public_key: String::new(),
        }
        .by(self.key.public())
    }

    /// Shard by shard, the receipts of every file side by side.
    fn write_receipts(&self, tree: &Tree, tail: &[u8], output: &mut Output) -> Result<()> {
        let mut files: BTreeMap<ReceiptFile<'_>, OutputWriter> = BTreeMap::new();
        let mut leaf = 0;
        for shard in 0..self.shards {
            let path = self.shard(shard);
            let text = fs::read(&path).map_err(|error| from_io(&error, &path))?;
            let by_file = self.by_file(&mut leaf, &text)?;
            for file @ (recipient, service) in by_file.keys() {
                if !files.contains_key(file) {
                    files.insert(*file, output.create(&format!("{RECEIPTS}/{recipient}/{service}.ndjson"))?);
                }
            }
            files.par_iter_mut().try_for_each(|(file, writer)| {
                let mut line = Vec::new();
                by_file.get(file).into_iter().flatten().try_for_each(|(leaf, statement)| {
                    write_receipt(&mut line, tree, *leaf, statement, tail);
                    writer.append(&line).map(drop)
                })
            })?;
        }
        files.into_values().try_for_each(|writer| output.keep(writer))
    }

    /// The statements of a shard, from `leaf` on, by the file of their receipts.
    fn by_file<'b>(&self, leaf: &mut usize, text: &'b [u8]) -> Result<BTreeMap<ReceiptFile<'_>, Vec<Stated<'b>>>> {
        let mut by_file: BTreeMap<ReceiptFile<'_>, Vec<Stated<'b>>> = BTreeMap::new();
        let mut rest = text;
        while !rest.is_empty() {
            let torn = || Error::internal("a statement is cut short");
            let (request, bytes) = self.stated.get(*leaf).ok_or_else(torn)?;
            let (statement, after) = rest.split_at_checked(*bytes as usize).ok_or_else(torn)?;
            let request = &self.night.checked.requests[*request as usize];
            let file = (&*request.recipient, request.service.as_deref().unwrap_or("documents"));
            by_file.entry(file).or_default().push((*leaf as u64, statement));
            (rest, *leaf) = (after, *leaf + 1);
        }
        Ok(by_file)
    }
}

/// A file of receipts, by recipient and service or what stands for none.
type ReceiptFile<'a> = (&'a str, &'a str);

/// A leaf's place and its statement.
type Stated<'a> = (u64, &'a [u8]);

/// The line of a receipt, as [`Receipt`] is spelt.
fn write_receipt(line: &mut Vec<u8>, tree: &Tree, leaf: u64, statement: &[u8], tail: &[u8]) {
    line.clear();
    line.extend_from_slice(b"{\"statement\":");
    line.extend_from_slice(statement);
    line.extend_from_slice(b",\"leaf_index\":");
    line.extend_from_slice(leaf.to_string().as_bytes());
    line.extend_from_slice(b",\"path\":[");
    for (place, hash) in tree.path(leaf).enumerate() {
        line.extend_from_slice(if place == 0 { b"\"" } else { b",\"" });
        line.extend_from_slice(hex(hash).as_bytes());
        line.push(b'"');
    }
    line.extend_from_slice(tail);
}
