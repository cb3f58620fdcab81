//! `ieum stage`: copies of exports, sorted by their keys, that nights read instead.

use std::fmt::Write as _;

use ieum_connectors::staged::Made;
use ieum_model::error::Result;
use serde::Serialize;

use super::{definition, exit_code};
use crate::cli::StageArgs;
use crate::load;
use crate::screen::{Screen, grouped, size};

/// What `ieum stage` did. Fields may be added.
#[derive(Serialize)]
struct Report {
    as_of: String,
    copies: Vec<Line>,
    written: u64,
    fresh: u64,
    failed: u64,
    /// Datasets without a file, or whose newest one is past its validity.
    without_export: u64,
}

/// The copy of one dataset.
#[derive(Serialize)]
struct Line {
    dataset: String,
    rows: Option<u64>,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
    copy: &'static str,
}

/// Makes the copies that are missing or stale. Exit code 3 if an export broke its promises and got none.
///
/// # Errors
/// When the definition, the catalog or a name is wrong, or a copy cannot be written.
pub fn stage(args: &StageArgs, screen: &Screen) -> Result<u8> {
    let (mut definition, as_of) = definition(&args.file, args.date)?;
    definition.threads = args.threads.or(definition.threads);
    definition.memory = args.memory.unwrap_or(definition.memory);
    let staged = screen.busy("staging exports", || load::stage(&definition, as_of, &args.datasets))?;
    let mut report =
        Report { as_of: as_of.to_string(), copies: Vec::new(), written: 0, fresh: 0, failed: 0, without_export: 0 };
    for (dataset, made) in staged {
        match made {
            Ok(Made::Missing | Made::Outdated) => report.without_export += 1,
            Ok(made) => report.copies.push(report_line(dataset, &made)),
            Err(error) => {
                screen.warning(&format!("dataset `{dataset}` is not staged: {}", error.told()));
                report.copies.push(Line { dataset, rows: None, bytes_in: None, bytes_out: None, copy: "failed" });
            }
        }
    }
    let count = |copy: &str| report.copies.iter().filter(|line| line.copy == copy).count() as u64;
    (report.written, report.fresh, report.failed) = (count("written"), count("fresh"), count("failed"));
    screen.result(&told(&report), &report);
    Ok(exit_code(report.failed > 0))
}

fn report_line(dataset: String, made: &Made) -> Line {
    let (copy, sizes) = match made {
        Made::Written(sizes) => ("written", Some(sizes)),
        Made::Fresh(sizes) => ("fresh", Some(sizes)),
        Made::Missing | Made::Outdated => ("none", None),
    };
    let of = |part: fn(&ieum_connectors::staged::Sizes) -> u64| sizes.map(part);
    Line {
        rows: of(|sizes| sizes.rows),
        bytes_in: of(|sizes| sizes.bytes_in),
        bytes_out: of(|sizes| sizes.bytes_out),
        dataset,
        copy,
    }
}

fn told(report: &Report) -> String {
    let sum = |part: fn(&Line) -> Option<u64>| report.copies.iter().filter_map(part).sum::<u64>();
    let number = |number: Option<u64>, shown: fn(u64) -> String| number.map_or_else(|| "-".to_owned(), shown);
    let row = |line: &Line| {
        let (rows, bytes_in) = (number(line.rows, grouped), number(line.bytes_in, size));
        [line.dataset.clone(), rows, bytes_in, number(line.bytes_out, size), line.copy.to_owned()]
    };
    let title = ["dataset", "rows", "bytes in", "bytes out", "copy"].map(str::to_owned);
    let total = [
        "total".to_owned(),
        grouped(sum(|line| line.rows)),
        size(sum(|line| line.bytes_in)),
        size(sum(|line| line.bytes_out)),
        format!("{} written, {} fresh, {} failed", report.written, report.fresh, report.failed),
    ];
    let rows: Vec<[String; 5]> =
        std::iter::once(title).chain(report.copies.iter().map(row)).chain(std::iter::once(total)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [names, counts, bytes_in, bytes_out] = [0, 1, 2, 3].map(width);
    let mut text = String::new();
    for [name, rows, size_in, size_out, copy] in &rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<names$}  {rows:>counts$}  {size_in:>bytes_in$}  {size_out:>bytes_out$}  {copy}");
    }
    if report.without_export > 0 {
        let _ = writeln!(text, "{} datasets have no export to copy", grouped(report.without_export));
    }
    text
}
