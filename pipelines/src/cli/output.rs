//! What a run left: verified, reported, handed out, opened; the rows that it could not read.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, Subcommand};

use super::{Output, OutputArgs};
use crate::report::Language;

/// Arguments of `ieum verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Output folder of a run, also one in a store (copied to a temporary folder); with --receipt, a bundle or a file of bundles
    #[arg(value_name = "OUT|BUNDLE", required_unless_present = "receipt")]
    pub path: Option<PathBuf>,
    /// Run definition whose places say how the store is reached [default: the environment says it]
    #[arg(long, value_name = "FILE", conflicts_with = "receipt")]
    pub places: Option<PathBuf>,
    /// Receipt of the bundle, or a file of receipts; of a request that was refused as a whole, without BUNDLE
    #[arg(long, value_name = "FILE", requires = "public_key", conflicts_with = "expected")]
    pub receipt: Option<PathBuf>,
    /// Public key of the agency; of an output, its signature is checked too
    #[arg(long, value_name = "FILE")]
    pub public_key: Option<PathBuf>,
    /// Also hold every answer against the expected ones of a generated night
    #[arg(long, value_name = "FILE")]
    pub expected: Option<PathBuf>,
    /// Format of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `ieum report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Output folder of a run
    pub dir: PathBuf,
    /// Language that the page opens in; the other one is in it too
    #[arg(long, value_enum, default_value_t = Language::Ko)]
    pub lang: Language,
    /// File to write [default: beside DIR, named after it]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Format of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `ieum receipt`.
#[derive(Debug, Args)]
pub struct ReceiptArgs {
    /// Output folder of a run
    pub dir: PathBuf,
    /// Request
    #[arg(value_name = "REQUEST")]
    pub request_id: String,
}

/// Arguments of `ieum open`.
#[derive(Debug, Args)]
pub struct OpenArgs {
    /// Encrypted file
    pub file: PathBuf,
    /// Private key of the recipient; one that age-keygen made too
    #[arg(long, value_name = "FILE")]
    pub identity: PathBuf,
    /// File to make, readable by its owner only [default: FILE without its last ending]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Verbs of `ieum rejects`.
#[derive(Debug, Subcommand)]
pub enum RejectsCommand {
    /// Tell how many rows of which file break which rule
    #[command(before_help = "Example:\n  ieum rejects show sample-data/out/2026-11-22")]
    Show {
        /// Output folder of a run
        out: PathBuf,
        /// Print the rows too: personal data, on stdout
        #[arg(long)]
        values: bool,
        /// Format of the result
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Read the rejected rows as the catalog of a night says now, and tell how many can be read
    #[command(before_help = "Example:\n  ieum rejects replay sample-data/nightly.toml sample-data/out/2026-11-22")]
    Replay {
        /// Run definition (TOML)
        night: PathBuf,
        /// Output folder of the run that rejected them
        out: PathBuf,
        /// Date of the run [default: the file's, else today]
        #[arg(long)]
        date: Option<NaiveDate>,
        /// Format of the result
        #[command(flatten)]
        output: OutputArgs,
    },
}

impl RejectsCommand {
    pub(super) fn output(&self) -> Output {
        match self {
            Self::Show { output, .. } | Self::Replay { output, .. } => output.output,
        }
    }
}
