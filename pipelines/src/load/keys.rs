//! The key file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ieum_model::error::{Error, ErrorKind, Result};
use ieum_privacy::MasterKey;
use zeroize::Zeroizing;

/// Permission bits of group and others.
const OTHERS: u32 = 0o077;
/// Key id of the published sample key; git does not keep its mode, and there is nothing to keep secret.
const NO_SECRET: &str = "sample-not-a-secret";

/// Reads the master key.
///
/// # Errors
/// [`ErrorKind::Key`] if the file is missing, malformed, or open to group or others.
///
/// # Privacy
/// The text of the file is wiped; the error never repeats it.
pub fn master_key(path: &Path) -> Result<MasterKey> {
    let refused = |message: String| Error::new(ErrorKind::Key, message).at("key file", path.display());
    let cannot_read = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => format!("make a key with `ieum keys new {} --key-id NAME`", path.display()),
            io::ErrorKind::PermissionDenied => "run as the user that the key file belongs to".to_owned(),
            io::ErrorKind::IsADirectory => "name the key file itself in `keys`, not its folder".to_owned(),
            io::ErrorKind::InvalidData => {
                "this is no key file: compare `keys`, or restore it from its backup".to_owned()
            }
            _ => "try again; if it persists, restore the key file from its backup".to_owned(),
        };
        refused(format!("the key file cannot be read: {error}")).hint(hint)
    };
    let mut file = File::open(path).map_err(cannot_read)?;
    let about = file.metadata().map_err(cannot_read)?;
    // Large enough from the start: a text that grows leaves copies of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(about.len() as usize + 1));
    file.read_to_string(&mut text).map_err(cannot_read)?;
    let key = MasterKey::from_hex_file_text(&text).map_err(|error| {
        refused(error.to_string()).hint("restore the key file from its backup; keys are never edited")
    })?;
    if about.permissions().mode() & OTHERS != 0 && key.key_id() != NO_SECRET {
        return Err(
            refused("the key file is open to group or others".to_owned()).hint(format!("chmod 600 {}", path.display()))
        );
    }
    Ok(key)
}

/// Writes a new master key to a file that only its owner can read.
///
/// # Errors
/// [`ErrorKind::Key`] if the file exists or cannot be written, or the key id cannot stand in it.
pub fn new_key_file(path: &Path, key_id: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let refused = |message: String| Error::new(ErrorKind::Key, message).at("key file", path.display());
    let text = MasterKey::generate(key_id).map_err(|error| refused(error.to_string()))?;
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => refused("the file exists, and a key is never overwritten".to_owned())
            .hint("name another file; bundles made with the old key cannot be matched without it"),
        _ => refused(format!("the key file cannot be made: {error}")),
    })?;
    let written = file.write_all(text.expose().as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| refused(format!("the key file cannot be written: {error}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_private_and_never_overwritten() {
        let dir = std::env::temp_dir().join(format!("ieum-keys-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("night.key");
        new_key_file(&path, "night").unwrap();
        assert_eq!(master_key(&path).unwrap().key_id(), "night");
        assert_eq!(new_key_file(&path, "night").unwrap_err().kind, ErrorKind::Key);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(master_key(&path).unwrap_err().kind, ErrorKind::Key);
        fs::remove_dir_all(&dir).unwrap();
    }
}
