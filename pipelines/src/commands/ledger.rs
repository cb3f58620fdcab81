//! `ieum ledger`: who received what of whom, and whether nobody changed the record of it.

use std::io::Read;

use ieum_core::ledger::{self, Found, Query, Subject};
use ieum_model::error::{Error, Result};
use ieum_privacy::MasterKey;
use serde_json::json;

use super::{DONE, today};
use crate::cli::{LedgerCommand, LedgerPruneArgs, LedgerVerifyArgs, LedgerWhoArgs};
use crate::load::{is_well_formed, key_ring};
use crate::screen::{Screen, grouped, table};

/// Does what the verb says.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Integrity`] where the ledger is not whole, [`ieum_model::error::ErrorKind::Key`] for a key
/// file that is not the runs'.
pub fn ledger(command: &LedgerCommand, screen: &Screen) -> Result<u8> {
    match command {
        LedgerCommand::Who(args) => who(args, screen),
        LedgerCommand::Verify(args) => verify(args, screen),
        LedgerCommand::Prune(args) => prune(args, screen),
    }
}

fn who(args: &LedgerWhoArgs, screen: &Screen) -> Result<u8> {
    let subject = args.subject.as_deref().map(subject).transpose()?;
    if let Some(doubt) = subject.as_ref().and_then(doubt) {
        screen.warning(&doubt);
    }
    let query = Query { subject, recipient: args.recipient.clone(), from: args.from, to: args.to };
    let ring = key_ring(&args.key)?;
    let keys: Vec<&MasterKey> = ring.epochs().filter_map(|epoch| ring.epoch(epoch)).collect();
    let mut found: Vec<Found> = Vec::new();
    let gone = screen.busy("searching the ledger", || {
        ledger::who(&args.out, &keys, &query, &mut |line| {
            found.push(line);
            Ok(())
        })
    })?;
    let mut lines: Vec<String> = found.iter().map(told).collect();
    lines.push(format!("{} lines", grouped(found.len() as u64)));
    if gone > 0 {
        lines.push(format!("{} runs are past their retention: their entries are gone", grouped(gone)));
    }
    screen.result(&lines.join("\n"), &json!({ "found": found, "runs_gone": gone }));
    Ok(DONE)
}

fn told(line: &Found) -> String {
    let service = line.service.as_deref().unwrap_or("-");
    let dataset = line.dataset.as_deref().unwrap_or("-");
    let reason = line.reason.as_deref().map(|reason| format!(" {reason}")).unwrap_or_default();
    let what = format!("{} {dataset}({})", line.recipient, line.items.join(","));
    let outcome = format!("{}{reason}, {} records", line.outcome, line.records);
    format!("{}  {}  {service}  {what}: {outcome}; {}; {}", line.as_of, line.request_id, line.purpose, line.legal_basis)
}

/// `KIND:VALUE`; of standard input for `-`.
fn subject(argument: &str) -> Result<Subject> {
    let mut text = argument.to_owned();
    if argument == "-" {
        text.clear();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|error| Error::config(format!("standard input cannot be read: {error}")))?;
    }
    let (kind, value) = text.trim().split_once(':').ok_or_else(|| {
        Error::config("the subject is not KIND:VALUE")
            .hint("name the kind of identifier first, such as brno:1234567890")
    })?;
    Ok(Subject { kind: kind.to_owned(), value: value.to_owned() })
}

/// Why a search may find nothing though something was delivered: a slip in the identifier. Without its value.
fn doubt(Subject { kind, value }: &Subject) -> Option<String> {
    match is_well_formed(kind, value) {
        Some(true) => None,
        Some(false) => Some(format!(
            "the subject does not have the form or the check digit of `{kind}`: only requests that spelled it so are found"
        )),
        // Not repeated: whoever confuses the two sides of the colon has written the identifier there.
        None => {
            Some("the subject's kind of identifier is not known: only requests that named it so are found".to_owned())
        }
    }
}

fn verify(args: &LedgerVerifyArgs, screen: &Screen) -> Result<u8> {
    let ring = args.key.as_deref().map(key_ring).transpose()?;
    let keys: Vec<&MasterKey> =
        ring.iter().flat_map(|ring| ring.epochs().filter_map(|epoch| ring.epoch(epoch))).collect();
    let report = screen.busy("verifying the ledger", || ledger::verify(&args.out, &keys, args.head.as_deref()))?;
    let rows = [
        ("verified", args.out.display().to_string()),
        ("runs", grouped(report.runs)),
        ("  authenticated", grouped(report.authenticated)),
        ("  past retention", grouped(report.expired)),
        ("requests", grouped(report.requests)),
        ("head", report.head.clone()),
    ];
    screen.result(&table(&rows), &report);
    Ok(DONE)
}

fn prune(args: &LedgerPruneArgs, screen: &Screen) -> Result<u8> {
    let removed = ledger::prune(&args.out, args.before, today())?;
    let text = format!("removed the entries of {} runs; their links stay", grouped(removed));
    screen.result(&text, &json!({ "removed": removed }));
    Ok(DONE)
}
