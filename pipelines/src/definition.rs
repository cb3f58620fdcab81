//! The run definition: one TOML file, whose paths are relative to the file's folder.
//!
//! ```toml
//! [run]
//! catalog = "catalog"
//! exports = "exports"
//! requests = ["requests.csv"]
//! keys = "night.key"
//! signing_key = "agency.key" # optional: seals the output, with a receipt for each request
//! encrypt = true           # optional: bundles are encrypted to the `encryption_key` of their recipient in the catalog
//! profile = "default"      # optional: what signs and encrypts; `kr` has KCMVP-listed algorithms, and no validated module
//! date = 2026-11-22        # optional; `--date` overrides it
//! out = "out"
//! memory = "2 GiB"
//! protected = "protected.txt" # optional: persons about whom nothing is delivered, `kind:value` a line, mode 0600
//! consents = "consents.jsonld" # optional: consent records of ISO/IEC TS 27560 in JSON-LD, which requests name by `consent_id`
//! carried_over = []        # optional: files of lines that earlier runs left open; without it those of the latest run in `out`
//! work = "work"            # optional: where a run works whose `out` is a store, `s3://bucket/prefix`; it keeps the ledger
//! staged = "staged"        # optional: where `ieum stage` puts copies of the exports; fresh ones are read in their place
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::NaiveDate;
use clap::ValueEnum;
use ieum_connectors::store::is_url;
use ieum_core::night::{BundleFormat, Delivery, Layout, Settings};
use ieum_model::error::{Error, ErrorKind, Result, nearest};
use ieum_privacy::Profile;
use serde::Deserialize;

use crate::places::{self, Places};

/// Memory limit where neither file nor flag names one: half of the smallest machine that we expect (4 GiB).
const DEFAULT_MEMORY: u64 = 2 << 30;
/// Requests per shard where neither file nor flag names a number.
const DEFAULT_SHARD_REQUESTS: u32 = 4096;

/// Settings of `[run]`, for the suggestion of the nearest.
const SETTINGS: [&str; 20] = [
    "catalog",
    "exports",
    "staged",
    "requests",
    "withdrawals",
    "consents",
    "carried_over",
    "protected",
    "keys",
    "signing_key",
    "encrypt",
    "profile",
    "date",
    "out",
    "work",
    "layout",
    "format",
    "threads",
    "memory",
    "shard_requests",
];

/// How the bundles are laid out in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LayoutName {
    /// A file for each request
    #[default]
    #[serde(alias = "per-request")]
    PerRequest,
    /// A folder for each request: a bag (BagIt) that is a Frictionless data package
    Folder,
    /// One file per recipient and service
    Packed,
}

impl From<LayoutName> for Layout {
    fn from(name: LayoutName) -> Self {
        match name {
            LayoutName::PerRequest => Self::PerRequest,
            LayoutName::Folder => Self::Folder,
            LayoutName::Packed => Self::Packed,
        }
    }
}

/// What signs and encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum ProfileName {
    /// Ed25519, age
    #[default]
    Default,
    /// ECDSA P-256, ARIA: KCMVP-listed algorithms, not a validated module
    Kr,
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Default => Self::Default,
            ProfileName::Kr => Self::Kr,
        }
    }
}

/// How a bundle is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum FormatName {
    /// JSON
    #[default]
    Json,
    /// Parquet
    Parquet,
}

impl FormatName {
    /// Its name in definitions and requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Parquet => "parquet",
        }
    }
}

impl From<FormatName> for BundleFormat {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Json => Self::Json,
            FormatName::Parquet => Self::Parquet,
        }
    }
}

/// A run definition, its paths resolved.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Folder of the definition; names of inputs are told relative to it.
    pub folder: PathBuf,
    /// Catalog folder.
    pub catalog: PathBuf,
    /// Exports folder, or the URL of a store.
    pub exports: PathBuf,
    /// Folder of staged copies of the exports, if they are to be used.
    pub staged: Option<PathBuf>,
    /// Request files.
    pub requests: Vec<PathBuf>,
    /// Withdrawal files.
    pub withdrawals: Vec<PathBuf>,
    /// Files of consent records.
    pub consents: Vec<PathBuf>,
    /// Files of lines carried over from earlier runs; without it the latest run before in `out` is looked for.
    pub carried_over: Option<Vec<PathBuf>>,
    /// List of protected persons, if there is one.
    pub protected: Option<PathBuf>,
    /// Key file.
    pub keys: PathBuf,
    /// File of the key that signs, if the output is to be sealed.
    pub signing_key: Option<PathBuf>,
    /// Whether bundles are encrypted to their recipients.
    pub encrypt: bool,
    /// What signs and encrypts.
    pub profile: Profile,
    /// Date of the run, if the file names one.
    pub date: Option<NaiveDate>,
    /// Folder that gets a folder named after the date.
    pub out: PathBuf,
    /// URL of the store that outputs are delivered to, if they are.
    pub delivered_to: Option<String>,
    /// Places beyond this machine's folders.
    pub places: Places,
    /// Folder of a run whose output is delivered to a store.
    pub work: PathBuf,
    /// Files of the bundles.
    pub layout: LayoutName,
    /// Encoding of the bundles.
    pub format: FormatName,
    /// Threads; all processors without it.
    pub threads: Option<usize>,
    /// Memory limit in bytes.
    pub memory: u64,
    /// Requests per shard.
    pub shard_requests: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    run: Run,
    #[serde(default)]
    places: Places,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    catalog: PathBuf,
    exports: PathBuf,
    #[serde(default)]
    staged: Option<PathBuf>,
    requests: OneOrMany,
    #[serde(default)]
    withdrawals: OneOrMany,
    #[serde(default)]
    consents: OneOrMany,
    #[serde(default)]
    carried_over: Option<OneOrMany>,
    #[serde(default)]
    protected: Option<PathBuf>,
    keys: PathBuf,
    #[serde(default)]
    signing_key: Option<PathBuf>,
    #[serde(default)]
    encrypt: bool,
    #[serde(default)]
    profile: ProfileName,
    #[serde(default)]
    date: Option<toml::Value>,
    #[serde(default)]
    out: Option<PathBuf>,
    #[serde(default)]
    work: Option<PathBuf>,
    #[serde(default)]
    layout: LayoutName,
    #[serde(default)]
    format: FormatName,
    #[serde(default)]
    threads: Option<usize>,
    #[serde(default)]
    memory: Option<String>,
    #[serde(default)]
    shard_requests: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    fn below(self, folder: &Path) -> Vec<PathBuf> {
        let paths = match self {
            Self::One(path) => vec![path],
            Self::Many(paths) => paths,
        };
        paths.into_iter().map(|path| folder.join(path)).collect()
    }
}

impl Definition {
    /// Reads a run definition.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the file is missing, is not TOML, or has an unknown, missing or impossible setting.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| {
            Error::config(format!("the run definition cannot be read: {error}")).at("file", path.display())
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, folder).map_err(|error| error.at("file", path.display()))
    }

    /// Parses a run definition that stands in `folder`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if it is not TOML, or has an unknown, missing or impossible setting.
    pub fn parse(text: &str, folder: &Path) -> Result<Self> {
        let not_toml = |error: toml::de::Error| Error::config(error.to_string().trim_end());
        let table: toml::Table = text.parse().map_err(not_toml)?;
        check_names(text, &table)?;
        places::check(&table)?;
        let file = toml::from_str::<File>(text).map_err(not_toml)?;
        resolve(file.run, file.places, folder)
    }

    /// Writes to another place: a folder, or a store by its URL.
    pub fn set_out(&mut self, out: &Path) {
        self.delivered_to = store_of(out);
        self.out = if self.delivered_to.is_some() { self.work.clone() } else { out.to_path_buf() };
    }

    /// The store that outputs are delivered to, if they are.
    ///
    /// # Errors
    /// [`ErrorKind::Key`] for a secret that is missing, [`ErrorKind::Config`] for a place that cannot be one.
    pub fn delivery(&self) -> Result<Option<Delivery>> {
        self.delivered_to.as_deref().map(|url| places::delivery(&self.places, &self.folder, url)).transpose()
    }

    /// The settings of the machine.
    pub fn settings(&self) -> Settings {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        Settings {
            threads: self.threads.unwrap_or_else(processors),
            memory_bytes: self.memory,
            shard_requests: self.shard_requests,
            layout: self.layout.into(),
            format: self.format.into(),
        }
    }
}

/// The URL of a store, where the place is one.
fn store_of(out: &Path) -> Option<String> {
    out.to_str().filter(|out| is_url(out)).map(str::to_owned)
}

fn resolve(run: Run, places: Places, folder: &Path) -> Result<Definition> {
    let (out, work) = (run.out.unwrap_or_else(|| "out".into()), folder.join(run.work.unwrap_or_else(|| "work".into())));
    let delivered_to = store_of(&out);
    let requests = run.requests.below(folder);
    if requests.is_empty() {
        return Err(Error::config("`requests` names no file").at("setting", "requests"));
    }
    if run.threads == Some(0) || run.shard_requests == Some(0) {
        return Err(Error::config("`threads` and `shard_requests` must be at least 1"));
    }
    let memory = run.memory.as_deref().map(parse_bytes).transpose();
    Ok(Definition {
        folder: folder.to_owned(),
        catalog: folder.join(run.catalog),
        exports: if store_of(&run.exports).is_some() { run.exports } else { folder.join(run.exports) },
        staged: run.staged.map(|staged| folder.join(staged)),
        requests,
        withdrawals: run.withdrawals.below(folder),
        consents: run.consents.below(folder),
        carried_over: run.carried_over.map(|paths| paths.below(folder)),
        protected: run.protected.map(|list| folder.join(list)),
        keys: folder.join(run.keys),
        signing_key: run.signing_key.map(|key| folder.join(key)),
        encrypt: run.encrypt,
        profile: run.profile.into(),
        date: run.date.as_ref().map(parse_date).transpose()?,
        out: if delivered_to.is_some() { work.clone() } else { folder.join(out) },
        delivered_to,
        places,
        work,
        layout: run.layout,
        format: run.format,
        threads: run.threads,
        memory: memory.map_err(|reason| Error::config(reason).at("setting", "memory"))?.unwrap_or(DEFAULT_MEMORY),
        shard_requests: run.shard_requests.unwrap_or(DEFAULT_SHARD_REQUESTS),
    })
}

fn check_names(text: &str, table: &toml::Table) -> Result<()> {
    const TABLES: [&str; 2] = ["run", "places"];
    if let Some(name) = table.keys().find(|name| !TABLES.contains(&name.as_str())) {
        return Err(unknown(text, name, "at the top of the file", &TABLES));
    }
    let Some(toml::Value::Table(run)) = table.get("run") else {
        return Err(Error::config("the run definition has no table `[run]`"));
    };
    match run.keys().find(|name| !SETTINGS.contains(&name.as_str())) {
        Some(name) => Err(unknown(text, name, "in `[run]`", &SETTINGS)),
        None => Ok(()),
    }
}

fn unknown(text: &str, name: &str, place: &str, known: &[&'static str]) -> Error {
    let mut error = Error::new(ErrorKind::Config, format!("unknown setting `{name}` {place}"));
    let stands = |line: &str| {
        line.trim_start_matches([' ', '\t', '[', '"'])
            .strip_prefix(name)
            .is_some_and(|rest| rest.trim_start_matches('"').trim_start().starts_with(['=', '.', ']']))
    };
    if let Some(line) = text.lines().position(stands) {
        error = error.at("line", line + 1);
    }
    match nearest(name, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("known are {}", known.join(", "))),
    }
}

fn parse_date(value: &toml::Value) -> Result<NaiveDate> {
    let text = match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.parse().map_err(|_| Error::config("`date` is not a date such as 2026-11-22").at("setting", "date"))
}

/// Bytes of a size such as `2GiB`, `512 MiB` or `1.5 GiB`.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size such as 2GiB or 512 MiB");
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let scale: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let bytes = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(scale)).ok_or_else(wrong)?;
    let fraction: f64 = match fraction {
        "" => 0.0,
        digits => format!("0.{digits}").parse().map_err(|_| wrong())?,
    };
    let bytes = bytes.checked_add((fraction * scale as f64) as u64).ok_or_else(wrong)?;
    if bytes == 0 { Err(wrong()) } else { Ok(bytes) }
}

/// A duration such as `2h`, `90m`, `1h 30m` or `45s`.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as 2h, 90m or 45s");
    let (mut seconds, mut rest) = (0u64, text.trim());
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = rest.split_at(unit_at);
        let scale = match unit.as_bytes()[0] {
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return Err(wrong()),
        };
        let more = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)).ok_or_else(wrong)?;
        seconds = seconds.checked_add(more).ok_or_else(wrong)?;
        rest = unit[1..].trim_start();
    }
    if seconds == 0 { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let seconds = |text| parse_duration(text).map(|duration| duration.as_secs());
        assert_eq!([seconds("2h"), seconds("1h 30m"), seconds("90m1s")], [Ok(7200), Ok(5400), Ok(5401)]);
        for wrong in ["", "0s", "2", "h", "2d", "2h3", "-1s", "1시", "99999999999999999999s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    const SMALL: &str = "[run]\ncatalog = 'c'\nexports = 'e'\nrequests = ['r.csv']\nkeys = 'k'\n";

    #[test]
    fn paths_are_relative_to_the_folder_of_the_file() {
        let text = format!("{SMALL}date = 2026-11-22\ncarried_over = '/a/b.parquet'\nmemory = '1 GiB'\n");
        let definition = Definition::parse(&text, Path::new("/n")).unwrap();
        assert_eq!(definition.catalog, Path::new("/n/c"));
        assert_eq!(definition.carried_over.as_deref(), Some(&[PathBuf::from("/a/b.parquet")][..]));
        assert_eq!(definition.date, NaiveDate::from_ymd_opt(2026, 11, 22));
        assert_eq!((definition.memory, definition.shard_requests), (1 << 30, DEFAULT_SHARD_REQUESTS));
    }

    #[test]
    fn an_unknown_setting_is_told_with_its_line_and_the_nearest() {
        let error = Definition::parse(&format!("{SMALL}memroy = '1GiB'\n"), Path::new("")).unwrap_err();
        assert_eq!(error.context, [("line", "6".to_owned())]);
        assert_eq!(error.hint.unwrap(), "did you mean `memory`?");
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse_bytes("2GiB"), Ok(2 << 30));
        assert_eq!(parse_bytes("1.5 KiB"), Ok(1536));
        for wrong in ["", "GiB", "2 GB", "0", "-1MiB", "99999999999TiB"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
