//! The key files: made, read, rotated.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ieum_model::error::{Error, ErrorKind, Result};
use ieum_privacy::{Identity, KeyError, KeyRing, MasterKey, Profile, PublicKey, RecipientKey, SigningKey};
use zeroize::Zeroizing;

/// Permission bits of group and others.
const OTHERS: u32 = 0o077;
/// Key id of the published sample keys; git does not keep its mode, and there is nothing to keep secret.
const NO_SECRET: &str = "sample-not-a-secret";

/// What a key file holds.
#[derive(Debug)]
pub enum KeyFile {
    /// The epochs of a master key.
    Master(KeyRing),
    /// A signing key.
    Signing(Box<SigningKey>),
    /// The private key of a recipient.
    Encryption(Box<Identity>),
}

/// Reads the newest master key of a key file.
///
/// # Errors
/// As [`key_ring`].
///
/// # Privacy
/// As [`key_ring`].
pub fn master_key(path: &Path) -> Result<MasterKey> {
    key_ring(path).map(KeyRing::into_newest)
}

/// Reads every epoch of a master key.
///
/// # Errors
/// [`ErrorKind::Key`] if the file is missing, malformed, or open to group or others.
///
/// # Privacy
/// The text of the file is wiped; the error never repeats it.
pub fn key_ring(path: &Path) -> Result<KeyRing> {
    let key_file = Secret::open(path, "make a key with `ieum keys new {} --key-id NAME`")?;
    let ring = KeyRing::from_text(&key_file.text).map_err(|error| malformed(path, error))?;
    key_file.is_closed(ring.key_id())?;
    Ok(ring)
}

/// Reads the key that signs.
///
/// # Errors
/// As [`key_ring`].
///
/// # Privacy
/// As [`key_ring`].
pub fn signing_key(path: &Path) -> Result<SigningKey> {
    let key_file = Secret::open(path, "make a key with `ieum keys new {} --key-id NAME --signing`")?;
    let key = SigningKey::from_text(&key_file.text).map_err(|error| malformed(path, error))?;
    key_file.is_closed(key.public().key_id())?;
    Ok(key)
}

/// Reads the private key of a recipient; one that `age-keygen` made too.
///
/// # Errors
/// As [`key_ring`].
///
/// # Privacy
/// As [`key_ring`].
pub fn identity(path: &Path) -> Result<Identity> {
    let key_file = Secret::open(path, "make a key with `ieum keys new {} --key-id NAME --encryption`")?;
    let identity = Identity::from_text(&key_file.text).map_err(|error| malformed(path, error))?;
    key_file.is_closed("")?;
    Ok(identity)
}

/// Reads a key file of any kind.
///
/// # Errors
/// As [`key_ring`].
///
/// # Privacy
/// As [`key_ring`].
pub fn key_file(path: &Path) -> Result<KeyFile> {
    let text = Secret::open(path, "compare the name of the key file `{}`")?.text;
    if SigningKey::is_meant_by(&text) {
        signing_key(path).map(|key| KeyFile::Signing(Box::new(key)))
    } else if Identity::is_meant_by(&text) {
        identity(path).map(|key| KeyFile::Encryption(Box::new(key)))
    } else {
        key_ring(path).map(KeyFile::Master)
    }
}

/// Reads a public key.
///
/// # Errors
/// [`ErrorKind::Key`] if the file is missing or holds none.
pub fn public_key(path: &Path) -> Result<PublicKey> {
    let text = fs::read_to_string(path)
        .map_err(|error| refused(path, format!("the public key cannot be read: {error}")).hint(PUBLIC_KEY_HINT))?;
    PublicKey::from_text(&text).map_err(|error| refused(path, error.to_string()).hint(PUBLIC_KEY_HINT))
}

const PUBLIC_KEY_HINT: &str =
    "name the file that the agency publishes: `ieum keys new --signing` writes it beside the key";

fn refused(path: &Path, message: String) -> Error {
    Error::new(ErrorKind::Key, message).at("key file", path.display())
}

fn malformed(path: &Path, error: KeyError) -> Error {
    refused(path, error.to_string()).hint("restore the key file from its backup; keys are never edited")
}

/// A key file that was read. Its text is wiped when dropped.
pub(super) struct Secret<'a> {
    path: &'a Path,
    pub(super) text: Zeroizing<String>,
    mode: u32,
}

impl<'a> Secret<'a> {
    /// `missing` says what to do where there is no such file; `{}` in it stands for the path.
    pub(super) fn open(path: &'a Path, missing: &str) -> Result<Self> {
        let cannot_read = |error: io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => missing.replace("{}", &path.display().to_string()),
                io::ErrorKind::PermissionDenied => "run as the user that the key file belongs to".to_owned(),
                io::ErrorKind::IsADirectory => "name the key file itself in `keys`, not its folder".to_owned(),
                io::ErrorKind::InvalidData => {
                    "this is no key file: compare `keys`, or restore it from its backup".to_owned()
                }
                _ => "try again; if it persists, restore the key file from its backup".to_owned(),
            };
            refused(path, format!("the key file cannot be read: {error}")).hint(hint)
        };
        let mut file = File::open(path).map_err(cannot_read)?;
        let about = file.metadata().map_err(cannot_read)?;
        // Large enough from the start: a text that grows leaves copies of the key behind.
        let mut text = Zeroizing::new(String::with_capacity(about.len() as usize + 1));
        file.read_to_string(&mut text).map_err(cannot_read)?;
        Ok(Self { path, text, mode: about.permissions().mode() })
    }

    /// Whether only its owner can read it.
    fn is_closed(&self, key_id: &str) -> Result<()> {
        if key_id == NO_SECRET { Ok(()) } else { self.is_private() }
    }

    /// Whether only its owner can read it, whatever it holds.
    pub(super) fn is_private(&self) -> Result<()> {
        if self.mode & OTHERS == 0 {
            return Ok(());
        }
        let path = self.path;
        Err(refused(path, "the file is open to group or others".to_owned())
            .hint(format!("chmod 600 {}", path.display())))
    }
}

/// Writes a new master key to a file that only its owner can read.
///
/// # Errors
/// [`ErrorKind::Key`] if the file exists or cannot be written, or the key id cannot stand in it.
pub fn new_key_file(path: &Path, key_id: &str) -> Result<()> {
    let text = MasterKey::generate(key_id).map_err(|error| refused(path, error.to_string()))?;
    let hint = "name another file; bundles made with the old key cannot be matched without it";
    write_new(path, PRIVATE, text.expose().as_bytes(), hint)
}

/// Writes a new signing key to a file that only its owner can read, and its public half to `path` with `.pub` added.
///
/// # Errors
/// [`ErrorKind::Key`] if one of the files exists or cannot be written, or the key id cannot stand in them.
pub fn new_signing_key_file(path: &Path, profile: Profile, key_id: &str) -> Result<(PublicKey, PathBuf)> {
    let text = SigningKey::generate(profile, key_id).map_err(|error| refused(path, error.to_string()))?;
    let key = SigningKey::from_text(text.expose()).map_err(|error| refused(path, error.to_string()))?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    let beside = PathBuf::from(beside);
    let hint = "name another file; what the old key signed cannot be checked without its public key";
    if beside.exists() {
        return Err(exists(&beside, hint));
    }
    write_new(path, PRIVATE, text.expose().as_bytes(), hint)?;
    write_new(&beside, PUBLIC, key.public().text().as_bytes(), hint)?;
    Ok((key.public().clone(), beside))
}

/// Writes a new private key of a recipient to a file that only its owner can read; its public half.
///
/// # Errors
/// [`ErrorKind::Key`] if the file exists or cannot be written, or the key id cannot stand in it.
pub fn new_encryption_key_file(path: &Path, profile: Profile, key_id: &str) -> Result<RecipientKey> {
    let text = Identity::generate(profile, key_id).map_err(|error| refused(path, error.to_string()))?;
    let key = Identity::from_text(text.expose()).map_err(|error| refused(path, error.to_string()))?;
    let hint = "name another file; what was encrypted to the old key cannot be opened without it";
    write_new(path, PRIVATE, text.expose().as_bytes(), hint)?;
    Ok(key.recipient())
}

/// What is wrong with a text that should be the public key of a recipient, and what to do; `None` where it is one.
///
/// # Privacy
/// Sees a private key where somebody put one there, and repeats nothing of it.
pub fn wrong_recipient_key(text: &str) -> Option<(&'static str, &'static str)> {
    const MAKE: &str = "`ieum keys new FILE --key-id NAME --encryption` prints one, and so does stock `age-keygen`";
    if RecipientKey::from_text(text).is_ok() {
        return None;
    }
    let begins = |with: &str| text.trim_start().get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    let is_private =
        ["AGE-SECRET-KEY-", "ieum-encryption-key", "ieum-signing-key", "ieum-key/"].into_iter().any(begins);
    Some(match text {
        _ if is_private || text.contains("PRIVATE KEY") => (
            "is a private key, which nobody but its owner may have",
            "throw that key away, make another, and put its public half here",
        ),
        _ if begins("RW") || begins("untrusted comment:") || text.contains("PUBLIC KEY") => {
            ("is a key that checks signatures, not one to encrypt to", MAKE)
        }
        _ if begins("ssh-") => ("is an SSH key, to which nothing is encrypted here", MAKE),
        _ if begins("age1") || begins("ieum-kr1-") => {
            ("is mistyped or cut off: it has another length, letter or check sum", "copy it again as a whole")
        }
        _ => ("is no public key: one begins with `age1`, or in profile `kr` with `ieum-kr1-`", MAKE),
    })
}

/// Adds the next epoch to a key file; the older ones stay. The file is replaced as a whole or not at all. The new epoch.
///
/// # Errors
/// [`ErrorKind::Key`] as [`key_ring`], if another rotation has begun, or the file cannot be written.
pub fn rotate_key_file(path: &Path) -> Result<KeyRing> {
    let ring = key_ring(path)?;
    let next = ring.next_line().map_err(|error| refused(path, error.to_string()))?;
    let old = Secret::open(path, "")?.text;
    let mut text = Zeroizing::new(String::with_capacity(old.len() + next.expose().len() + 1));
    text.push_str(&old);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(next.expose());
    let mut aside = path.as_os_str().to_owned();
    aside.push(".rotating");
    let aside = PathBuf::from(aside);
    write_new(&aside, PRIVATE, text.as_bytes(), "another rotation is under way; remove this file if it was killed")?;
    let failed = |error: io::Error| refused(path, format!("the key file cannot be replaced: {error}"));
    fs::rename(&aside, path).map_err(failed)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed)?;
    key_ring(path)
}

/// Modes of private and of public files.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

fn exists(path: &Path, hint: &str) -> Error {
    refused(path, "the file exists, and a key is never overwritten".to_owned()).hint(hint)
}

fn write_new(path: &Path, mode: u32, text: &[u8], hint: &str) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path, hint),
        _ => refused(path, format!("the key file cannot be made: {error}")),
    })?;
    let written = file.write_all(text).and_then(|()| file.sync_all());
    written.map_err(|error| refused(path, format!("the key file cannot be written: {error}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_key_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("night.key");
        new_key_file(&path, "night").unwrap();
        assert_eq!((master_key(&path).unwrap().key_id(), mode(&path)), ("night", 0o600));
        assert_eq!(new_key_file(&path, "night").unwrap_err().kind, ErrorKind::Key);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(master_key(&path).unwrap_err().kind, ErrorKind::Key);
    }

    #[test]
    fn a_signing_key_is_private_and_its_public_half_stands_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agency.key");
        let (public, beside) = new_signing_key_file(&path, Profile::Default, "agency").unwrap();
        assert_eq!((mode(&path), mode(&beside)), (0o600, 0o644));
        assert_eq!(public_key(&beside).unwrap(), public);
        assert_eq!(*signing_key(&path).unwrap().public(), public);
        assert!(matches!(key_file(&path).unwrap(), KeyFile::Signing(_)));
        assert!(new_signing_key_file(&path, Profile::Kr, "agency").unwrap_err().told().contains("never overwritten"));
        assert_eq!(public_key(&path).unwrap_err().kind, ErrorKind::Key);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        assert!(signing_key(&path).unwrap_err().told().contains("chmod 600"));
        // A public key is left alone even where its private half is gone.
        fs::remove_file(&path).unwrap();
        assert!(new_signing_key_file(&path, Profile::Kr, "agency").is_err() && !path.exists());
    }

    #[test]
    fn a_recipients_key_is_private_and_known_for_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        for profile in [Profile::Default, Profile::Kr] {
            let path = dir.path().join(profile.name());
            let public = new_encryption_key_file(&path, profile, "semas").unwrap();
            assert_eq!((mode(&path), identity(&path).unwrap().recipient().text()), (0o600, public.text()));
            assert!(matches!(key_file(&path).unwrap(), KeyFile::Encryption(_)));
            assert!(new_encryption_key_file(&path, profile, "semas").unwrap_err().told().contains("never overwritten"));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            assert!(identity(&path).unwrap_err().told().contains("chmod 600"));
        }
    }

    #[test]
    fn what_is_no_public_key_of_a_recipient_is_told_for_what_it_is() {
        let [age, kr] = [Profile::Default, Profile::Kr].map(|profile| Identity::generate(profile, "semas").unwrap());
        for key in [&age, &kr] {
            let public = Identity::from_text(key.expose()).unwrap().recipient().text();
            assert_eq!(wrong_recipient_key(&public), None);
            for cut in 1..public.len() {
                assert!(wrong_recipient_key(&public[..cut]).is_some(), "{cut} characters of it");
            }
            let what = |text: &str| wrong_recipient_key(text).unwrap().0;
            assert!(what(&public[..public.len() - 1]).contains("mistyped or cut off"));
            let mut mistyped = public.clone();
            mistyped.replace_range(20..21, if &public[20..21] == "q" { "p" } else { "q" });
            if public.starts_with("age1") {
                assert!(what(&mistyped).contains("mistyped or cut off"));
            }
            assert!(what(&public.to_uppercase()).contains("mistyped or cut off"));
            let private = key.expose().lines().find(|line| !line.starts_with('#')).unwrap();
            assert!(what(private).contains("is a private key"));
        }
        let signing = [Profile::Default, Profile::Kr].map(|profile| {
            let text = SigningKey::generate(profile, "agency").unwrap();
            SigningKey::from_text(text.expose()).unwrap().public().text()
        });
        for text in signing.iter().flat_map(|text| [text.as_str(), text.lines().last().unwrap()]) {
            assert!(wrong_recipient_key(text).is_some());
        }
        assert!(signing.iter().all(|text| wrong_recipient_key(text).unwrap().0.contains("checks signatures")));
        for (text, what) in
            [("", "no public key"), ("가나다라마바사", "no public key"), ("ssh-ed25519 AAAA", "SSH key")]
        {
            assert!(wrong_recipient_key(text).unwrap().0.contains(what), "{text}");
        }
    }

    #[test]
    fn a_rotation_keeps_the_old_epochs_and_the_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("night.key");
        new_key_file(&path, "night").unwrap();
        let before = fs::read_to_string(&path).unwrap();
        let ring = rotate_key_file(&path).unwrap();
        assert_eq!(ring.epochs().collect::<Vec<_>>(), [1, 2]);
        assert!(fs::read_to_string(&path).unwrap().starts_with(&before));
        assert_eq!((mode(&path), fs::read_dir(dir.path()).unwrap().count()), (0o600, 1));
        assert_eq!(master_key(&path).unwrap().epoch(), 2);
        // One that was killed in the middle is told, and harms nothing.
        fs::write(dir.path().join("night.key.rotating"), "").unwrap();
        assert!(rotate_key_file(&path).unwrap_err().told().contains("another rotation"));
        assert_eq!(master_key(&path).unwrap().epoch(), 2);
    }

    #[test]
    fn no_error_repeats_what_a_key_file_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("night.key");
        let secret = "c0ffee".repeat(11);
        let kr = ["ieum-signing-key-kr/1 a ", "ieum-encryption-key-kr/1 a ", "AGE-SECRET-KEY-1"];
        let lines = ["ieum-key/1 a 1 ", "ieum-key/1 a x ", "ieum-signing-key/1 a ", "ieum-signing-key/1 a b "];
        for line in lines.into_iter().chain(kr) {
            fs::write(&path, format!("{line}{secret}")).unwrap();
            let told = format!("{:?} {}", key_file(&path).unwrap_err(), key_file(&path).unwrap_err().told());
            assert!(!told.contains("c0ffee"), "{told}");
        }
    }
}
