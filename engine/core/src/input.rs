//! What a night is made from; every step reads it, none changes it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::NaiveDate;
use ieum_model::catalog::Catalog;
use ieum_model::check::CheckedNight;
use ieum_model::connector::Connector;
use ieum_model::consent::Consents;
use ieum_model::error::Result;
use ieum_model::outcome::Reason;
use ieum_model::request::Withdrawal;
use ieum_privacy::{MasterKey, SigningKey};

use crate::encrypt::Encryption;
use crate::manifest::sha256_hex;
use crate::protected::Protected;

/// How bundles are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A file for each request.
    PerRequest,
    /// A folder for each request: a bag (RFC 8493) that is a Frictionless data package.
    Folder,
    /// One file per recipient and service, one row a request, with an index.
    Packed,
}

/// How a bundle is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleFormat {
    /// JSON, one line a bundle.
    Json,
    /// Parquet, one row a bundle.
    Parquet,
}

impl BundleFormat {
    /// What the name of a packed file ends with.
    pub(crate) fn packed_ending(self) -> &'static str {
        match self {
            Self::Json => "ndjson",
            Self::Parquet => "parquet",
        }
    }
}

/// Settings of a run; none of them changes a byte of a bundle but `layout` and `format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Worker threads.
    pub threads: usize,
    /// Memory limit in bytes.
    pub memory_bytes: u64,
    /// Requests assembled at a time.
    pub shard_requests: u32,
    /// How bundles are laid out.
    pub layout: Layout,
    /// How a bundle is encoded.
    pub format: BundleFormat,
}

/// A dataset's export on the night.
#[derive(Clone)]
pub enum ExportState {
    /// Delivered, and its control totals agree.
    Ready(Arc<dyn Connector>),
    /// Not to be read; its lines are delayed for this reason.
    Delayed(Reason),
}

/// Where the withdrawals and the consent records of a night come from. They are read once more right before the commit: what
/// its subject takes back while the night runs is not delivered.
pub trait WithdrawalFiles: Send + Sync {
    /// The files as the night was checked with: name and bytes. They stand beside the journal, so that a run that goes on is
    /// checked with the same, whatever came since.
    fn begun_with(&self) -> &[(String, Vec<u8>)];

    /// Reads the files as they are now; `None` where their digest is still `known`.
    ///
    /// # Errors
    /// When a file or one of its rows cannot be read: then nobody knows what may be delivered.
    fn read_again(&self, known: &str) -> Result<Option<Reread>>;

    /// The digest of the files that the night was checked with.
    fn digest(&self) -> String;
}

/// Withdrawals and consent records that were read again.
pub struct Reread {
    /// SHA-256 of the files.
    pub digest: String,
    /// Every row of the withdrawals.
    pub withdrawals: Vec<Withdrawal>,
    /// The consent records; `None` where the night has no files of them.
    pub consents: Option<Consents>,
}

/// Everything a night is made from.
pub struct Night {
    /// The catalog.
    pub catalog: Arc<Catalog>,
    /// The declared date.
    pub as_of: NaiveDate,
    /// The checked requests.
    pub checked: CheckedNight,
    /// What the night reads withdrawals and consent records from again before it commits; `None` where it has no such files.
    pub withdrawals: Option<Box<dyn WithdrawalFiles>>,
    /// Persons about whom nothing is delivered; the requests that name one were refused when they were checked.
    pub protected: Option<Protected>,
    /// Exports by dataset code.
    pub exports: BTreeMap<String, ExportState>,
    /// The master key.
    pub master: MasterKey,
    /// The key that signs what was delivered; nothing is sealed without one.
    pub signing: Option<SigningKey>,
    /// To whom bundles are encrypted; none is without it.
    pub encryption: Option<Encryption>,
    /// Settings.
    pub settings: Settings,
    /// Folder that will hold the committed output.
    pub out: PathBuf,
    /// SHA-256 of the catalog.
    pub catalog_digest: String,
    /// SHA-256 of the request files.
    pub requests_digest: String,
    /// Rows read of every source by the latest committed run before this one: an export that has far fewer breaks its contract.
    pub earlier_rows: BTreeMap<String, u64>,
}

impl Night {
    /// The name of the output: that of its folder.
    pub fn name(&self) -> String {
        self.out.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The run's id: the same for the same inputs, catalog, key and date.
    pub fn run_id(&self) -> String {
        let (id, epoch) = (self.master.key_id(), self.master.epoch());
        let seed = format!("{}\n{}\n{}\n{id}\n{epoch}", self.as_of, self.catalog_digest, self.requests_digest);
        format!("{}-{}", self.as_of, &sha256_hex(seed.as_bytes())[..12])
    }
}
