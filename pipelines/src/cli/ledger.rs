//! Who received what.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, Subcommand};

use super::{LEDGER, Output, OutputArgs};

/// Verbs of `ieum ledger`.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Every document line that was answered for a person or a recipient
    #[command(before_help = LEDGER)]
    Who(LedgerWhoArgs),
    /// Prove that no entry was edited, taken away, moved or cut off
    #[command(before_help = "Example:\n  ieum ledger verify sample-data/out --key sample-data/keys/sample.key")]
    Verify(LedgerVerifyArgs),
    /// Remove entries that need not be kept any more; the chain stays
    #[command(before_help = "Example:\n  ieum ledger prune out --before 2023-01-01")]
    Prune(LedgerPruneArgs),
}

impl LedgerCommand {
    pub(super) fn output(&self) -> Output {
        match self {
            Self::Who(args) => args.output.output,
            Self::Verify(args) => args.output.output,
            Self::Prune(args) => args.output.output,
        }
    }
}

/// Arguments of `ieum ledger who`.
#[derive(Debug, Args)]
pub struct LedgerWhoArgs {
    /// Folder of the outputs: the one that holds a folder for each date
    pub out: PathBuf,
    /// Key file that the runs were made with
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The person, business…: KIND:VALUE, such as brno:1234567890; `-` reads it from standard input, where no list of
    /// processes shows it
    #[arg(long, value_name = "KIND:VALUE")]
    pub subject: Option<String>,
    /// Code of a recipient
    #[arg(long, value_name = "CODE")]
    pub recipient: Option<String>,
    /// First date
    #[arg(long, value_name = "DATE")]
    pub from: Option<NaiveDate>,
    /// Last date
    #[arg(long, value_name = "DATE")]
    pub to: Option<NaiveDate>,
    /// Format of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `ieum ledger verify`.
#[derive(Debug, Args)]
pub struct LedgerVerifyArgs {
    /// Folder of the outputs
    pub out: PathBuf,
    /// Key file that the runs were made with: without it only digests are compared, which whoever edits can make anew
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// A head that was written down earlier (`ledger_head` of a run): finds a ledger that was put back to an earlier state
    #[arg(long, value_name = "DIGEST")]
    pub head: Option<String>,
    /// Format of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `ieum ledger prune`.
#[derive(Debug, Args)]
pub struct LedgerPruneArgs {
    /// Folder of the outputs
    pub out: PathBuf,
    /// Runs before this date; at least three years ago
    #[arg(long, value_name = "DATE")]
    pub before: NaiveDate,
    /// Format of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}
