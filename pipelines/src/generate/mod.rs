//! `ieum generate`: synthetic exports, requests and a night's run definition, at any scale.
//!
//! ```text
//!  catalog ─► plan ──► per dataset and part of the people:  people ─► values ─► write ─► exports/
//!     └────────┴─────► catalog/ with export sections          └─────► requests ─────────► requests/
//! ```
//!
//! A person is a pure function of the seed and a serial, a cell one of the person, the dataset and the column. So
//! memory does not grow with the number of people, and the same seed gives the same bytes whatever the threads.

mod expected;
mod names;
mod people;
mod plan;
mod requests;
mod strays;
mod values;
mod write;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Component, Path};

use chrono::NaiveDate;
use ieum_model::catalog::{Catalog, CatalogSource};
use ieum_model::dataset::Format;
use ieum_model::error::{Error, Result};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

pub use expected::FILE as EXPECTED;
use people::{PEOPLE_MAX, Person, Population, Rng, hash};
use plan::{DEFAULT_DATASETS, Plan, plans, register, section};
use values::{Cell, Row};
pub use write::hex;
use write::{Dirt, Head, Writer, unwritable};

/// People whose rows share a file.
const PART_PEOPLE: u64 = 1_000_000;
/// Unreadable rows of an export with dirty rows, in 1000.
const DIRTY_PER_MILLE: u64 = 3;

/// What to generate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerateOptions {
    /// Number of people.
    pub people: u64,
    /// Number of requests.
    pub requests: u64,
    /// Seed; the same seed gives the same bytes.
    pub seed: u64,
    /// Number of datasets beside the register of changed numbers; 44 unless told otherwise.
    pub datasets: Option<usize>,
    /// The day the exports speak of, and of the run.
    pub as_of: NaiveDate,
    /// Formats to write, instead of those of the catalog; none means the catalog's.
    pub formats: Vec<Format>,
    /// Whether faults are planted: dirty rows, a late holder, a wrong trailer, requests to refuse.
    pub faults: bool,
    /// Whether the first request asks every dataset, so that a night of any size reads every export.
    pub all_asked: bool,
}

/// What was generated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GenerateReport {
    /// Number of datasets with an export section.
    pub datasets: usize,
    /// Number of their holders.
    pub holders: usize,
    /// Datasets by format.
    pub formats: BTreeMap<String, usize>,
    /// Rows written, by dataset; a late holder's datasets have none.
    pub rows: BTreeMap<String, u64>,
    /// Bytes of all export files.
    pub bytes: u64,
    /// Number of export files.
    pub files: usize,
    /// Number of requests.
    pub requests: u64,
    /// Planted faults of the exports, in words.
    pub faults: Vec<String>,
}

impl GenerateReport {
    /// Rows of all datasets.
    pub fn total_rows(&self) -> u64 {
        self.rows.values().sum()
    }
}

/// Writes a catalog with export sections, exports, requests, a key and a run definition below `out`.
///
/// # Errors
/// When there are too many people to tell apart, none, or a file cannot be written.
pub fn generate(
    catalog: &Catalog,
    catalog_sources: &[CatalogSource],
    out: &Path,
    options: &GenerateOptions,
) -> Result<GenerateReport> {
    let report = exports(catalog, catalog_sources, out, options)?;
    requests(catalog, out, "", options)?;
    Ok(report)
}

/// Writes what nights of any number of requests can share: a catalog with export sections, exports and a key.
///
/// # Errors
/// When there are too many people to tell apart, none, or a file cannot be written.
pub fn exports(
    catalog: &Catalog,
    catalog_sources: &[CatalogSource],
    out: &Path,
    options: &GenerateOptions,
) -> Result<GenerateReport> {
    let (population, plans) = drawn(catalog, options)?;
    write_catalog(catalog, catalog_sources, &plans, &out.join("catalog"))?;
    let parts: Vec<(&Plan, u64)> = plans
        .iter()
        .filter(|plan| !plan.late)
        .flat_map(|plan| (0..parts_of(plan, options.people)).map(move |part| (plan, part)))
        .collect();
    let exports = out.join("exports");
    std::fs::create_dir_all(&exports).map_err(|error| unwritable(&exports, error))?;
    let written: Vec<(&str, u64, u64)> = parts
        .into_par_iter()
        .map(|(plan, part)| {
            let (rows, bytes) = write_part(catalog, &population, plan, part, &exports)?;
            Ok((plan.code.as_str(), rows, bytes))
        })
        .collect::<Result<_>>()?;
    write_key(out)?;
    Ok(report(catalog, &plans, &written, options.requests))
}

/// Writes requests, their expected answers and a run definition below `out`. What [`exports`] wrote with the same options
/// stands in `shared`: empty for `out` itself, else a way from there that ends in `/`.
///
/// # Errors
/// When there are too many people to tell apart, none, or a file cannot be written.
pub fn requests(catalog: &Catalog, out: &Path, shared: &str, options: &GenerateOptions) -> Result<()> {
    let (population, plans) = drawn(catalog, options)?;
    let mut night = requests::Night::new(catalog, &plans, population, options.requests, options.faults);
    night.all_asked = options.all_asked;
    night.write(&out.join("requests"))?;
    expected::write(&night, out)?;
    write_run(out, shared, options.as_of)
}

fn drawn(catalog: &Catalog, options: &GenerateOptions) -> Result<(Population, Vec<Plan>)> {
    if options.people == 0 || options.people > PEOPLE_MAX {
        return Err(Error::config(format!("the number of people must be from 1 to {PEOPLE_MAX}")));
    }
    let population = Population {
        people: options.people,
        seed: options.seed,
        as_of: options.as_of,
        renumbered: register(catalog).is_some(),
    };
    let datasets = options.datasets.unwrap_or(DEFAULT_DATASETS);
    Ok((population, plans(catalog, datasets, options.faults, &options.formats)))
}

fn report(catalog: &Catalog, plans: &[Plan], written: &[(&str, u64, u64)], requests: u64) -> GenerateReport {
    let mut report = GenerateReport { datasets: plans.len(), files: written.len(), requests, ..Default::default() };
    let mut holders: Vec<&str> = Vec::new();
    for plan in plans {
        *report.formats.entry(plan.export.format.to_string()).or_default() += 1;
        holders.extend(catalog.datasets.get(plan.code.as_str()).map(|dataset| dataset.holder.as_str()));
        for (planted, what) in
            [(plan.late, "late holder"), (plan.dirty, "dirty rows"), (plan.wrong_trailer, "wrong trailer count")]
        {
            if planted {
                report.faults.push(format!("{}: {what}", plan.code));
            }
        }
    }
    holders.sort_unstable();
    holders.dedup();
    report.holders = holders.len();
    for (code, rows, bytes) in written {
        *report.rows.entry((*code).to_owned()).or_default() += rows;
        report.bytes += bytes;
    }
    report
}

/// Number of files; one if the path has no place for a number.
fn parts_of(plan: &Plan, people: u64) -> u64 {
    if plan.export.path.contains('*') { people.div_ceil(PART_PEOPLE) } else { 1 }
}

fn write_part(
    catalog: &Catalog,
    population: &Population,
    plan: &Plan,
    part: u64,
    exports: &Path,
) -> Result<(u64, u64)> {
    let dataset = catalog
        .datasets
        .get(plan.code.as_str())
        .ok_or_else(|| Error::internal("a planned dataset is not in the catalog").at("dataset", &plan.code))?;
    let people = if parts_of(plan, population.people) == 1 {
        0..population.people
    } else {
        part * PART_PEOPLE..((part + 1) * PART_PEOPLE).min(population.people)
    };
    let path = exports.join(path_of(plan, part, population.as_of));
    // Only a header record needs the count beforehand.
    let count = if plan.export.layout.is_empty() {
        0
    } else {
        people.clone().map(|serial| rows(plan, population, serial).map_or(0, |(_, rows)| rows)).sum()
    };
    let institution_code =
        catalog.holders.get(dataset.holder.as_str()).map_or("9999999", |holder| holder.institution_code.as_str());
    let head = Head {
        dataset: &plan.code,
        institution_code,
        base_date: population.as_of,
        count,
        wrong_trailer: plan.wrong_trailer && part == 0,
    };
    let mut writer = Writer::create(plan, dataset, &path, head)?;
    let mut cells: Vec<Cell> = Vec::with_capacity(plan.order.len());
    for (person, rows) in people.filter_map(|serial| rows(plan, population, serial)) {
        for nth in 0..rows {
            let row = Row { person: &person, nth, stream: plan.stream(), former: plan.former };
            cells.clear();
            cells.extend(plan.order.iter().map(|(at, _)| population.cell(&plan.columns[*at], &row)));
            writer.row(&cells, &dirt(plan, population.seed, person.serial, nth))?;
        }
    }
    writer.finish()
}

/// The file of one part, below the exports folder.
fn path_of(plan: &Plan, part: u64, date: NaiveDate) -> String {
    let dated = plan.export.path.replace("{date}", &date.format("%Y%m%d").to_string());
    dated.replace("**", "all").replace('*', &format!("part-{part:04}"))
}

/// A person who has rows, and how many.
fn rows(plan: &Plan, population: &Population, serial: u64) -> Option<(Person, u64)> {
    let drawn = plan.drawn(population.seed, serial);
    if drawn == 0 {
        return None;
    }
    let person = population.person(serial);
    plan.concerns(&person).then_some((person, drawn))
}

fn dirt(plan: &Plan, seed: u64, serial: u64, nth: u64) -> Dirt {
    if !plan.dirty {
        return Dirt::Clean;
    }
    let mut rng = Rng::of(&[seed, plan.stream(), hash("dirt"), serial, nth]);
    match (rng.chance(DIRTY_PER_MILLE), rng.chance(500)) {
        (false, _) => Dirt::Clean,
        (true, true) => Dirt::Ragged,
        (true, false) => Dirt::BadDate,
    }
}

fn write_catalog(catalog: &Catalog, sources: &[CatalogSource], plans: &[Plan], folder: &Path) -> Result<()> {
    let sections: BTreeMap<&str, String> = plans
        .iter()
        .filter(|plan| plan.chosen && catalog.datasets.contains_key(plan.code.as_str()))
        .map(|plan| (plan.code.as_str(), section(&plan.export)))
        .collect();
    for source in sources {
        let below = Path::new(&source.path);
        if !below.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Error::config("a file of the catalog is not below its folder").at("path", &source.path));
        }
        let mut text = source.text.clone();
        if below.starts_with("datasets") {
            let code = toml::from_str::<toml::Table>(&text)
                .ok()
                .and_then(|table| table.get("code").and_then(toml::Value::as_str).map(str::to_owned));
            if let Some(section) = code.and_then(|code| sections.get(code.as_str())) {
                text = without_export(&text);
                text.push_str(section);
            }
        }
        write_text(&folder.join(below), &text)?;
    }
    Ok(())
}

/// A dataset's file without its export section.
fn without_export(text: &str) -> String {
    let mut inside = false;
    let is_kept = |line: &&str| {
        if line.starts_with('[') {
            inside = line.starts_with("[export]") || line.starts_with("[export.");
        }
        !inside
    };
    text.split_inclusive('\n').filter(is_kept).collect()
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| unwritable(parent, error))?;
    }
    std::fs::write(path, text).map_err(|error| unwritable(path, error))
}

/// The run definition of the requests beside it; what they share with other nights stands in `shared`.
fn write_run(out: &Path, shared: &str, as_of: NaiveDate) -> Result<()> {
    let run = format!(
        "[run]\ncatalog = \"{shared}catalog\"\nexports = \"{shared}exports\"\n\
         requests = [\"requests/requests.csv\"]\nwithdrawals = [\"requests/withdrawals.csv\"]\n\
         keys = \"{shared}keys/sample.key\"\ndate = \"{as_of}\"\nout = \"out\"\n\
         layout = \"packed\"        # or per_request\nformat = \"json\"\n"
    );
    write_text(&out.join("nightly.toml"), &run)
}

/// The key that run definitions name. It is made from a published sentence: it protects nothing.
fn write_key(out: &Path) -> Result<()> {
    let (folder, path) = (out.join("keys"), out.join("keys").join("sample.key"));
    std::fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, error))?;
    let mut open = std::fs::OpenOptions::new();
    open.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
    let digest = write::hex(&Sha256::digest(b"sample key, not a secret"));
    open.open(&path)
        .and_then(|mut file| writeln!(file, "ieum-key/1 sample-not-a-secret 1 {digest}"))
        .map_err(|error| unwritable(&path, error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use ieum_model::dataset::Format;

    use super::*;

    fn files(folder: &Path, base: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, base, found);
            } else {
                let digest = Sha256::digest(std::fs::read(&path).unwrap()).to_vec();
                found.insert(path.strip_prefix(base).unwrap().to_owned(), digest);
            }
        }
    }

    fn sources(folder: &Path, base: &Path, found: &mut Vec<CatalogSource>) {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                sources(&path, base, found);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                let text = std::fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(base).unwrap().to_str().unwrap().to_owned();
                found.push(CatalogSource { path, text });
            }
        }
    }

    fn sample() -> Vec<CatalogSource> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sample-data/catalog");
        let mut found = Vec::new();
        sources(&folder, &folder, &mut found);
        found
    }

    fn options(people: u64) -> GenerateOptions {
        GenerateOptions {
            people,
            requests: 60,
            seed: 11,
            datasets: None,
            formats: Vec::new(),
            as_of: NaiveDate::from_ymd_opt(2026, 11, 22).unwrap(),
            faults: true,
            all_asked: false,
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_a_sound_catalog() {
        let sources_of_sample = sample();
        let catalog = Catalog::parse(&sources_of_sample).unwrap();
        let folders = [1, 3].map(|threads| {
            let name = format!("ieum-generate-{}-{threads}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let report = pool.install(|| generate(&catalog, &sources_of_sample, &folder, &options(300))).unwrap();
            assert_eq!(report.datasets, 45);
            assert!(report.holders >= 12, "{}", report.holders);
            assert_eq!(report.formats.len(), 3);
            assert_eq!(report.faults.len(), 4, "{:?}", report.faults);
            folder
        });
        let [first, second] = folders.each_ref().map(|folder| {
            let mut found = BTreeMap::new();
            files(folder, folder, &mut found);
            found
        });
        assert_eq!(first, second);

        let mut written = Vec::new();
        sources(&folders[0].join("catalog"), &folders[0].join("catalog"), &mut written);
        let written = Catalog::parse(&written).unwrap();
        assert!(written.datasets.values().filter(|dataset| dataset.export.is_some()).count() >= 45);
        for folder in folders {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }

    /// The text of a CSV or fixed-width export; those of numbers are ASCII in every encoding.
    fn text(path: &Path) -> Option<String> {
        let bytes = std::fs::read(path).unwrap();
        let mut plain = Vec::new();
        match path.extension()?.to_str()? {
            "gz" => _ = std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut plain).unwrap(),
            "csv" | "dat" => plain = bytes,
            _ => return None,
        }
        Some(String::from_utf8_lossy(&plain).into_owned())
    }

    #[test]
    fn the_register_leads_from_every_former_number_to_the_present_one() {
        let sources = sample();
        let catalog = Catalog::parse(&sources).unwrap();
        let folder = std::env::temp_dir().join(format!("ieum-generate-{}-register", std::process::id()));
        let options = GenerateOptions { requests: 2000, faults: false, ..options(2000) };
        let report = generate(&catalog, &sources, &folder, &options).unwrap();
        assert!((15..=45).contains(&report.rows["resident_number_change"]), "{:?}", report.rows);

        let register = folder.join("exports/mois/resident_number_change/part-0000.dat");
        let register = std::fs::read_to_string(register).unwrap();
        let rows = register.lines().filter(|line| line.starts_with("22"));
        let leads: BTreeMap<&str, &str> = rows.map(|row| (&row[13..26], &row[26..39])).collect();
        assert_eq!(leads.len() as u64, report.rows["resident_number_change"]);
        let population = Population { people: 2000, seed: options.seed, as_of: options.as_of, renumbered: true };
        for serial in 0..2000 {
            let former = population.former(serial);
            let lead = former.as_deref().and_then(|former| leads.get(former).copied());
            assert_eq!(lead, former.is_some().then(|| population.rrno(serial)).as_deref());
        }

        let known: BTreeSet<String> = (0..2000).map(|serial| population.rrno(serial)).collect();
        let (mut former, mut present) = (0, 0);
        for plan in plans(&catalog, DEFAULT_DATASETS, false, &[]) {
            let path = folder.join("exports").join(path_of(&plan, 0, options.as_of));
            let Some(text) = text(&path).filter(|_| plan.code != "resident_number_change") else { continue };
            let old = leads.keys().filter(|old| text.contains(**old)).count();
            let new = leads.values().filter(|new| text.contains(**new)).count();
            assert!(if plan.former { new == 0 } else { old == 0 }, "{}", plan.code);
            former += usize::from(old > 0);
            present += usize::from(new > 0);
            let resident = |cell: &&str| cell.len() == 13 && cell.starts_with('9') && !cell.starts_with("9999");
            let mut cells = text.split(|c: char| !c.is_ascii_digit()).filter(resident);
            let sound = |cell| known.contains(cell) || leads.contains_key(cell);
            assert!(plan.export.format != Format::Csv || cells.all(sound), "{}", plan.code);
        }
        assert!(former >= 4 && present > former, "{former} with former numbers, {present} without");

        let requests = std::fs::read_to_string(folder.join("requests/requests.csv")).unwrap();
        let asked = |number: &&str| requests.matches(*number).count();
        let [old, new]: [usize; 2] = [leads.keys().map(asked).sum(), leads.values().map(asked).sum()];
        assert!(old > 0 && new > old, "{old} requests name a former number, {new} the new one");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn requests_for_exports_that_are_there_are_those_of_a_whole_night() {
        let sources = sample();
        let catalog = Catalog::parse(&sources).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (whole, shared) = (folder.path().join("whole"), folder.path().join("shared"));
        let options = GenerateOptions { faults: false, all_asked: true, datasets: Some(20), ..options(100) };
        generate(&catalog, &sources, &whole, &options).unwrap();
        exports(&catalog, &sources, &shared, &options).unwrap();
        requests(&catalog, &shared.join("night"), "../", &options).unwrap();
        let read = |path: PathBuf| std::fs::read(path).unwrap();
        for file in ["requests/requests.csv", "requests/withdrawals.csv", EXPECTED] {
            assert!(read(whole.join(file)) == read(shared.join("night").join(file)), "{file}");
        }
        assert_eq!(read(whole.join("keys/sample.key")), read(shared.join("keys/sample.key")));
        let asked = String::from_utf8(read(whole.join("requests/requests.csv"))).unwrap();
        let first = asked.lines().nth(1).unwrap();
        let planned = plans(&catalog, 20, false, &[]);
        assert!(planned.iter().all(|plan| first.contains(&plan.code)), "the first request asks every dataset");
    }

    #[test]
    fn without_a_register_no_number_changes() {
        let mut sources = sample();
        sources.retain(|source| !source.path.ends_with("resident_number_change.toml"));
        let catalog = Catalog::parse(&sources).unwrap();
        let plans = plans(&catalog, DEFAULT_DATASETS, true, &[]);
        assert_eq!(plans.len(), DEFAULT_DATASETS);
        assert!(register(&catalog).is_none() && plans.iter().all(|plan| !plan.former));
    }

    #[test]
    fn more_people_than_numbers_are_refused() {
        let (catalog, out) = (Catalog::default(), std::env::temp_dir().join("ieum-generate-none"));
        assert!(generate(&catalog, &[], &out, &options(0)).is_err());
        assert!(generate(&catalog, &[], &out, &options(PEOPLE_MAX + 1)).is_err());
        assert!(!out.exists());
    }
}
