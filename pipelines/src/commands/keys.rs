//! `ieum keys`: makes, tells and rotates keys.

use std::path::Path;

use ieum_model::error::Result;
use ieum_privacy::{NOT_VALIDATED, Profile};
use serde_json::{Value, json};

use super::DONE;
use crate::cli::KeysCommand;
use crate::load::{self, KeyFile};
use crate::screen::Screen;

/// Does what the verb says.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Key`] if a file is missing or malformed, exists already, or cannot be written.
pub fn keys(command: &KeysCommand, screen: &Screen) -> Result<u8> {
    let (text, value) = match command {
        KeysCommand::Rekey(args) => return super::rekey::rekey(args, screen),
        KeysCommand::New { file, key_id, signing: true, profile, .. } => new_signing(file, (*profile).into(), key_id)?,
        KeysCommand::New { file, key_id, encryption: true, profile, .. } => {
            new_encryption(file, (*profile).into(), key_id)?
        }
        KeysCommand::New { file, key_id, profile, .. } => {
            load::new_key_file(file, key_id)?;
            let text = format!("made {} with key id {key_id}\n{}", file.display(), caveat((*profile).into()));
            (text, json!({ "file": file, "key_id": key_id }))
        }
        KeysCommand::List { files } => {
            let listed = files.iter().map(|file| list(file)).collect::<Result<Vec<_>>>()?;
            let (texts, values): (Vec<String>, Vec<Value>) = listed.into_iter().unzip();
            (texts.join("\n"), Value::Array(values))
        }
        KeysCommand::Rotate { file } => {
            let ring = load::rotate_key_file(file)?;
            let (key_id, epoch) = (ring.key_id(), ring.newest().epoch());
            let text = format!("{}: key {key_id} is at epoch {epoch} from now on", file.display());
            (text, json!({ "file": file, "key_id": key_id, "epoch": epoch }))
        }
    };
    screen.result(&text, &value);
    Ok(DONE)
}

fn new_signing(file: &Path, profile: Profile, key_id: &str) -> Result<(String, Value)> {
    let (public, beside) = load::new_signing_key_file(file, profile, key_id)?;
    let made = format!("made {} and {} with key id {key_id}", file.display(), beside.display());
    let text = format!("{made}\n{}{}", public.text(), caveat(profile));
    let value = json!({
        "file": file, "public_file": beside, "key_id": key_id, "profile": profile.name(), "public_key": public.text()
    });
    Ok((text, value))
}

fn new_encryption(file: &Path, profile: Profile, key_id: &str) -> Result<(String, Value)> {
    let public = load::new_encryption_key_file(file, profile, key_id)?.text();
    let told = "for `encryption_key` of the recipient in the agency's recipients.toml";
    let text = format!("made {} with key id {key_id}; {told}:\n{public}\n{}", file.display(), caveat(profile));
    Ok((text, json!({ "file": file, "key_id": key_id, "profile": profile.name(), "public_key": public })))
}

/// What is said of the profile `kr` whenever a key of it is made.
fn caveat(profile: Profile) -> String {
    match profile {
        Profile::Default => String::new(),
        Profile::Kr => format!("note: {NOT_VALIDATED}\n"),
    }
}

fn list(file: &Path) -> Result<(String, Value)> {
    let shown = file.display();
    Ok(match load::key_file(file)? {
        KeyFile::Master(ring) => {
            let (key_id, newest) = (ring.key_id(), ring.newest().epoch());
            let epochs: Vec<u32> = ring.epochs().collect();
            let older: Vec<String> = epochs.iter().rev().skip(1).rev().map(u32::to_string).collect();
            let older = if older.is_empty() { "none".to_owned() } else { older.join(", ") };
            let text = format!("{shown}  master key {key_id}  epoch {newest}  older epochs {older}");
            (text, json!({ "file": file, "kind": "master", "key_id": key_id, "epoch": newest, "epochs": epochs }))
        }
        KeyFile::Encryption(key) => {
            let public = key.recipient();
            let (profile, public) = (public.profile().name(), public.text());
            let text = format!("{shown}  encryption key  profile {profile}\n{public}");
            (text, json!({ "file": file, "kind": "encryption", "profile": profile, "public_key": public }))
        }
        KeyFile::Signing(key) => {
            let public = key.public();
            let text =
                format!("{shown}  signing key {}  number {}\n{}", public.key_id(), public.number(), public.text());
            let (key_id, number) = (public.key_id(), public.number());
            (
                text.trim_end().to_owned(),
                json!({ "file": file, "kind": "signing", "key_id": key_id, "number": number, "public_key": public.text() }),
            )
        }
    })
}
