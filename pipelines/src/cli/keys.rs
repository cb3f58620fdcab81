//! Keys.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, Subcommand};

use crate::definition::ProfileName;

const KEYS_NEW: &str = "Examples:
  ieum keys new night.key --key-id night-2026
  ieum keys new agency.key --key-id agency-2026 --signing
  ieum keys new semas.key --key-id semas-2026 --encryption

With --profile kr the algorithms are KCMVP-listed (ECDSA P-256, ARIA); this program is not a validated module.";
const KEYS_REKEY: &str = "Example:
  ieum keys rekey nightly.toml --recipient semas --from 1 --out semas-1-2.csv";

/// Verbs of `ieum keys`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a master key, a key that signs, or a key that bundles are encrypted to; never overwrites a file
    #[command(before_help = KEYS_NEW)]
    New {
        /// Key file to make, readable by its owner only
        file: PathBuf,
        /// Name of the key, which stands in manifests
        #[arg(long)]
        key_id: String,
        /// A key that signs what was delivered; its public half is printed and written beside it
        #[arg(long)]
        signing: bool,
        /// A key of a recipient; its public half is printed, for the catalog of the agency
        #[arg(long, conflicts_with = "signing")]
        encryption: bool,
        /// What signs or encrypts with it
        #[arg(long, value_enum, default_value_t = ProfileName::Default)]
        profile: ProfileName,
    },
    /// Tell which epochs a key file holds, or the public half of a signing key; no secret
    #[command(before_help = "Example:\n  ieum keys list night.key")]
    List {
        /// Key files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Add an epoch to a master key: from now on people get other pseudonyms; older epochs stay readable
    #[command(before_help = "Example:\n  ieum keys rotate night.key")]
    Rotate {
        /// Key file
        file: PathBuf,
    },
    /// Map the pseudonyms that a recipient has from an older epoch to those of the newest, for the requests of a night
    #[command(before_help = KEYS_REKEY)]
    Rekey(RekeyArgs),
}

/// Arguments of `ieum keys rekey`.
#[derive(Debug, Args)]
pub struct RekeyArgs {
    /// Run definition, whose requests name the people
    pub file: PathBuf,
    /// Recipient, by its code in the catalog
    #[arg(long, value_name = "CODE")]
    pub recipient: String,
    /// Epoch of the pseudonyms that the recipient has
    #[arg(long, value_name = "EPOCH")]
    pub from: u32,
    /// File to make, .csv or .parquet, readable by its owner only: columns `old` and `new`
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Date of the night [default: the file's, else today]
    #[arg(long)]
    pub date: Option<NaiveDate>,
}
