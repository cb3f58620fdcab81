//! The manifest: what a run wrote, with every digest and count. Written last; its digest covers itself.

use std::collections::BTreeMap;

use ieum_model::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::assemble::Standing;
use crate::seal::SealRecord;

/// Name of the file, below the output folder.
pub const MANIFEST: &str = "manifest.json";

/// Lower-case hexadecimal SHA-256.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)]).collect()
}

/// A file of the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputFile {
    /// Path below the output folder, with `/`.
    pub path: String,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// What it holds for its recipient, where it is encrypted; see [`crate::encrypt`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<PlainText>,
}

/// What an encrypted file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainText {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// The bundle in it, where it is the archive of a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleText>,
}

impl PlainText {
    /// Of a whole text.
    pub fn of(text: &[u8]) -> Self {
        Self { bytes: text.len() as u64, sha256: sha256_hex(text), bundle: None }
    }
}

/// A bundle that stands in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleText {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// Counts of one source; `read = kept + filtered + rejected`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceCounts {
    /// Data rows met.
    pub read: u64,
    /// Rows handed to the join.
    pub kept: u64,
    /// Rows the key probe turned away.
    pub filtered: u64,
    /// Rows that could not be read.
    pub rejected: u64,
    /// Bytes read from storage.
    pub bytes: u64,
    /// Rows that reached the stage.
    pub staged: u64,
}

/// Counts of requests; `requests = delivered + partial + refused + delayed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestCounts {
    /// Requests answered this night.
    pub requests: u64,
    /// Every line answered in full.
    pub delivered: u64,
    /// Some lines answered, some not.
    pub partial: u64,
    /// Nothing may be delivered.
    pub refused: u64,
    /// Nothing could be delivered yet.
    pub delayed: u64,
}

impl RequestCounts {
    /// Counts one more request.
    pub(crate) fn add(&mut self, standing: Standing) {
        let slot = match standing {
            Standing::Delivered => &mut self.delivered,
            Standing::Partial => &mut self.partial,
            Standing::Refused => &mut self.refused,
            Standing::Delayed => &mut self.delayed,
        };
        *slot += 1;
        self.requests += 1;
    }

    /// Whether every request is answered exactly once.
    pub fn balances(&self) -> bool {
        self.requests == self.delivered + self.partial + self.refused + self.delayed
    }
}

/// Withdrawals and ends of consents that came after the requests were checked, and stopped what had been gathered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakenBackLate {
    /// SHA-256 of the files of withdrawals and consent records as they were read last.
    pub withdrawals_digest: String,
    /// Requests that were taken back as a whole.
    pub requests: u64,
    /// Document lines, those of these requests too.
    pub documents: u64,
}

/// What a run wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format of this file.
    pub manifest: String,
    /// The run.
    pub run_id: String,
    /// The declared date, ISO.
    pub as_of: String,
    /// SHA-256 of the catalog.
    pub catalog_digest: String,
    /// SHA-256 of the request files.
    pub requests_digest: String,
    /// Key that made the pseudonyms.
    pub key_id: String,
    /// Its epoch.
    pub key_epoch: u32,
    /// Counts of requests.
    pub requests: RequestCounts,
    /// Document lines, and requests that have none, by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Lines of earlier runs that stay open because their request was not received.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub carried_on: u64,
    /// What was taken back while the run was made; absent where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<TakenBackLate>,
    /// Counts by source dataset.
    pub sources: BTreeMap<String, SourceCounts>,
    /// SHA-256 of each dataset's plan text.
    pub plans: BTreeMap<String, String>,
    /// Root over the bundles, where the night has a key that signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<SealRecord>,
    /// Every other file of the output, in path order.
    pub files: Vec<OutputFile>,
    /// SHA-256 of this file with this field empty.
    pub run_digest: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Manifest {
    /// The file's bytes.
    ///
    /// # Errors
    /// Never in practice; our bug otherwise.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| Error::internal(error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The digest of this manifest with an empty `run_digest`.
    ///
    /// # Errors
    /// As [`Manifest::encode`].
    pub fn digest(&self) -> Result<String> {
        let unsigned = Self { run_digest: String::new(), ..self.clone() };
        Ok(sha256_hex(&unsigned.encode()?))
    }
}
