//! encrypt: bundles into envelopes that only their recipient can open (see [`ieum_privacy::envelope`]).
//!
//! ```text
//!  bundles/per_request/semas/R1.json.age      packed/semas/fund.ndjson.age
//!  bundles/per_request/semas/R1.tar.age       the folder of a request
//!  manifest: {"path": "….json.age", "bytes", "sha256", "plain": {"bytes", "sha256"}}
//! ```
//!
//! - The manifest lists an encrypted file by the bytes that stand there, and beside them by those of its plain text.
//!   `run_digest` covers both. What an envelope usually draws at random is derived from the agency's key and the plain text, so
//!   the same inputs, catalog, keys and date give the same encrypted bytes, and the same `run_digest`.
//! - Receipts state the plain text: whoever opened a bundle verifies it as one that was never encrypted.
//! - A folder is archived ([`crate::bundle::tar`]) and encrypted as one file: names, sizes and sums of what stands in it would
//!   tell what the bundle holds. Of such a file the manifest states the archive and the bundle in it, which the receipt is of.
//! - `ieum verify OUT` needs no private key: it holds the encrypted bytes against the manifest, the receipts against the plain
//!   text's digest in it (of a packed file the receipts' bytes against its index), and the lengths of both against each
//!   other. That the envelope holds what the manifest says, its recipient alone can see.
//! - A run that goes on makes encrypted files again and compares what stands, as it does with all files. A packed file waits
//!   for its end in the stage, in plain, beside the gathered rows, which are as personal: what an envelope draws depends on the
//!   whole text. It is removed when the encrypted one stands.
//! - Indexes of packed files and receipts are not encrypted: they hold request ids, pseudonyms and answers, no item. Whoever has
//!   the manifest or a receipt can test a guess of a whole bundle by its digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ieum_model::catalog::Catalog;
use ieum_model::check::CheckedNight;
use ieum_model::error::{Error, ErrorKind, Result};
use ieum_privacy::envelope::{self, Draw};
use ieum_privacy::{EnvelopeError, EnvelopeKey, MasterKey, Module, Profile, RecipientKey};

use crate::bundle_files::ARCHIVE;
use crate::manifest::{Manifest, PlainText};

/// Recipients that a refusal names; the rest is only counted.
const TOLD_RECIPIENTS: usize = 10;

/// To whom a night's bundles are encrypted.
pub struct Encryption {
    profile: Profile,
    key: EnvelopeKey,
    recipients: BTreeMap<String, RecipientKey>,
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryption").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// The module's refusal, in the words of the workspace.
pub(crate) fn failed(error: EnvelopeError) -> Error {
    Error::new(ErrorKind::Key, format!("a bundle cannot be encrypted: {error}"))
}

impl Encryption {
    /// For every recipient of a request that is not refused as a whole.
    ///
    /// # Errors
    /// [`ErrorKind::Key`] that names the recipients without a public key in the catalog, or with one of another profile.
    pub fn of(catalog: &Catalog, checked: &CheckedNight, master: &MasterKey, profile: Profile) -> Result<Self> {
        Self::with_module(catalog, checked, master, profile, &Module::default())
    }

    /// As [`Encryption::of`]; profile `kr` computes with a module.
    ///
    /// # Errors
    /// As [`Encryption::of`].
    pub fn with_module(
        catalog: &Catalog,
        checked: &CheckedNight,
        master: &MasterKey,
        profile: Profile,
        module: &Module,
    ) -> Result<Self> {
        let delivered = checked.requests.iter().filter(|request| request.refusal.is_none());
        let named: BTreeSet<&str> = delivered.map(|request| &*request.recipient).collect();
        let (mut recipients, mut without, mut unfit) = (BTreeMap::new(), Vec::new(), Vec::new());
        for code in named {
            let text = catalog.recipients.get(code).and_then(|recipient| recipient.encryption_key.as_deref());
            match text.map(|text| RecipientKey::with_module(text, module)) {
                None => without.push(code),
                Some(Ok(key)) if key.profile() == profile => drop(recipients.insert(code.to_owned(), key)),
                Some(_) => unfit.push(code),
            }
        }
        let told = |error: Error, codes: &[&str]| {
            let more = codes.len().saturating_sub(TOLD_RECIPIENTS);
            let error = codes.iter().take(TOLD_RECIPIENTS).fold(error, |error, code| error.at("recipient", code));
            if more > 0 { error.at("more", more) } else { error }
        };
        let hint = "`ieum keys new FILE --key-id NAME --encryption` makes one; its public half stands as `encryption_key` in \
                    `recipients.toml`";
        if !without.is_empty() {
            let what = "bundles are to be encrypted, and recipients of this night have no public key in the catalog";
            return Err(told(Error::new(ErrorKind::Key, what), &without).hint(hint));
        }
        if !unfit.is_empty() {
            let what = format!("the public key of a recipient is not one of profile `{}`", profile.name());
            return Err(told(Error::new(ErrorKind::Key, what), &unfit).hint(hint));
        }
        Ok(Self { profile, key: master.envelopes(), recipients })
    }

    /// Its profile.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// What the names of encrypted files end with.
    pub(crate) fn ending(&self) -> &'static str {
        envelope::ending(self.profile)
    }

    /// The key of a recipient of the night.
    pub(crate) fn to(&self, recipient: &str) -> Result<&RecipientKey> {
        self.recipients.get(recipient).ok_or_else(|| Error::internal("a bundle for a recipient without a key"))
    }

    /// What an envelope draws from a text that is still to come.
    pub(crate) fn draw(&self, recipient: &str) -> Result<Draw> {
        Ok(self.key.draw(self.to(recipient)?))
    }

    /// The envelope of a whole text, and what the manifest says of the text.
    pub(crate) fn seal(&self, recipient: &str, plain: &[u8]) -> Result<(Vec<u8>, PlainText)> {
        let sealed = self.key.seal(self.to(recipient)?, plain).map_err(failed)?;
        Ok((sealed, PlainText::of(plain)))
    }
}

/// A path without what encryption adds to it, and the profile that added it.
pub(crate) fn without_ending(path: &str) -> (&str, Option<Profile>) {
    let profiles = [Profile::Default, Profile::Kr];
    let stripped = profiles.into_iter().find_map(|profile| {
        let plain = path.strip_suffix(envelope::ending(profile))?;
        Some((plain, Some(profile)))
    });
    stripped.unwrap_or((path, None))
}

/// A bundle file that the manifest says otherwise of than its length does: which, and what.
pub(crate) fn disagreement(manifest: &Manifest) -> Option<(&str, &'static str)> {
    manifest.files.iter().find_map(|file| {
        let is_bundle = file.path.starts_with("bundles/");
        let what = match (&file.plain, without_ending(&file.path).1.filter(|_| is_bundle)) {
            (None, None) => return None,
            (Some(_), None) => "the manifest tells of a plain text, and the file is not encrypted",
            (None, Some(_)) => "the manifest does not tell of the plain text of an encrypted file",
            (Some(plain), Some(profile)) => {
                if envelope::plain_bytes(profile, file.bytes) != Some(plain.bytes) {
                    "the length of the encrypted file is not that of its plain text"
                } else if plain.bundle.is_some() != without_ending(&file.path).0.ends_with(ARCHIVE) {
                    "the manifest states a bundle in a file that is no archive, or none in one that is"
                } else if plain.bundle.as_ref().is_some_and(|bundle| bundle.bytes >= plain.bytes) {
                    "the archive is shorter than the bundle in it"
                } else {
                    return None;
                }
            }
        };
        Some((&*file.path, what))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_encryption_adds_to_a_name_is_taken_off() {
        assert_eq!(without_ending("bundles/a/r1.json.age"), ("bundles/a/r1.json", Some(Profile::Default)));
        assert_eq!(without_ending("bundles/a/f.parquet.aria"), ("bundles/a/f.parquet", Some(Profile::Kr)));
        assert_eq!(without_ending("bundles/a/r1.json"), ("bundles/a/r1.json", None));
    }
}
