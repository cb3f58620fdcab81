//! The arguments and their help. A flag that is given overrides the run definition.

mod bench;
mod catalog;
mod keys;
mod ledger;
mod night;
mod output;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use bench::{BenchArgs, BenchPart, ExportFormat, GenerateArgs, Tier};
pub use catalog::{CatalogCommand, CopybookEncoding, SourceCommand};
pub use keys::{KeysCommand, RekeyArgs};
pub use ledger::{LedgerCommand, LedgerPruneArgs, LedgerVerifyArgs, LedgerWhoArgs};
pub use night::{CheckArgs, DoctorArgs, ExplainArgs, GcArgs, RunArgs, StageArgs, StatusArgs, StatusFormat};
pub use output::{OpenArgs, ReceiptArgs, RejectsCommand, ReportArgs, VerifyArgs};

const TOP: &str = "Examples:
  ieum check sample-data/nightly.toml
  ieum explain sample-data/nightly.toml --dataset business_registration_cert
  ieum run sample-data/nightly.toml";
const STAGE: &str = "Example:\n  ieum stage nightly.toml\n\n\
The copies go to the folder that `staged` in the `[run]` of FILE names; a night with that setting uses those that are fresh.";
const RUN: &str = "Example:\n  ieum run sample-data/nightly.toml";
const LEDGER: &str = "Examples:
  ieum ledger who sample-data/out --key sample-data/keys/sample.key --recipient semas
  ieum ledger who out --key night.key --subject - --from 2026-01-01 < subject.txt";
const VERIFY: &str = "Examples:
  ieum verify sample-data/out/2026-11-22
  ieum verify bundle.json --receipt receipt.json --public-key agency.key.pub
  ieum verify --receipt refusal.json --public-key agency.key.pub";
const REPORT: &str = "Examples:
  ieum report sample-data/out/2026-11-22
  ieum report sample-data/out/2026-11-22 --lang en --out report.html";
const BENCH: &str = "Examples:
  ieum bench --quick
  ieum bench --out bench-out --peers benches/whole";
/// The exit codes, in words.
pub const CODES: &str = "Exit codes:
  0 committed   1 failed   2 wrong usage   3 committed, but someone should look (delays, rejects, malformed requests)
  4 a gate refused to publish   5 temporary, retry   6 configuration or contract invalid   10 time limit reached
  11 locked   12 key wrong or missing   20 integrity failure   130 or 143 interrupted
After 5, 10, 130, 143 and a kill nothing is committed, and the same command goes on from what was done.
Codes may be added; a meaning never changes.";

/// Links the exports of data holders into one bundle per request.
#[derive(Debug, Parser)]
#[command(name = "ieum", version, before_help = TOP, after_help = CODES)]
pub struct Cli {
    /// Format of the log on stderr
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// How much goes to stderr.
    #[command(flatten)]
    pub verbosity: Verbosity,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The format of results that these arguments ask for, even if they are wrong otherwise.
pub fn output_of(arguments: impl Iterator<Item = OsString>) -> Output {
    let arguments: Vec<OsString> = arguments.collect();
    let apart = |pair: &[OsString]| pair[0] == "--output" && pair[1] == "json";
    let is_json = arguments.iter().any(|argument| argument == "--output=json") || arguments.windows(2).any(apart);
    if is_json { Output::Json } else { Output::Text }
}

/// How much goes to stderr.
#[derive(Debug, Clone, Copy, Args)]
pub struct Verbosity {
    /// Errors only on stderr
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// More on stderr; twice and three times for still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// JSON; one object, on the last line.
    Json,
}

/// The format of a command's result.
#[derive(Debug, Clone, Copy, Args)]
pub struct OutputArgs {
    /// Format of the result on stdout
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Test catalog, requests, keys, exports and output folder without reading a row for delivery
    #[command(before_help = "Example:\n  ieum check sample-data/nightly.toml")]
    Check(CheckArgs),
    /// Show which columns are read from where, and for how many document lines
    #[command(before_help = "Example:\n  ieum explain sample-data/nightly.toml --dataset business_registration_cert")]
    Explain(ExplainArgs),
    /// Copy exports once, sorted by key, so that a night reads only the pages of the people it asks for
    #[command(before_help = STAGE)]
    Stage(StageArgs),
    /// Run a night: one bundle per request, an answer for every document line
    #[command(before_help = RUN)]
    Run(RunArgs),
    /// Show the runs of an output folder: committed, unfinished, and how far they are
    #[command(before_help = "Example:\n  ieum status sample-data/nightly.toml")]
    Status(StatusArgs),
    /// Try out what a night relies on: keys, disk, clock, the store that outputs go to, places of exports
    #[command(before_help = "Example:\n  ieum doctor sample-data/nightly.toml")]
    Doctor(DoctorArgs),
    /// Remove what stopped runs left in an output folder, unfinished runs too, and bundles that were delivered to a store
    #[command(before_help = "Example:\n  ieum gc sample-data/out")]
    Gc(GcArgs),
    /// Prove that the output of a run is complete and unchanged, or that a bundle is the one that was delivered
    #[command(before_help = VERIFY)]
    Verify(VerifyArgs),
    /// Tell who received what of whom, and whether the ledger is whole
    #[command(before_help = LEDGER)]
    Ledger {
        /// What to do with it.
        #[command(subcommand)]
        command: LedgerCommand,
    },
    /// Write the report of a run: one page, in Korean and English, for people and for paper
    #[command(before_help = REPORT)]
    Report(ReportArgs),
    /// Give the receipt of a request from a sealed output, to be handed out with its bundle; of its refusal too
    #[command(before_help = "Example:\n  ieum receipt sample-data/out/2026-11-22 R20261122-00000044 > receipt.json")]
    Receipt(ReceiptArgs),
    /// Decrypt a bundle with its recipient's private key, as stock `age -d` does
    #[command(before_help = "Example:\n  ieum open R20261122-00000044.json.age --identity semas.key")]
    Open(OpenArgs),
    /// Look into a catalog
    #[command(before_help = "Example:\n  ieum catalog check sample-data/catalog")]
    Catalog {
        /// What to do with it.
        #[command(subcommand)]
        command: CatalogCommand,
    },
    /// Look at what a holder sends: suggest a catalog file, test an export, show its rows
    #[command(
        before_help = "Example:\n  ieum source discover sample-data/exports/nts/income_amount_cert/part-0000.csv.gz"
    )]
    Source {
        /// What to do with it.
        #[command(subcommand)]
        command: SourceCommand,
    },
    /// Look at the rows that a run could not read, and read them again after the catalog was mended
    #[command(before_help = "Example:\n  ieum rejects show sample-data/out/2026-11-22")]
    Rejects {
        /// What to do with them.
        #[command(subcommand)]
        command: RejectsCommand,
    },
    /// Make keys
    #[command(before_help = "Example:\n  ieum keys new night.key --key-id night-2026")]
    Keys {
        /// What to do with them.
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Write synthetic exports and requests for a catalog
    #[command(
        before_help = "Example:\n  ieum generate --catalog sample-data/catalog --people 1000 --requests 100 --seed 1 /tmp/night"
    )]
    Generate(GenerateArgs),
    /// Measure nights at rising sizes, beside their physical floor and beside other engines
    #[command(before_help = BENCH)]
    Bench(BenchArgs),
    /// Print the completions of a shell
    #[command(before_help = "Example:\n  ieum completions bash")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages, one for each command
    #[command(before_help = "Example:\n  ieum man /tmp/ieum-man")]
    Man {
        /// Folder to write
        dir: PathBuf,
    },
    /// A part of a benchmark that needs a process of its own
    #[command(hide = true)]
    BenchPart {
        /// Which part.
        #[command(subcommand)]
        part: BenchPart,
    },
}

impl Command {
    /// The format that the command's result was asked for in.
    pub fn output(&self) -> Output {
        match self {
            Self::Check(args) => args.output.output,
            Self::Explain(args) => args.output.output,
            Self::Stage(args) => args.output.output,
            Self::Run(args) => args.output.output,
            Self::Status(args) => args.output.output,
            Self::Doctor(args) => args.output.output,
            Self::Gc(args) => args.output.output,
            Self::Verify(args) => args.output.output,
            Self::Report(args) => args.output.output,
            Self::Bench(args) => args.output.output,
            Self::Ledger { command } => command.output(),
            Self::BenchPart { .. } => Output::Json,
            Self::Source { command } => command.output(),
            Self::Rejects { command } => command.output(),
            Self::Catalog { .. }
            | Self::Keys { .. }
            | Self::Receipt(_)
            | Self::Open(_)
            | Self::Generate(_)
            | Self::Completions { .. }
            | Self::Man { .. } => Output::Text,
        }
    }
}
