//! Catalogs, and what holders send.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Subcommand, ValueEnum};

use super::{Output, OutputArgs};

/// Verbs of `ieum catalog`.
#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// Test a catalog as a whole and report all problems at once
    #[command(before_help = "Example:\n  ieum catalog check sample-data/catalog")]
    Check {
        /// Catalog folder
        dir: PathBuf,
    },
    /// Show a dataset or a service
    #[command(before_help = "Example:\n  ieum catalog show sample-data/catalog business_registration_cert")]
    Show {
        /// Catalog folder
        dir: PathBuf,
        /// Code of a dataset or service
        code: String,
    },
}

/// Verbs of `ieum source`.
#[derive(Debug, Subcommand)]
pub enum SourceCommand {
    /// Guess what a file is and print a catalog file for it, ready to be edited; no value of a row is printed
    #[command(
        before_help = "Example:\n  ieum source discover sample-data/exports/nhis/nhis_eligibility_history/part-0000.csv --code eligibility"
    )]
    Discover {
        /// File of a holder
        path: PathBuf,
        /// Code of the dataset; without it made of the file's name
        #[arg(long)]
        code: Option<String>,
    },
    /// Lay out a COBOL copybook and print a catalog file for its records
    #[command(before_help = "Example:\n  ieum source copybook TRANS.cob --encoding cp933 > trans.toml")]
    Copybook {
        /// File of the copybook
        path: PathBuf,
        /// Encoding of the records
        #[arg(long, value_enum, default_value_t = CopybookEncoding::Cp037)]
        encoding: CopybookEncoding,
    },
    /// Read all columns of an export once and tell what would become of its rows
    #[command(before_help = "Example:\n  ieum source check sample-data/nightly.toml income_amount_cert")]
    Check {
        /// Run definition (TOML)
        night: PathBuf,
        /// Code of a dataset
        dataset: String,
        /// Date of the run [default: the file's, else today]
        #[arg(long)]
        date: Option<NaiveDate>,
        /// Format of the result
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print the first rows of an export as the catalog reads them: personal data, on stdout
    #[command(before_help = "Example:\n  ieum source read sample-data/nightly.toml income_amount_cert --limit 3")]
    Read {
        /// Run definition (TOML)
        night: PathBuf,
        /// Code of a dataset
        dataset: String,
        /// Rows to print
        #[arg(long, default_value_t = 10)]
        limit: usize,
        /// Date of the run [default: the file's, else today]
        #[arg(long)]
        date: Option<NaiveDate>,
        /// Format of the result
        #[command(flatten)]
        output: OutputArgs,
    },
}

impl SourceCommand {
    pub(super) fn output(&self) -> Output {
        match self {
            Self::Discover { .. } | Self::Copybook { .. } => Output::Text,
            Self::Check { output, .. } | Self::Read { output, .. } => output.output,
        }
    }
}

/// Encoding of the records that a copybook describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CopybookEncoding {
    /// EBCDIC of the United States
    Cp037,
    /// International EBCDIC
    Cp500,
    /// Korean EBCDIC
    Cp933,
    /// CP949
    Cp949,
    /// UTF-8
    Utf8,
}
