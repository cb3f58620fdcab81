//! The key of the profile `kr`: ECDSA P-256 with SHA-256, computed by a [`KrModule`](crate::KrModule).
//!
//! ```text
//! ieum-signing-key-kr/1 <key_id> <64 hexadecimal digits>    private: the number, big-endian
//!
//! ieum public key <key_id> <key number>                     public: a line that openssl passes over,
//! -----BEGIN PUBLIC KEY-----                                and SubjectPublicKeyInfo (RFC 5480)
//! ```
//!
//! A signature file is `Ecdsa-Sig-Value` in DER (RFC 3279, section 2.2.3): `openssl dgst -sha256 -verify KEY.pub -signature
//! seal.json.sig seal.json`. Of the two numbers that sign the same, `s` and its negative, the smaller one is made and
//! accepted: a signature has one spelling.

use p256::ecdsa::{DerSignature, Signature};
use p256::pkcs8::{DecodePublicKey, EncodePublicKey, LineEnding};

use super::{KeyError, SecretKey};
use crate::module::{Module, POINT_LEN, uncompressed};

/// First word of the line of a signing key.
pub(super) const FORMAT: &str = "ieum-signing-key-kr/1";
/// What stands before the key id in the first line of a public key file.
pub(super) const COMMENT: &str = "ieum public key ";
/// How the rest of it begins.
const PEM: &str = "-----BEGIN PUBLIC KEY-----\n";

/// Of two signatures that are equally valid, the one with the smaller `s`.
fn normal(signature: &[u8; 64]) -> Option<[u8; 64]> {
    Some(Signature::from_slice(signature).ok()?.normalize_s().to_bytes().into())
}

/// The signature in DER.
pub(super) fn der(signature: &[u8; 64]) -> Option<Vec<u8>> {
    Some(Signature::from_slice(signature).ok()?.to_der().as_bytes().to_vec())
}

/// The signature that stands in DER.
pub(super) fn from_der(file: &[u8]) -> Option<[u8; 64]> {
    let signature: Signature = DerSignature::from_bytes(file).ok()?.try_into().ok()?;
    (signature.to_der().as_bytes() == file).then(|| signature.to_bytes().into())
}

/// The private key.
pub(super) struct Private {
    secret: SecretKey,
    public: Public,
}

impl Private {
    pub(super) fn new(secret: SecretKey, module: &Module) -> Result<Self, KeyError> {
        let point = module.public_point(&secret).map_err(|_| KeyError::Module)?;
        Ok(Self { secret, public: Public { point, module: module.clone() } })
    }

    pub(super) const fn public(&self) -> &Public {
        &self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        let signature = self.public.module.sign(&self.secret, message).map_err(|_| KeyError::Module)?;
        normal(&signature).ok_or(KeyError::Module)
    }
}

/// The public key, and the module that checks with it.
#[derive(Debug, Clone)]
pub(super) struct Public {
    point: [u8; POINT_LEN],
    module: Module,
}

impl PartialEq for Public {
    fn eq(&self, other: &Self) -> bool {
        self.point == other.point
    }
}

impl Eq for Public {}

impl Public {
    /// The first line, or nothing, and the key.
    pub(super) fn from_text<'a>(text: &'a str, module: &Module) -> Option<(&'a str, Self)> {
        let at = text.find(PEM)?;
        let comment = text[..at].trim_end();
        let point = uncompressed(&p256::PublicKey::from_public_key_pem(&text[at..]).ok()?)?;
        let key = Self { point, module: module.clone() };
        (!comment.contains('\n') && key.pem() == text[at..]).then_some((comment, key))
    }

    pub(super) const fn point(&self) -> &[u8; POINT_LEN] {
        &self.point
    }

    pub(super) fn pem(&self) -> String {
        let key = p256::PublicKey::from_sec1_bytes(&self.point).ok();
        key.and_then(|key| key.to_public_key_pem(LineEnding::LF).ok()).unwrap_or_default()
    }

    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        normal(signature).as_ref() == Some(signature) && self.module.has_signed(&self.point, message, signature)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use zeroize::Zeroizing;

    use super::*;
    use crate::keys::{PublicKey, SigningKey, signature_in};
    use crate::module::{KrModule, Listed, ModuleError, Profile};
    use crate::testing::bytes;

    const TEXT: &str = "ieum-signing-key-kr/1 agency c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";

    #[test]
    fn of_the_two_signatures_of_rfc_6979_appendix_a_2_5_the_smaller_one_is_made_and_accepted() {
        let key = SigningKey::from_text(TEXT).unwrap();
        assert_eq!(key.public().profile(), Profile::Kr);
        let signature = key.sign(b"sample").unwrap();
        let r = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716";
        let larger = bytes(&format!("{r}f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"));
        assert_eq!(signature[..32], larger[..32]);
        assert_ne!(signature[32..], larger[32..]);
        assert!(key.public().has_signed(b"sample", &signature));
        assert!(!key.public().has_signed(b"sample", &larger.try_into().unwrap()));
        assert!(!key.public().has_signed(b"samples", &signature));
        let small = "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367\
                     019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083";
        assert_eq!(key.sign(b"test").unwrap()[..], bytes(small));
    }

    #[test]
    fn a_public_key_and_a_signature_are_read_back_in_their_one_spelling() {
        let key = SigningKey::from_text(TEXT).unwrap();
        let text = key.public().text();
        assert!(text.starts_with("ieum public key agency "), "{text}");
        assert_eq!(PublicKey::from_text(&text).unwrap(), *key.public());
        let bare = &text[text.find("-----").unwrap()..];
        assert_eq!(PublicKey::from_text(bare).unwrap().number(), key.public().number());
        for at in text.find('\n').unwrap() + PEM.len() + 1..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert!(PublicKey::from_text(str::from_utf8(&other).unwrap()).is_err(), "{at}");
        }
        let signature = key.sign(b"what was delivered").unwrap();
        let file = key.signature_file(&signature, "passed over").unwrap();
        assert_eq!((file.ending, signature_in(&file.bytes)), (".sig", Some(signature)));
        assert!(key.public().has_signed_comment(&file.bytes));
        assert_eq!(signature_in(&[&file.bytes[..], b"x"].concat()), None);
        assert!(!format!("{key:?}").to_lowercase().contains("c9afa9"));
    }

    /// Counts what it is asked for; computes as [`Listed`].
    #[derive(Default)]
    struct Counting(Arc<AtomicU32>);

    impl Counting {
        fn asked(&self) -> &Listed {
            self.0.fetch_add(1, Ordering::Relaxed);
            &Listed
        }
    }

    impl KrModule for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }
        fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> Result<[u8; 32], ModuleError> {
            self.asked().hmac_sha256(key, parts)
        }
        fn public_point(&self, secret: &SecretKey) -> Result<[u8; POINT_LEN], ModuleError> {
            self.asked().public_point(secret)
        }
        fn sign(&self, secret: &SecretKey, message: &[u8]) -> Result<[u8; 64], ModuleError> {
            self.asked().sign(secret, message)
        }
        fn has_signed(&self, public: &[u8; POINT_LEN], message: &[u8], signature: &[u8; 64]) -> bool {
            self.asked().has_signed(public, message, signature)
        }
        fn agree(&self, secret: &SecretKey, public: &[u8; POINT_LEN]) -> Result<Zeroizing<[u8; 32]>, ModuleError> {
            self.asked().agree(secret, public)
        }
        fn encrypt(
            &self,
            key: &[u8; 32],
            nonce: &[u8; 12],
            about: &[u8],
            text: &mut Vec<u8>,
        ) -> Result<(), ModuleError> {
            self.asked().encrypt(key, nonce, about, text)
        }
        fn decrypt(
            &self,
            key: &[u8; 32],
            nonce: &[u8; 12],
            about: &[u8],
            text: &mut Vec<u8>,
        ) -> Result<(), ModuleError> {
            self.asked().decrypt(key, nonce, about, text)
        }
    }

    #[test]
    fn another_module_computes_everything_of_the_profile() {
        let count = Arc::new(AtomicU32::new(0));
        let module = Module::new(Counting(Arc::clone(&count)));
        let asked = || count.swap(0, Ordering::Relaxed);
        let key = SigningKey::with_module(TEXT, &module).unwrap();
        assert_eq!(asked(), 1);
        let signature = key.sign(b"sample").unwrap();
        assert!(key.public().has_signed(b"sample", &signature));
        assert_eq!(asked(), 2);
        let text = crate::Identity::generate(Profile::Kr, "semas").unwrap();
        let mine = crate::Identity::with_module(text.expose(), &module).unwrap();
        assert_eq!(asked(), 1);
        let to = crate::RecipientKey::with_module(&mine.recipient().text(), &module).unwrap();
        let sealed = crate::EnvelopeKey::new(&[7; 32]).seal(&to, b"text").unwrap();
        // A point, an agreement, extract and expand, a piece.
        assert_eq!(asked(), 5);
        assert_eq!(mine.open(&sealed).unwrap(), b"text");
        assert_eq!(asked(), 4);
    }
}
