//! `ieum bench`: nights at rising sizes, measured, and whether the promises hold.

use std::fs;
use std::path::PathBuf;

use ieum_model::error::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::json;

use super::{DONE, exit_code, generate as generating};
use crate::bench::peers::Peers;
use crate::bench::plan::Axis;
use crate::bench::record::{Bar, Settings};
use crate::bench::{self, Done, Options, floors, report};
use crate::cli::{BenchArgs, BenchPart};
use crate::generate;
use crate::judge::judge;
use crate::load::{ControlTotals, night};
use crate::screen::{Screen, table};
use clap::ValueEnum;

/// Name of the page that shows what `bench.json` holds.
const PAGE: &str = "bench.html";

/// Sizes of a benchmark: people, largest night of the axis `requests`, datasets, rounds.
const WHOLE: (u64, u64, usize, usize) = (200_000, 1_000_000, 180, 5);
/// The same of `--quick`.
const QUICK: (u64, u64, usize, usize) = (2_000, 2_000, 12, 1);

#[derive(Serialize)]
struct Told<'a> {
    record: &'a PathBuf,
    page: &'a PathBuf,
    measured: u64,
    failed: &'a [String],
    bars: &'a [Bar],
}

/// Measures what was not measured before. Exit code 3 if a promise does not hold or a run failed.
///
/// # Errors
/// When the nights cannot be generated or the record not be written.
pub fn bench(args: &BenchArgs, screen: &Screen) -> Result<u8> {
    let done = bench::bench(&options(args), screen)?;
    let page = done.path.with_file_name(PAGE);
    fs::write(&page, report::html(&done.record)).map_err(|error| {
        Error::new(ErrorKind::Temporary, format!("the page cannot be written: {error}")).at("path", page.display())
    })?;
    let bars = &done.record.bars;
    let told = Told { record: &done.path, page: &page, measured: done.measured, failed: &done.failed, bars };
    screen.result(&text(&done, &page), &told);
    Ok(exit_code(!done.failed.is_empty() || bars.iter().any(|bar| !bar.holds)))
}

fn options(args: &BenchArgs) -> Options {
    let (people, most_requests, datasets, rounds) = if args.quick { QUICK } else { WHOLE };
    let people = args.people.unwrap_or(people);
    let settings = Settings {
        people,
        requests: args.requests.unwrap_or(people.div_ceil(10)),
        datasets: args.datasets.unwrap_or(datasets),
        threads: args.threads,
        memory_bytes: args.memory,
        rounds: args.rounds.unwrap_or(rounds),
        seed: args.seed,
    };
    let venv = || args.venv.clone().unwrap_or_else(|| args.out.join("venv"));
    let axes = if args.axes.is_empty() { Axis::value_variants().to_vec() } else { args.axes.clone() };
    Options {
        out: args.out.clone(),
        catalog: args.catalog.clone(),
        settings,
        most_requests: args.most_requests.unwrap_or(most_requests),
        axes,
        peers: args.peers.clone().map(|scripts| Peers { scripts, venv: venv() }),
        fresh: args.fresh,
    }
}

fn text(done: &Done, page: &std::path::Path) -> String {
    let mut rows = vec![
        ("record", done.path.display().to_string()),
        ("page", page.display().to_string()),
        ("measured", format!("{} processes", done.measured)),
    ];
    rows.extend(done.failed.iter().map(|what| ("failed", what.clone())));
    rows.extend(done.record.bars.iter().map(|bar| (if bar.holds { "holds" } else { "DOES NOT HOLD" }, sentence(bar))));
    table(&rows)
}

fn sentence(bar: &Bar) -> String {
    format!("{}: {:.2} {unit}, {} {} {unit}", bar.name, bar.value, bar.relation, bar.bar, unit = bar.unit)
}

/// Does a part of a benchmark; the result is one line of JSON.
///
/// # Errors
/// What the part could not do.
pub fn part(part: &BenchPart, screen: &Screen) -> Result<u8> {
    match part {
        BenchPart::Exports(args) => {
            let (catalog, sources) = generating::catalog(&args.catalog)?;
            let report = generate::exports(&catalog, &sources, &args.out, &generating::options(args))?;
            screen.result("", &json!({ "rows": report.total_rows(), "bytes": report.bytes }));
        }
        BenchPart::Requests(args) => {
            let (catalog, _) = generating::catalog(&args.catalog)?;
            let options = generating::options(args);
            generate::requests(&catalog, &args.out, "../", &options)?;
            screen.result("", &json!({ "requests": options.requests }));
        }
        BenchPart::Judge { expected, found } => {
            let verdict = judge(expected, found)?;
            let told = json!({ "lines": verdict.lines, "different": verdict.different, "first": verdict.first });
            screen.result("", &told);
        }
        BenchPart::Floor { file, committed, threads } => {
            let (definition, as_of) = super::definition(file, None)?;
            let loaded = night(&definition, as_of, ControlTotals::Trust)?;
            let asked = floors::asked(&loaded.night, committed)?;
            let catalog = &loaded.night.catalog;
            screen.result("", &floors::touch(catalog, &definition.exports, &asked, *threads)?);
        }
    }
    Ok(DONE)
}
