//! `ieum keys rekey`: a file of old and new pseudonyms for one recipient.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use ieum_core::rekey::Renamed;
use ieum_model::error::{Error, ErrorKind, Result, nearest};
use ieum_privacy::KeyRing;
use parquet::arrow::ArrowWriter;
use serde_json::json;

use super::{DONE, definition, tell_warnings};
use crate::cli::RekeyArgs;
use crate::load::{ControlTotals, key_ring, night};
use crate::screen::{Screen, grouped};

/// Writes the pairs of pseudonyms of the subjects that a night's requests name to the recipient.
///
/// # Errors
/// [`ErrorKind::Key`] for an epoch that the key file lacks; [`ErrorKind::Config`] for an unknown recipient or a file that
/// exists; whatever stops a night.
pub fn rekey(args: &RekeyArgs, screen: &Screen) -> Result<u8> {
    let is_parquet = is_parquet(&args.out)?;
    let (definition, as_of) = definition(&args.file, args.date)?;
    let ring = key_ring(&definition.keys)?;
    let loaded = night(&definition, as_of, ControlTotals::WhileReading)?;
    tell_warnings(&loaded, screen);
    known(&loaded.night.catalog, &args.recipient)?;
    let old = older(&ring, args.from).map_err(|error| error.at("key file", definition.keys.display()))?;
    let mut aside = args.out.as_os_str().to_owned();
    aside.push(".aside");
    let mut file = create(&args.out)?;
    let pairs = screen
        .busy("mapping pseudonyms", || ieum_core::rekey::rekey(&loaded.night, old, &args.recipient, Path::new(&aside)));
    let written = pairs.and_then(|pairs| {
        let text = if is_parquet { parquet(&pairs)? } else { csv(&pairs) };
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(|error| unwritten(&args.out, &error))?;
        Ok(pairs.len() as u64)
    });
    let pairs = written.inspect_err(|_| _ = fs::remove_file(&args.out))?;
    let (key_id, to) = (ring.key_id(), ring.newest().epoch());
    let text = format!(
        "wrote {} pairs of {} to {}: key {key_id}, epoch {} to {to}",
        grouped(pairs),
        args.recipient,
        args.out.display(),
        args.from
    );
    let value = json!({
        "file": args.out, "recipient": args.recipient, "key_id": key_id, "from": args.from, "to": to, "pairs": pairs
    });
    screen.result(&text, &value);
    Ok(DONE)
}

fn is_parquet(path: &Path) -> Result<bool> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("parquet") => Ok(true),
        Some("csv") => Ok(false),
        _ => Err(Error::config("the name of the file ends neither in .csv nor in .parquet").at("file", path.display())),
    }
}

fn known(catalog: &ieum_model::catalog::Catalog, recipient: &str) -> Result<()> {
    if catalog.recipients.contains_key(recipient) {
        return Ok(());
    }
    let error = Error::config(format!("the catalog has no recipient `{recipient}`"));
    Err(match nearest(recipient, catalog.recipients.keys().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error,
    })
}

fn older(ring: &KeyRing, epoch: u32) -> Result<&ieum_privacy::MasterKey> {
    let newest = ring.newest().epoch();
    match ring.epoch(epoch) {
        Some(_) if epoch == newest => {
            Err(Error::new(ErrorKind::Key, format!("epoch {epoch} is the newest: there is nothing to map it to"))
                .hint("`ieum keys rotate` adds an epoch"))
        }
        Some(key) => Ok(key),
        None => {
            let epochs: Vec<String> = ring.epochs().map(|epoch| epoch.to_string()).collect();
            Err(Error::new(ErrorKind::Key, format!("the key file has no epoch {epoch}"))
                .hint(format!("it has {}", epochs.join(", "))))
        }
    }
}

fn create(path: &Path) -> Result<File> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::config("the file exists, and is not written over").at("file", path.display())
        }
        _ => unwritten(path, &error),
    })
}

fn unwritten(path: &Path, error: &io::Error) -> Error {
    Error::new(ErrorKind::Temporary, format!("the file cannot be written: {error}")).at("file", path.display())
}

fn csv(pairs: &[Renamed]) -> Vec<u8> {
    let rows = pairs.iter().flat_map(|(old, new)| [old.as_str(), ",", new, "\n"]);
    ["old,new\n"].into_iter().chain(rows).collect::<String>().into_bytes()
}

fn parquet(pairs: &[Renamed]) -> Result<Vec<u8>> {
    let failed = |error: &dyn std::fmt::Display| Error::internal(error.to_string());
    let text = |name| Field::new(name, DataType::Utf8, false);
    let schema = Arc::new(Schema::new(vec![text("old"), text("new")]));
    let old: StringArray = pairs.iter().map(|(old, _)| Some(old)).collect();
    let new: StringArray = pairs.iter().map(|(_, new)| Some(new)).collect();
    let batch =
        RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(old), Arc::new(new)]).map_err(|e| failed(&e))?;
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).map_err(|e| failed(&e))?;
    writer.write(&batch).map_err(|e| failed(&e))?;
    writer.into_inner().map_err(|e| failed(&e))
}
