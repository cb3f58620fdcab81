//! The arguments and their help. A flag that is given overrides the run definition.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use chrono::NaiveDate;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bench::plan::Axis;
use crate::definition::{FormatName, LayoutName, ProfileName, parse_bytes, parse_duration};
use crate::report::Language;

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
const KEYS_NEW: &str = "Examples:
  ieum keys new night.key --key-id night-2026
  ieum keys new agency.key --key-id agency-2026 --signing
  ieum keys new semas.key --key-id semas-2026 --encryption

With --profile kr the algorithms are KCMVP-listed (ECDSA P-256, ARIA); this program is not a validated module.";
const VERIFY: &str = "Examples:
  ieum verify sample-data/out/2026-11-22
  ieum verify bundle.json --receipt receipt.json --public-key agency.key.pub
  ieum verify --receipt refusal.json --public-key agency.key.pub";
const KEYS_REKEY: &str = "Example:
  ieum keys rekey nightly.toml --recipient semas --from 1 --out semas-1-2.csv";
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
    /// Remove what stopped runs left in an output folder, unfinished runs too
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

/// Arguments of `ieum check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Run definition
    pub file: PathBuf,
    /// Date of the run [default: the file's, else today]
    #[arg(long)]
    pub date: Option<NaiveDate>,
    /// Format of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `ieum explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Run definition
    pub file: PathBuf,
    /// Only this dataset, with its plan
    #[arg(long, value_name = "CODE")]
    pub dataset: Option<String>,
    /// Date of the run [default: the file's, else today]
    #[arg(long)]
    pub date: Option<NaiveDate>,
    /// Format of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `ieum stage`.
#[derive(Debug, Args)]
pub struct StageArgs {
    /// Run definition
    pub file: PathBuf,
    /// Only these datasets [default: every one that has an export]
    #[arg(value_name = "DATASET")]
    pub datasets: Vec<String>,
    /// Date of the run that the copies are for [default: the file's, else today]
    #[arg(long)]
    pub date: Option<NaiveDate>,
    /// Threads [default: the file's, else all processors]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub threads: Option<usize>,
    /// Memory limit, such as 2GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub memory: Option<u64>,
    /// Format of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `ieum run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Run definition
    pub file: PathBuf,
    /// Folder, or store such as s3://bucket/prefix, that gets a folder named after the date
    #[arg(long, value_name = "DIR|URL")]
    pub out: Option<PathBuf>,
    /// Date of the run [default: the file's, else today]
    #[arg(long)]
    pub date: Option<NaiveDate>,
    /// Threads [default: the file's, else all processors]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub threads: Option<usize>,
    /// Memory limit, such as 2GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub memory: Option<u64>,
    /// Requests per shard
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub shard_requests: Option<u32>,
    /// Files of the bundles
    #[arg(long, value_enum)]
    pub layout: Option<LayoutName>,
    /// Encoding of the bundles
    #[arg(long, value_enum)]
    pub format: Option<FormatName>,
    /// Do everything but publish
    #[arg(long)]
    pub dry_run: bool,
    /// Throw an unfinished run away instead of going on with it
    #[arg(long, conflicts_with = "dry_run")]
    pub restart: bool,
    /// Stop after this long, such as 2h; the same command goes on from there
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_duration: Option<Duration>,
    /// Also write what became of the run for Prometheus, as node_exporter's textfile collector reads it (NAME.prom)
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub metrics_file: Option<PathBuf>,
    /// Tell on stderr how far the run is, a line of JSON at each step and every 10 s (IEUM_STATUS_SECONDS)
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub status: Option<StatusFormat>,
    /// Format of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How a run tells how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatusFormat {
    /// Lines of JSON with `message_type` `status`
    Json,
}

/// Arguments of `ieum status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Run definition, or the folder of the outputs
    pub path: PathBuf,
    /// Format of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `ieum doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Run definition
    pub file: PathBuf,
    /// Format of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `ieum gc`.
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Folder of the outputs, or run definition: then the store too that outputs are delivered to
    #[arg(value_name = "DIR|FILE")]
    pub dir: PathBuf,
    /// Format of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

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
    fn output(&self) -> Output {
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
    fn output(&self) -> Output {
        match self {
            Self::Show { output, .. } | Self::Replay { output, .. } => output.output,
        }
    }
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
    fn output(&self) -> Output {
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
