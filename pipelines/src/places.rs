//! Places beyond this machine's folders: `[places.NAME]` of a run definition, and their credentials.
//!
//! ```toml
//! [places.lake]
//! url = "s3://exports/2026"            # s3://, az://, http(s)://, postgresql://, mysql://, odbc://
//! endpoint = "http://127.0.0.1:8333"
//! user = { env = "LAKE_KEY" }
//! secret = { file = "lake.secret" }    # or { env = "…" } or { command = "…" }
//! ca = "authority.pem"                 # who signs its certificate, where this machine does not know them
//! ```
//!
//! A secret is never a value in the file: what a definition holds is copied, mailed and kept in repositories.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ieum_connectors::store::{self, Access};
use ieum_connectors::{Exports, Folder, database};
use ieum_core::deliver::{self, Delivery};
use ieum_model::catalog::Catalog;
use ieum_model::error::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::definition::Definition;

/// A place as the definition has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    url: String,
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    user: Option<User>,
    #[serde(default)]
    secret: Option<Secret>,
    #[serde(default)]
    tls: Option<bool>,
    #[serde(default)]
    ca: Option<String>,
}

/// A user's name is no secret, but may be kept with one.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum User {
    Name(String),
    Kept(Secret),
}

/// Where a secret is.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Secret {
    /// In a variable of the environment.
    Env(String),
    /// In a file, readable by its owner only.
    File(String),
    /// What a command prints.
    Command(String),
}

/// The places of a definition, by name.
pub type Places = BTreeMap<String, Place>;

/// Refuses secrets that are written into a definition, before anything tells of its text.
///
/// # Errors
/// [`ErrorKind::Config`], without the secret.
pub fn check(definition: &toml::Table) -> Result<()> {
    let places = definition.get("places").and_then(toml::Value::as_table);
    let told = |place: &toml::Value| place.get("secret").is_some_and(|secret| !secret.is_table());
    match places.into_iter().flatten().find(|(_, place)| told(place)) {
        Some((name, _)) => Err(Error::config(format!(
            "the secret of the place `{name}` is written into the run definition"
        ))
        .hint("take it out, change it, and name where it is kept: { env = … }, { file = … } or { command = … }")),
        None => Ok(()),
    }
}

impl Secret {
    fn read(&self, folder: &Path) -> Result<String> {
        let text = match self {
            Self::Env(name) => std::env::var(name).map_err(|_| {
                Error::new(ErrorKind::Key, "a variable of the environment that holds a secret is not set")
                    .at("variable", name)
            })?,
            Self::File(file) => read_file(&folder.join(file))?,
            Self::Command(command) => printed(command, folder)?,
        };
        let text = text.trim_end_matches(['\r', '\n']).to_owned();
        if text.is_empty() {
            return Err(Error::new(ErrorKind::Key, "a secret is empty").at("secret", self.told()));
        }
        Ok(text)
    }

    fn told(&self) -> &str {
        match self {
            Self::Env(from) | Self::File(from) | Self::Command(from) => from,
        }
    }
}

fn read_file(path: &Path) -> Result<String> {
    let unread = |error: std::io::Error| {
        Error::new(ErrorKind::Key, format!("a secret cannot be read: {error}")).at("file", path.display())
    };
    let mode = fs::metadata(path).map_err(unread)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Error::new(ErrorKind::Key, "a secret can be read by others")
            .at("file", path.display())
            .hint("chmod 600"));
    }
    fs::read_to_string(path).map_err(unread)
}

fn printed(command: &str, folder: &Path) -> Result<String> {
    let failed =
        |what: String| Error::new(ErrorKind::Key, format!("the command for a secret {what}")).at("command", command);
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", command]).stdin(Stdio::null()).stderr(Stdio::inherit());
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let output = shell.current_dir(folder).output().map_err(|error| failed(format!("cannot be started: {error}")))?;
    if !output.status.success() {
        return Err(failed("failed".to_owned()));
    }
    String::from_utf8(output.stdout).map_err(|_| failed("printed no text".to_owned()))
}

impl Place {
    /// How the place is reached, with its secrets; files of a definition are relative to `folder`.
    ///
    /// # Errors
    /// [`ErrorKind::Key`] when a secret is missing or can be read by others.
    pub fn access(&self, folder: &Path) -> Result<Access> {
        let user = match &self.user {
            Some(User::Name(name)) => Some(name.clone()),
            Some(User::Kept(kept)) => Some(kept.read(folder)?),
            None => None,
        };
        Ok(Access {
            url: self.url.clone(),
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            user,
            secret: self.secret.as_ref().map(|secret| secret.read(folder)).transpose()?,
            tls: self.tls,
            ca: self.ca.as_ref().map(|file| folder.join(file)),
        })
    }
}

/// The places of exports that a catalog names. Only their secrets are read.
///
/// # Errors
/// As [`Place::access`], and [`ErrorKind::Config`] for a URL that is none.
pub fn exports(definition: &Definition, catalog: &Catalog) -> Result<Exports> {
    let named = catalog.datasets.values().filter_map(|dataset| dataset.export.as_ref()?.at.place.as_deref());
    let mut places = BTreeMap::new();
    for name in named.collect::<BTreeSet<&str>>() {
        // One that the definition lacks is told with the dataset that is read from it.
        if let Some(place) = definition.places.get(name) {
            let folder = place.access(&definition.folder).and_then(|access| reached(&access));
            places.insert(name.to_owned(), folder.map_err(|error| error.at("place", name))?);
        }
    }
    let folder = match definition.exports.to_str().filter(|exports| store::is_url(exports)) {
        Some(url) => reached(&access_of(&definition.places, &definition.folder, url)?)?,
        None => Folder::from(&definition.exports),
    };
    Ok(Exports { folder, places })
}

/// A store or a database, by its URL.
///
/// # Errors
/// [`ErrorKind::Config`] for a URL that is none.
pub fn reached(access: &Access) -> Result<Folder> {
    if database::is_url(&access.url) {
        return Ok(Folder::Database(Arc::new(database::open(access)?)));
    }
    Ok(Folder::Store(store::open(access)?))
}

/// How the store at `url` is reached: as the place that it is, or lies below; by the environment alone where there is none.
///
/// # Errors
/// As [`Place::access`].
pub fn access_of(places: &Places, folder: &Path, url: &str) -> Result<Access> {
    let holds = |place: &&Place| {
        let rest = url.strip_prefix(place.url.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match places.values().filter(holds).max_by_key(|place| place.url.len()) {
        Some(place) => Ok(Access { url: url.to_owned(), ..place.access(folder)? }),
        None => Ok(Access { url: url.to_owned(), ..Access::default() }),
    }
}

/// The store that outputs are delivered to.
///
/// # Errors
/// As [`access_of`] and [`store::open`].
pub fn delivery(places: &Places, folder: &Path, url: &str) -> Result<Delivery> {
    let store = store::open(&access_of(places, folder, url)?)?;
    if !store.lists {
        return Err(Error::config("outputs cannot be delivered to a plain HTTP server").at("store", store.told));
    }
    Ok(Delivery {
        store: store.store,
        prefix: store.prefix,
        told: store.told,
        owner: owner()?,
        lapses_after: deliver::LAPSES_AFTER,
        pause: deliver::PAUSE,
    })
}

/// A name that no other process has.
fn owner() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(format!("no random bytes: {error}")))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn places(text: &str) -> Places {
        toml::from_str::<BTreeMap<String, Places>>(text).unwrap().remove("places").unwrap()
    }

    #[test]
    fn a_place_is_found_by_its_url_and_its_secrets_where_they_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "s3cr3t\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let places = places(
            "[places.a]\nurl = 's3://b'\nuser = 'u'\nsecret = { file = 'secret' }\n\
             [places.c]\nurl = 's3://b/c/'\nregion = 'kr'\nuser = { command = 'printf %s me' }\n",
        );
        let access = |url| access_of(&places, folder.path(), url).unwrap();
        assert_eq!(access("s3://b/x").secret.as_deref(), Some("s3cr3t"));
        assert_eq!((access("s3://b/c/d").user, access("s3://b/c/d").secret), (Some("me".to_owned()), None));
        assert_eq!(access("s3://bc/d").user, None);
        assert!(!format!("{:?}", access("s3://b/x")).contains("s3cr3t"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let error = access_of(&places, folder.path(), "s3://b/x").unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Key, "a secret can be read by others"));
        let written = "[run]\nout = 'o'\n[places.a]\nurl = 's3://b'\nsecret = 'plain'\n";
        let error = Definition::parse(written, folder.path()).unwrap_err();
        assert!(error.kind == ErrorKind::Config && !error.told().contains("plain"), "{error}");
    }

    #[test]
    fn owners_differ() {
        assert_ne!(owner().unwrap(), owner().unwrap());
    }
}
