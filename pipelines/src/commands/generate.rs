//! `ieum generate`: synthetic exports and requests.

use std::path::Path;

use ieum_model::catalog::{Catalog, CatalogSource};
use ieum_model::dataset::Format;
use ieum_model::error::Result;
use serde_json::json;

use super::{DONE, today};
use crate::cli::{ExportFormat, GenerateArgs};
use crate::generate::{GenerateOptions, GenerateReport};
use crate::load::{catalog_sources, parse_catalog};
use crate::screen::{Screen, grouped, size, table};

/// Writes a folder that `ieum run` can read.
///
/// # Errors
/// When the catalog has problems or the folder cannot be written.
pub fn generate(args: &GenerateArgs, screen: &Screen) -> Result<u8> {
    let (catalog, sources) = catalog(&args.catalog)?;
    let options = options(args);
    let report = screen.busy("generating", || crate::generate::generate(&catalog, &sources, &args.out, &options))?;
    let (text, value) =
        (told(&report, args), json!({ "out": args.out, "rows": report.rows, "requests": report.requests }));
    screen.result(&text, &value);
    Ok(DONE)
}

/// A catalog and its files.
pub(super) fn catalog(folder: &Path) -> Result<(Catalog, Vec<CatalogSource>)> {
    let sources = catalog_sources(folder)?;
    let catalog = parse_catalog(&sources).map_err(|error| error.at("catalog", folder.display()))?;
    Ok((catalog, sources))
}

/// What the arguments say; a single size overrides that of the tier.
pub(super) fn options(args: &GenerateArgs) -> GenerateOptions {
    let tier = args.tier.map(|tier| tier.size());
    let (people, requests) = tier.map_or((0, 0), |(people, requests, _)| (people, requests));
    GenerateOptions {
        people: args.people.unwrap_or(people),
        requests: args.requests.unwrap_or(requests),
        seed: args.seed,
        datasets: args.datasets.or(tier.map(|(.., datasets)| datasets)),
        formats: args.formats.iter().copied().map(format).collect(),
        as_of: args.date.unwrap_or_else(today),
        faults: !args.no_faults,
        all_asked: args.all_asked,
    }
}

fn format(name: ExportFormat) -> Format {
    match name {
        ExportFormat::Csv => Format::Csv,
        ExportFormat::FixedWidth => Format::FixedWidth,
        ExportFormat::Parquet => Format::Parquet,
    }
}

fn told(report: &GenerateReport, args: &GenerateArgs) -> String {
    let formats: Vec<String> = report.formats.iter().map(|(format, count)| format!("{format} {count}")).collect();
    let mut rows = vec![
        ("generated", args.out.display().to_string()),
        ("requests", grouped(report.requests)),
        ("holders", grouped(report.holders as u64)),
        ("datasets", grouped(report.datasets as u64)),
        ("  formats", formats.join(", ")),
        ("rows", grouped(report.total_rows())),
        ("files", grouped(report.files as u64)),
        ("bytes", size(report.bytes)),
    ];
    rows.extend(report.faults.iter().map(|fault| ("planted fault", fault.clone())));
    table(&rows)
}
