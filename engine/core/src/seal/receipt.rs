//! A receipt: what was given to whom for what and on which basis, and the proof that the run's signed root covers it.
//!
//! ```text
//!  bundle ──SHA-256──► statement ──leaf──► path ──► root ──► head ──signature──► public key
//! ```
//!
//! The leaf is the statement, and the bundle's digest stands in the statement: the root covers both, so that no word of a
//! receipt can be changed without the signing key. A receipt has one spelling: what is written otherwise is refused.

use std::borrow::Cow;

use ieum_model::error::{Error, ErrorKind, Result};
use ieum_privacy::PublicKey;
use serde::{Deserialize, Serialize};

use super::head::{TreeHead, unhex};
use super::merkle::{Hash, leaf_hash, root_by};
use crate::manifest::sha256_hex;

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
}

/// A document of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentGiven<'a> {
    /// Its name in the bundle: dataset code; a second line of the same dataset is `code#2`.
    pub document: Cow<'a, str>,
    /// Items that were asked for and may be delivered.
    pub items: Cow<'a, [String]>,
    /// The answer.
    pub outcome: Cow<'a, str>,
    /// Why, where the outcome has a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    /// Records in the bundle.
    pub records: u32,
    /// SHA-256 of the text of the plan that read the export, where one was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Cow<'a, str>>,
}

/// What is stated of one request. Of the person it says the pseudonym in the recipient's domain, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement<'a> {
    /// Format: `ieum-receipt/1`.
    pub receipt: Cow<'a, str>,
    /// The request.
    pub request_id: Cow<'a, str>,
    /// Code of the recipient.
    pub recipient: Cow<'a, str>,
    /// Bundle service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Cow<'a, str>>,
    /// Purpose of use.
    pub purpose: Cow<'a, str>,
    /// Legal basis of the service; empty without one.
    pub legal_basis: Cow<'a, str>,
    /// On whose word.
    pub consent: ConsentReference<'a>,
    /// The recipient's name for the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Cow<'a, str>>,
    /// The documents, in the order of the bundle.
    pub documents: Vec<DocumentGiven<'a>>,
    /// The bundle.
    pub bundle: BundleDigest,
}

/// Format of a statement.
pub const STATEMENT: &str = "ieum-receipt/1";

/// A receipt, as read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// What is stated.
    pub statement: Statement<'static>,
    /// Place of the statement among the leaves.
    pub leaf_index: u64,
    /// The hashes from its sibling up to the root, lower-case hexadecimal.
    pub path: Vec<String>,
    /// What is signed.
    pub head: TreeHead,
    /// Ed25519 signature of the head's bytes, lower-case hexadecimal.
    pub signature: String,
}

/// Something in a receipt that does not hold.
pub(super) fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Integrity, message)
}

impl Receipt {
    /// Reads a receipt: one line of JSON with its line end.
    ///
    /// # Errors
    /// [`ErrorKind::Integrity`] if it is none, or spelt otherwise than it was written.
    pub fn read(line: &[u8]) -> Result<Self> {
        // What serde_json says can repeat what it found.
        let receipt: Self = serde_json::from_slice(line).map_err(|error| {
            refused(format!(
                "the receipt cannot be read: it is not as a receipt is written at column {}",
                error.column()
            ))
        })?;
        if receipt.encode()? != line {
            return Err(refused("the receipt is spelt otherwise than it was written")
                .at("request", &receipt.statement.request_id));
        }
        Ok(receipt)
    }

    fn encode(&self) -> Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self).map_err(|error| Error::internal(error.to_string()))?;
        line.push(b'\n');
        Ok(line)
    }

    /// The hash of its leaf.
    ///
    /// # Errors
    /// Never in practice; our bug otherwise.
    pub fn leaf(&self) -> Result<Hash> {
        let statement = serde_json::to_vec(&self.statement).map_err(|error| Error::internal(error.to_string()))?;
        Ok(leaf_hash(&statement))
    }

    /// Whether the path leads from the statement to the signed root.
    ///
    /// # Errors
    /// [`ErrorKind::Integrity`] if it leads elsewhere.
    pub fn is_included(&self) -> Result<()> {
        let path: Option<Vec<Hash>> = self.path.iter().map(|hash| unhex(hash)).collect();
        let size = self.head.tree_size;
        let root = path.and_then(|path| root_by(&path, &self.leaf().ok()?, self.leaf_index, size));
        if root.is_some() && root == unhex(&self.head.root) {
            return Ok(());
        }
        Err(self.refused("the path does not lead from the statement to the root: one of them was changed"))
    }

    /// Whether the bundle is the one that the receipt is for.
    ///
    /// # Errors
    /// [`ErrorKind::Integrity`] if it is another, or was changed.
    pub fn is_for(&self, bundle: &BundleDigest) -> Result<()> {
        let stated = &self.statement.bundle;
        if stated == bundle {
            return Ok(());
        }
        Err(self
            .refused("the bundle is not the one that the receipt is for, or was changed")
            .at("stated", format!("{} bytes, SHA-256 {}", stated.bytes, stated.sha256))
            .at("found", format!("{} bytes, SHA-256 {}", bundle.bytes, bundle.sha256)))
    }

    /// Whether everything holds: the statement is covered by the root, the root signed by this key, and the bundle the one
    /// that is stated. Needs nothing but the three.
    ///
    /// # Errors
    /// [`ErrorKind::Integrity`] with what disagrees.
    pub fn verify(&self, bundle: &BundleDigest, public: &PublicKey) -> Result<()> {
        if self.statement.receipt != STATEMENT {
            return Err(self.refused("the receipt has a format that this version does not know"));
        }
        self.is_for(bundle)?;
        self.is_included()?;
        self.head.is_signed(&self.signature, public).map_err(|error| error.at("request", &self.statement.request_id))
    }

    fn refused(&self, message: &str) -> Error {
        refused(message).at("request", &self.statement.request_id)
    }
}
