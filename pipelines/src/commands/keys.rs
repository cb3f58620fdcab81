//! `ieum keys`: makes key files.

use ieum_model::error::Result;
use serde_json::json;

use super::DONE;
use crate::cli::KeysCommand;
use crate::load::new_key_file;
use crate::screen::Screen;

/// Does what the verb says.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Key`] if the file exists or cannot be written.
pub fn keys(command: &KeysCommand, screen: &Screen) -> Result<u8> {
    match command {
        KeysCommand::New { file, key_id } => {
            new_key_file(file, key_id)?;
            let text = format!("made {} with key id {key_id}", file.display());
            screen.result(&text, &json!({ "file": file, "key_id": key_id }));
            Ok(DONE)
        }
    }
}
