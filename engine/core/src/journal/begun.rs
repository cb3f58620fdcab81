//! What a run is made from: the first entry of its journal. A run goes on only from the same.

use std::collections::BTreeMap;

use ieum_model::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::input::{BundleFormat, ExportState, Layout, Night};
use crate::manifest::{hex, sha256_hex};

/// Format of the journal.
const FORMAT: &str = "ieum-journal/1";

/// Exports that a refusal names; the rest is only counted.
const TOLD_EXPORTS: usize = 5;

/// What a run is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begun {
    /// Format of the journal.
    pub journal: String,
    /// The run.
    pub run_id: String,
    /// The declared date, ISO.
    pub as_of: String,
    /// Version of the engine.
    pub engine: String,
    /// SHA-256 of the catalog.
    pub catalog_digest: String,
    /// SHA-256 of the request files, withdrawals, lines carried over, and of the list of protected persons by the key.
    pub requests_digest: String,
    /// Key that makes the pseudonyms.
    pub key_id: String,
    /// Its epoch.
    pub key_epoch: u32,
    /// Tells this key from another of the same name and epoch; see `MasterKey::check_value`.
    pub key_check: String,
    /// Settings that change bytes or the layout of the stage, by name.
    pub settings: BTreeMap<String, String>,
    /// Every export that the night may read, by dataset.
    pub exports: BTreeMap<String, Export>,
}

/// An export as the run found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Export {
    /// Its files: name, bytes, and when each was last written to in nanoseconds since 1970-01-01 UTC.
    Files(Vec<(String, u64, i64)>),
    /// Not to be read, for the reason of this code.
    Delayed(String),
}

impl Export {
    fn of(state: &ExportState) -> Self {
        match state {
            ExportState::Ready(connector) => {
                let files = connector.found_files().into_iter();
                Self::Files(files.map(|file| (file.name, file.bytes, file.modified)).collect())
            }
            ExportState::Delayed(reason) => Self::Delayed(reason.code().to_owned()),
        }
    }

    /// What became of an export since `earlier`, in words.
    fn difference(&self, earlier: &Self) -> String {
        match (earlier, self) {
            (Self::Files(earlier), Self::Files(now)) => {
                let gone = earlier.iter().find(|(name, ..)| now.iter().all(|(other, ..)| other != name));
                let new = now.iter().find(|(name, ..)| earlier.iter().all(|(other, ..)| other != name));
                let changed = now.iter().find(|file| !earlier.contains(file));
                match (gone, new, changed) {
                    (Some((name, ..)), ..) => format!("`{name}` is gone"),
                    (_, Some((name, ..)), _) => format!("`{name}` is new"),
                    (.., Some((name, ..))) => format!("`{name}` was written to"),
                    _ => "its files stand in another order".to_owned(),
                }
            }
            (Self::Delayed(code), Self::Files(_)) => format!("it can be read now, it was delayed ({code})"),
            (Self::Files(_), Self::Delayed(code)) => format!("it is delayed now ({code})"),
            (Self::Delayed(code), Self::Delayed(now)) => format!("it was delayed for {code} and is for {now}"),
        }
    }
}

/// Digest of what an earlier run read; empty where there was none.
fn earlier_rows(night: &Night) -> String {
    let told: String = night.earlier_rows.iter().map(|(source, rows)| format!("{source} {rows}\n")).collect();
    if told.is_empty() { told } else { sha256_hex(told.as_bytes()) }
}

impl Begun {
    /// What this night is made from.
    pub fn of(night: &Night) -> Self {
        let layout = match night.settings.layout {
            Layout::PerRequest => "per-request",
            Layout::Folder => "folder",
            Layout::Packed => "packed",
        };
        let format = match night.settings.format {
            BundleFormat::Json => "json",
            BundleFormat::Parquet => "parquet",
        };
        let settings = [
            ("layout", layout.to_owned()),
            ("format", format.to_owned()),
            ("shard_requests", night.settings.shard_requests.to_string()),
            ("encryption", night.encryption.as_ref().map_or("", |encryption| encryption.profile().name()).to_owned()),
            ("signing_key", night.signing.as_ref().map_or_else(String::new, |key| key.public().text())),
            ("earlier_rows", earlier_rows(night)),
        ];
        Self {
            journal: FORMAT.to_owned(),
            run_id: night.run_id(),
            as_of: night.as_of.to_string(),
            engine: env!("CARGO_PKG_VERSION").to_owned(),
            catalog_digest: night.catalog_digest.clone(),
            requests_digest: night.requests_digest.clone(),
            key_id: night.master.key_id().to_owned(),
            key_epoch: night.master.epoch(),
            key_check: hex(&night.master.check_value()),
            settings: settings.map(|(name, value)| (name.to_owned(), value)).into(),
            exports: night.exports.iter().map(|(code, state)| (code.clone(), Export::of(state))).collect(),
        }
    }

    /// Whether a run that was `earlier` made from something can go on as this one.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] that names what changed; [`ErrorKind::Key`] where it is the key alone.
    pub fn goes_on_from(&self, earlier: &Self) -> Result<()> {
        let key = |begun: &Self| (begun.key_id.clone(), begun.key_epoch, begun.key_check.clone());
        let key_changed = key(self) != key(earlier);
        let others = self.other_changes(earlier);
        if !key_changed && others.is_empty() {
            return Ok(());
        }
        let kind = if others.is_empty() { ErrorKind::Key } else { ErrorKind::Config };
        let what = "an unfinished run stands here, and what it was made from has changed";
        let error = Error::new(kind, what).at("run", &earlier.run_id);
        let key = key_changed.then(|| "the key".to_owned());
        let error = key.into_iter().chain(others).fold(error, |error, change| error.at("changed", change));
        Err(error.hint("`ieum run --restart` throws the unfinished run away; what is put back as it was lets it go on"))
    }

    fn other_changes(&self, earlier: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        let mut differs = |what: &str, now: &str, before: &str| {
            if now != before {
                changes.push(what.to_owned());
            }
        };
        differs("the version of ieum", &self.engine, &earlier.engine);
        differs("the format of the journal", &self.journal, &earlier.journal);
        differs("the date", &self.as_of, &earlier.as_of);
        differs("the catalog", &self.catalog_digest, &earlier.catalog_digest);
        let requests = "requests, protected persons or lines carried over";
        differs(requests, &self.requests_digest, &earlier.requests_digest);
        let names = self.settings.keys().chain(earlier.settings.keys()).collect::<std::collections::BTreeSet<_>>();
        for name in names {
            let (now, before) = (self.settings.get(name), earlier.settings.get(name));
            if now != before {
                let told = |value: Option<&String>| value.map_or("none", String::as_str).to_owned();
                changes.push(format!("`{name}`: it was {} and is {}", told(before), told(now)));
            }
        }
        let exports = self.export_changes(earlier);
        let more = exports.len().saturating_sub(TOLD_EXPORTS);
        changes.extend(exports.into_iter().take(TOLD_EXPORTS));
        changes.extend((more > 0).then(|| format!("{more} more exports")));
        changes
    }

    fn export_changes(&self, earlier: &Self) -> Vec<String> {
        let codes = self.exports.keys().chain(earlier.exports.keys()).collect::<std::collections::BTreeSet<_>>();
        let change = |code: &String| match (self.exports.get(code), earlier.exports.get(code)) {
            (Some(now), Some(before)) if now == before => None,
            (Some(now), Some(before)) => Some(format!("export of `{code}`: {}", now.difference(before))),
            (Some(_), None) => Some(format!("export of `{code}`: the run did not want it")),
            _ => Some(format!("export of `{code}`: it is not wanted any more")),
        };
        codes.into_iter().filter_map(change).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> Begun {
        let files = |files: &[(&str, u64, i64)]| {
            Export::Files(files.iter().map(|(name, bytes, time)| ((*name).to_owned(), *bytes, *time)).collect())
        };
        let exports =
            [("a", files(&[("a/1.csv", 10, 5), ("a/2.csv", 10, 5)])), ("b", Export::Delayed("E_HOLDER".into()))];
        Begun {
            journal: FORMAT.into(),
            run_id: "2026-11-22-abc".into(),
            as_of: "2026-11-22".into(),
            engine: "0.1.0".into(),
            catalog_digest: "c".into(),
            requests_digest: "r".into(),
            key_id: "k".into(),
            key_epoch: 1,
            key_check: "00".into(),
            settings: [("layout".to_owned(), "packed".to_owned())].into(),
            exports: exports.map(|(code, export)| (code.to_owned(), export)).into(),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Begun), kind: ErrorKind, told: &str) {
        let mut now = begun();
        change(&mut now);
        let error = now.goes_on_from(&begun()).unwrap_err();
        let changes: Vec<&str> =
            error.context.iter().filter(|(field, _)| *field == "changed").map(|(_, change)| change.as_str()).collect();
        assert_eq!((error.kind, changes.as_slice()), (kind, &[told][..]));
    }

    #[test]
    fn what_changed_is_named() {
        begun().goes_on_from(&begun()).unwrap();
        check(|now| now.key_check = "01".into(), ErrorKind::Key, "the key");
        check(|now| now.catalog_digest = "x".into(), ErrorKind::Config, "the catalog");
        check(
            |now| now.requests_digest = "x".into(),
            ErrorKind::Config,
            "requests, protected persons or lines carried over",
        );
        check(
            |now| drop(now.settings.insert("layout".into(), "per-request".into())),
            ErrorKind::Config,
            "`layout`: it was packed and is per-request",
        );
        let file = |now: &mut Begun, change: fn(&mut Vec<(String, u64, i64)>)| {
            if let Some(Export::Files(files)) = now.exports.get_mut("a") {
                change(files);
            }
        };
        let export = |told: &str| format!("export of `a`: {told}");
        check(|now| file(now, |files| files[1].2 = 6), ErrorKind::Config, &export("`a/2.csv` was written to"));
        check(|now| file(now, |files| drop(files.remove(0))), ErrorKind::Config, &export("`a/1.csv` is gone"));
        check(
            |now| file(now, |files| files.push(("a/3.csv".into(), 1, 1))),
            ErrorKind::Config,
            &export("`a/3.csv` is new"),
        );
        check(
            |now| drop(now.exports.insert("b".into(), Export::Files(Vec::new()))),
            ErrorKind::Config,
            "export of `b`: it can be read now, it was delayed (E_HOLDER)",
        );
    }
}
