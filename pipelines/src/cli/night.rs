//! The night itself: tested, explained, staged, run, looked after.

use std::path::PathBuf;
use std::time::Duration;

use chrono::NaiveDate;
use clap::{Args, ValueEnum};

use super::OutputArgs;
use crate::definition::{FormatName, LayoutName, parse_bytes, parse_duration};

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
