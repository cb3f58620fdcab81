//! A receipt: what was given to whom for what and on which basis, and the proof that the run's signed root covers it.
//!
//! ```text
//!  bundle ──SHA-256──┐
//!  terms  ──SHA-256──┴► statement ──leaf──► root of its file ──leaf──► root of the run ──► head ──signature──► public key
//! ```
//!
//! The digests of bundle and terms stand in the statement, and the statement is the leaf: the root covers all three, so that
//! no word of a receipt can be changed without the signing key. A receipt has one spelling: what is written otherwise is
//! refused.

use std::borrow::Cow;

use ieum_model::error::{Error, ErrorKind, Result};
use ieum_privacy::PublicKey;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::head::{TreeHead, unhex};
use super::merkle::{Hash, leaf_hash, root_by};
use crate::manifest::{OutputFile, PlainText, hex, sha256_hex};

/// What a bundle's digest is taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The line of JSON with its line end, whether it is a file or a line of one.
    Json,
    /// The bytes of the Parquet file.
    Parquet,
    /// A row of a packed Parquet file, written as the line of JSON that the same bundle has elsewhere.
    ParquetRow,
}

/// A bundle's bytes, by which it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleDigest {
    /// What was digested.
    pub form: Form,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

impl BundleDigest {
    /// The digest of a bundle's bytes.
    pub fn of(form: Form, bytes: &[u8]) -> Self {
        Self { form, bytes: bytes.len() as u64, sha256: sha256_hex(bytes) }
    }

    /// The digest of a bundle that is a file, as its recipient reads it.
    pub(crate) fn of_file(form: Form, file: &OutputFile) -> Self {
        let (bytes, sha256) = match &file.plain {
            Some(PlainText { bundle: Some(bundle), .. }) => (bundle.bytes, &bundle.sha256),
            Some(plain) => (plain.bytes, &plain.sha256),
            None => (file.bytes, &file.sha256),
        };
        Self { form, bytes, sha256: sha256.clone() }
    }
}

/// A document that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentAsked<'a> {
    /// Its name in the bundle: dataset code; a second line of the same dataset is `code#2`.
    pub document: Cow<'a, str>,
    /// Items that were asked for and may be delivered.
    pub items: Cow<'a, [String]>,
    /// SHA-256 of the text of the plan that read the export, where one was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Cow<'a, str>>,
}

/// What many requests have in common: who asks for what, why, and by which plans it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms<'a> {
    /// Format: `ieum-terms/1`.
    pub terms: Cow<'a, str>,
    /// Code of the recipient.
    pub recipient: Cow<'a, str>,
    /// Bundle service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Cow<'a, str>>,
    /// Purpose of use.
    pub purpose: Cow<'a, str>,
    /// Legal basis of the service; empty without one.
    pub legal_basis: Cow<'a, str>,
    /// The documents, in the order of the bundle.
    pub documents: Vec<DocumentAsked<'a>>,
}

/// What the subject consented to, as far as the request says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentReference<'a> {
    /// The statute the request is made under.
    pub regime: Cow<'a, str>,
    /// When it was made, ISO.
    pub requested_at: Cow<'a, str>,
    /// First date the consent is valid on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Cow<'a, str>>,
    /// Last date the consent is valid on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Cow<'a, str>>,
    /// Name of the consent record that the request rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Cow<'a, str>>,
}

/// The answer to a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given<'a> {
    /// What became of it.
    pub outcome: Cow<'a, str>,
    /// Why, where the outcome has a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    /// Records in the bundle; left out where there are none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub records: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
fn is_none(records: &u32) -> bool {
    *records == 0
}

/// What is stated of one request. Of the person it says the pseudonym in the recipient's domain, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement<'a> {
    /// Format: `ieum-receipt/1`.
    pub receipt: Cow<'a, str>,
    /// The request.
    pub request_id: Cow<'a, str>,
    /// SHA-256 of the terms, lower-case hexadecimal.
    pub terms: Cow<'a, str>,
    /// On whose word.
    pub consent: ConsentReference<'a>,
    /// The recipient's name for the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Cow<'a, str>>,
    /// The answers to the documents of the terms, in their order; null for one that was not needed.
    pub answers: Vec<Option<Given<'a>>>,
    /// What became of a request that was refused as a whole, and why: it has no bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Given<'a>>,
    /// The bundle, as the recipient reads it: before it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Cow<'a, BundleDigest>>,
}

/// Format of a statement.
pub const STATEMENT: &str = "ieum-receipt/1";
/// Format of terms.
pub const TERMS: &str = "ieum-terms/1";

/// Recipient and service of a file of receipts; [`REFUSED_FILE`] of that of the refusals.
pub(super) type FileName<'a> = (&'a str, &'a str);

/// What stands for recipient and service where requests were refused as a whole. They may name a recipient or service
/// that there is not, which is no name for a file; a recipient's code is never empty.
pub(super) const REFUSED_FILE: FileName<'static> = ("", "refused");

/// What is hashed of a file of receipts: a leaf of the run's tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct FileLeaf<'a> {
    pub recipient: &'a str,
    pub service: &'a str,
    pub bundles: u64,
    pub root: String,
}

impl FileLeaf<'_> {
    pub fn hash(&self) -> Result<Hash> {
        Ok(leaf_hash(&encode(self)?))
    }
}

/// How a file of receipts hangs on the run's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileProof {
    /// Place of the file among the files of the run.
    pub file_index: u64,
    /// Bundles of the file, or refusals.
    pub bundles: u64,
    /// The hashes from the file's sibling up to the root, lower-case hexadecimal.
    pub file_path: Vec<String>,
    /// What is signed.
    pub head: TreeHead,
    /// Signature of the head's bytes, lower-case hexadecimal: Ed25519, or `r` and `s` of ECDSA.
    pub signature: String,
}

impl FileProof {
    /// Whether a file of this root hangs on the root in the head.
    ///
    /// # Errors
    /// [`ErrorKind::Integrity`] if it does not.
    pub(super) fn covers(&self, (recipient, service): FileName<'_>, root: Option<Hash>) -> Result<()> {
        let reached = root.and_then(|root| {
            let leaf = FileLeaf { recipient, service, bundles: self.bundles, root: hex(&root) }.hash().ok()?;
            root_by(&hashes(&self.file_path)?, &leaf, self.file_index, self.head.tree_size)
        });
        match reached {
            Some(root) if hex(&root) == self.head.root => Ok(()),
            _ => Err(refused("the path does not lead from the statement to the root: one of them was changed")),
        }
    }
}

/// A receipt, as read: all that a third party needs beside the bundle and the public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// What is stated.
    pub statement: Statement<'static>,
    /// The terms.
    pub terms: Terms<'static>,
    /// Place of the statement among those of its file.
    pub leaf_index: u64,
    /// The hashes from its sibling up to the root of the file, lower-case hexadecimal.
    pub path: Vec<String>,
    /// How the file hangs on the run's root.
    pub file: FileProof,
}

/// Something in a receipt that does not hold.
pub(super) fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Integrity, message)
}

/// Bytes of a statement of a few documents; longer ones grow.
pub(super) const USUAL_BYTES: usize = 1024;

/// As it is hashed and written, but for the line end.
pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = Vec::with_capacity(USUAL_BYTES);
    encode_to(&mut line, value)?;
    Ok(line)
}

/// As [`encode`], behind what stands in `text`.
pub(super) fn encode_to(text: &mut Vec<u8>, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(text, value).map_err(|error| Error::internal(error.to_string()))
}

/// Reads a line with its line end; refuses any other spelling than that of [`encode`].
pub(super) fn decode<T: Serialize + DeserializeOwned>(what: &str, line: &[u8]) -> Result<T> {
    // What serde_json says can repeat what it found.
    let value: T = serde_json::from_slice(line).map_err(|error| {
        refused(format!("{what} cannot be read: it is not as it is written at column {}", error.column()))
    })?;
    let written = encode(&value)?;
    match line.split_last() {
        Some((b'\n', line)) if line == written => Ok(value),
        _ => Err(refused(format!("{what} is spelt otherwise than it was written"))),
    }
}

fn hashes(path: &[String]) -> Option<Vec<Hash>> {
    path.iter().map(|hash| unhex(hash)).collect()
}

impl Terms<'_> {
    /// Recipient and service of the file that they stand in.
    pub(super) fn file(&self) -> FileName<'_> {
        (&self.recipient, self.service.as_deref().unwrap_or(super::NO_SERVICE))
    }

    /// Their digest, as a statement names it.
    ///
    /// # Errors
    /// Never in practice; our bug otherwise.
    pub fn digest(&self) -> Result<String> {
        Ok(sha256_hex(&encode(self)?))
    }
}

impl Statement<'_> {
    /// The hash of its leaf.
    ///
    /// # Errors
    /// Never in practice; our bug otherwise.
    pub fn leaf(&self) -> Result<Hash> {
        Ok(leaf_hash(&encode(self)?))
    }

    /// Recipient and service of the file that it stands in.
    pub(super) fn file<'s>(&self, terms: &'s Terms<'_>) -> FileName<'s> {
        if self.refusal.is_some() { REFUSED_FILE } else { terms.file() }
    }

    /// Whether it is a statement on these terms.
    ///
    /// # Errors
    /// [`ErrorKind::Integrity`] if it is one on others, or of an unknown format.
    pub fn is_on(&self, terms: &Terms<'_>) -> Result<()> {
        if self.receipt != STATEMENT || terms.terms != TERMS {
            return Err(self.refused("the receipt has a format that this version does not know"));
        }
        if self.terms != terms.digest()? || self.answers.len() != terms.documents.len() {
            return Err(self.refused("the terms are not those that the statement names: one of them was changed"));
        }
        if self.bundle.is_some() == self.refusal.is_some() {
            return Err(self.refused("the receipt states neither a bundle nor a refusal, or both"));
        }
        Ok(())
    }

    /// Whether the bundle is the one that the statement is of.
    ///
    /// # Errors
    /// [`ErrorKind::Integrity`] if it is another, or was changed.
    pub fn is_of(&self, bundle: &BundleDigest) -> Result<()> {
        let told = |bundle: &BundleDigest| format!("{} bytes, SHA-256 {}", bundle.bytes, bundle.sha256);
        match &self.bundle {
            Some(stated) if **stated == *bundle => Ok(()),
            Some(stated) => Err(self
                .refused("the bundle is not the one that the receipt is for, or was changed")
                .at("stated", told(stated))
                .at("found", told(bundle))),
            None => Err(self.refused("the receipt states that the request was refused: it has no bundle")),
        }
    }

    pub(super) fn refused(&self, message: &str) -> Error {
        refused(message).at("request", &self.request_id)
    }
}

impl Receipt {
    /// Reads a receipt: one line of JSON with its line end.
    ///
    /// # Errors
    /// [`ErrorKind::Integrity`] if it is none, or spelt otherwise than it was written.
    pub fn read(line: &[u8]) -> Result<Self> {
        decode("the receipt", line)
    }

    /// The line of JSON with its line end.
    ///
    /// # Errors
    /// Never in practice; our bug otherwise.
    pub fn text(&self) -> Result<String> {
        let mut line = encode(self)?;
        line.push(b'\n');
        String::from_utf8(line).map_err(|error| Error::internal(error.to_string()))
    }

    /// Whether statement and terms are covered by the root, and the root is signed by this key.
    ///
    /// # Errors
    /// [`ErrorKind::Integrity`] with what disagrees.
    pub fn is_signed(&self, public: &PublicKey) -> Result<()> {
        let of_request = |error: Error| error.at("request", &self.statement.request_id);
        self.statement.is_on(&self.terms)?;
        let (leaf, path) = (self.statement.leaf()?, hashes(&self.path));
        let root = path.and_then(|path| root_by(&path, &leaf, self.leaf_index, self.file.bundles));
        self.file.covers(self.statement.file(&self.terms), root).map_err(of_request)?;
        self.file.head.is_signed(&self.file.signature, public).map_err(of_request)
    }

    /// Whether everything holds: the receipt is signed by this key, and the bundle is the one that it is for. Needs nothing
    /// but the three.
    ///
    /// # Errors
    /// [`ErrorKind::Integrity`] with what disagrees.
    pub fn verify(&self, bundle: &BundleDigest, public: &PublicKey) -> Result<()> {
        self.statement.is_of(bundle)?;
        self.is_signed(public)
    }
}
