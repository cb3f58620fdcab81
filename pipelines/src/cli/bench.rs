//! Generated nights, and how long they take.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, Subcommand, ValueEnum};

use super::OutputArgs;
use crate::bench::plan::Axis;
use crate::definition::parse_bytes;

/// Sizes of a generated night.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// 1,000 people, 100 requests, 44 datasets.
    Xs,
    /// 20,000 people, 2,000 requests, 180 datasets.
    S,
    /// 200,000 people, 20,000 requests, 180 datasets.
    M,
    /// 2,000,000 people, 200,000 requests, 180 datasets.
    L,
}

impl Tier {
    /// People, requests and datasets.
    pub fn size(self) -> (u64, u64, usize) {
        match self {
            Self::Xs => (1_000, 100, 44),
            Self::S => (20_000, 2_000, 180),
            Self::M => (200_000, 20_000, 180),
            Self::L => (2_000_000, 200_000, 180),
        }
    }
}

/// Formats of exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Delimited text, plain or compressed, UTF-8 or CP949.
    Csv,
    /// Byte-counted records in CP949.
    FixedWidth,
    /// Parquet.
    Parquet,
}

/// Arguments of `ieum generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Catalog folder
    #[arg(long, value_name = "DIR")]
    pub catalog: PathBuf,
    /// People, requests and datasets at once; a single flag overrides its part
    #[arg(long, value_enum, required_unless_present_all = ["people", "requests"])]
    pub tier: Option<Tier>,
    /// Number of people
    #[arg(long, value_name = "N")]
    pub people: Option<u64>,
    /// Number of requests
    #[arg(long, value_name = "N")]
    pub requests: Option<u64>,
    /// Seed; the same seed and date give the same bytes
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Number of datasets beside the register of changed numbers [default: the tier's, else 44]
    #[arg(long, value_name = "N")]
    pub datasets: Option<usize>,
    /// Formats of the exports, such as csv,parquet [default: as the catalog says, else all in turn]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub formats: Vec<ExportFormat>,
    /// Date of the exports [default: today]
    #[arg(long)]
    pub date: Option<NaiveDate>,
    /// Leave out the deliberate faults
    #[arg(long)]
    pub no_faults: bool,
    /// Let the first request ask every dataset, so that a night of any size reads every export
    #[arg(long)]
    pub all_asked: bool,
    /// Folder to write
    pub out: PathBuf,
}

/// A number from 1 on.
fn at_least_one() -> clap::builder::RangedU64ValueParser<usize> {
    clap::builder::RangedU64ValueParser::new().range(1..)
}

/// Arguments of `ieum bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Folder of bench.json, bench.html and the generated nights; what it holds already is not measured again
    #[arg(long, value_name = "DIR", default_value = "bench-out")]
    pub out: PathBuf,
    /// Catalog folder
    #[arg(long, value_name = "DIR", default_value = "sample-data/catalog")]
    pub catalog: PathBuf,
    /// People [default: 200,000; with --quick 2,000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub people: Option<u64>,
    /// Requests [default: a tenth of the people]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// The largest night of the axis `requests` [default: 1,000,000; with --quick the people]
    #[arg(long, value_name = "N")]
    pub most_requests: Option<u64>,
    /// Datasets beside the register of changed numbers [default: 180; with --quick 12]
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    pub datasets: Option<usize>,
    /// Measured rounds of every point [default: 5; with --quick 1]
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    pub rounds: Option<usize>,
    /// Threads
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = at_least_one())]
    pub threads: usize,
    /// Memory limit
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = parse_bytes)]
    pub memory: u64,
    /// What is varied [default: all]
    #[arg(long = "axis", value_enum, value_delimiter = ',', value_name = "LIST")]
    pub axes: Vec<Axis>,
    /// Folder of the scripts of other engines, such as benches/whole
    #[arg(long, value_name = "DIR")]
    pub peers: Option<PathBuf>,
    /// Python environment of those scripts, made where there is none [default: below --out]
    #[arg(long, value_name = "DIR", requires = "peers")]
    pub venv: Option<PathBuf>,
    /// Small nights, one round: to see what a benchmark does; too few rounds for a promise
    #[arg(long)]
    pub quick: bool,
    /// Throw away what was measured and generated before
    #[arg(long)]
    pub fresh: bool,
    /// Seed of the nights
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Format of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Parts of a benchmark.
#[derive(Debug, Subcommand)]
pub enum BenchPart {
    /// Write what nights of any number of requests share
    Exports(GenerateArgs),
    /// Write requests and expected answers for the exports in the folder above
    Requests(GenerateArgs),
    /// Hold answers against the expected ones
    Judge {
        /// Expected answers
        expected: PathBuf,
        /// Answers of a run
        found: PathBuf,
    },
    /// Read the needed bytes of every export and decode nothing but the keys
    Floor {
        /// Run definition
        file: PathBuf,
        /// What a run of it committed: it says what is needed
        committed: PathBuf,
        /// Threads
        #[arg(long)]
        threads: usize,
    },
}
