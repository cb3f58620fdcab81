//! The head of a run's tree: what is signed.

use ieum_model::error::{Error, ErrorKind, Result};
use ieum_privacy::{KeyError, PublicKey, SIGNATURE_ENDINGS, SignatureFile, SigningKey};
use serde::{Deserialize, Serialize};

use super::receipt::refused;
use crate::manifest::hex;

/// File of the signed head, below the output folder.
pub const SEAL: &str = "seal.json";
/// Whether a path is that of its signature, as minisign writes it, or of ECDSA in DER.
pub(super) fn is_signature(path: &str) -> bool {
    path.strip_prefix(SEAL).is_some_and(|ending| SIGNATURE_ENDINGS.contains(&ending))
}

/// Format of the head.
const FORMAT: &str = "ieum-seal/1";

/// What a run's key signs: the run, what it was made from, and the root over its bundles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeHead {
    /// Format: `ieum-seal/1`.
    pub seal: String,
    /// The run.
    pub run_id: String,
    /// The declared date, ISO.
    pub as_of: String,
    /// SHA-256 of the catalog.
    pub catalog_digest: String,
    /// SHA-256 of the request files.
    pub requests_digest: String,
    /// Key that made the pseudonyms.
    pub key_id: String,
    /// Its epoch.
    pub key_epoch: u32,
    /// Bundles of the run.
    pub bundles: u64,
    /// Requests that were refused as a whole.
    pub refused: u64,
    /// Files of receipts: leaves of the run's tree.
    pub tree_size: u64,
    /// Root over them (RFC 9162, section 2.1), lower-case hexadecimal.
    pub root: String,
    /// Name of the key that signed.
    pub signing_key: String,
    /// Its number: the beginning of the public key's SHA-256, eight bytes from the last, as minisign tells it.
    pub public_key: String,
}

impl TreeHead {
    /// Names format and key.
    pub(super) fn by(self, key: &PublicKey) -> Self {
        Self { seal: FORMAT.into(), signing_key: key.key_id().into(), public_key: key.number(), ..self }
    }

    /// The bytes that are signed, and that stand in [`SEAL`]: one line of JSON.
    ///
    /// # Errors
    /// Never in practice; our bug otherwise.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self).map_err(|error| Error::internal(error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The signature in hexadecimal, and the file of it.
    ///
    /// # Errors
    /// [`ErrorKind::Key`] when the cryptographic module refuses.
    pub(super) fn sign(&self, key: &SigningKey) -> Result<(String, SignatureFile)> {
        let unsigned = |error: KeyError| Error::new(ErrorKind::Key, format!("the output cannot be signed: {error}"));
        let signature = key.sign(&self.encode()?).map_err(unsigned)?;
        let comment = format!("ieum run {} of {}, {} bundles", self.run_id, self.as_of, self.bundles);
        Ok((hex(&signature), key.signature_file(&signature, &comment).map_err(unsigned)?))
    }

    /// Whether this key signed the head.
    ///
    /// # Errors
    /// [`ieum_model::error::ErrorKind::Integrity`] if another did, the head has an unknown format, or the signature does
    /// not hold.
    pub fn is_signed(&self, signature: &str, public: &PublicKey) -> Result<()> {
        if self.seal != FORMAT {
            return Err(refused("the head has a format that this version does not know"));
        }
        if self.public_key != public.number() {
            return Err(refused("the head names another public key than the one given")
                .at("named", &self.public_key)
                .at("given", public.number()));
        }
        match unhex(signature) {
            Some(signature) if public.has_signed(&self.encode()?, &signature) => Ok(()),
            _ => Err(refused("the signature of the head does not hold: one of them was changed")),
        }
    }
}

/// The bytes of lower-case hexadecimal of exactly their length.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
