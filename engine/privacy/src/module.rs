//! The profiles, and the cryptographic module behind the Korean one.
//!
//! | profile | signature | encryption | pseudonyms, derived keys |
//! |---|---|---|---|
//! | `default` | Ed25519 (RFC 8032) | age, X25519 | HMAC-SHA-256, HKDF |
//! | `kr` | ECDSA P-256 with SHA-256 (FIPS 186-5) | ECDH P-256, ARIA-256-GCM (RFC 5794, RFC 8269) | HMAC-SHA-256, HKDF |
//!
//! The algorithms of `kr` are among those that the Korean Cryptographic Module Validation Program (KCMVP) lists. [`Listed`],
//! which computes them, is no validated module: an agency that must use one implements [`KrModule`] over it and hands it
//! to [`crate::SigningKey::with_module`], [`crate::RecipientKey::with_module`] (a night's `Encryption::with_module` does) and
//! [`crate::Identity::with_module`].

use std::fmt;
use std::sync::Arc;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{AesGcm, Nonce};
use aria::Aria256;
use aria::cipher::consts::U12;
use hmac::{Hmac, Mac};
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::keys::SecretKey;

/// What must be said wherever somebody chooses the profile `kr`.
pub const NOT_VALIDATED: &str =
    "the algorithms of profile kr are KCMVP-listed; this program is not a validated cryptographic module";

/// Which algorithms sign and encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Ed25519 and age.
    #[default]
    Default,
    /// ECDSA P-256 and ARIA.
    Kr,
}

impl Profile {
    /// Its name in run definitions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Kr => "kr",
        }
    }
}

/// Bytes of a point of P-256, uncompressed (SEC 1, section 2.3.3).
pub const POINT_LEN: usize = 65;

/// A module that could not do what it was asked to: a secret or a point that is none, a tag that does not hold, a module
/// that is not ready. It says no more, because more could tell of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleError;

/// What a cryptographic module computes for the profile `kr`; a validated one can be put in the place of [`Listed`].
///
/// A secret is 32 bytes: the number of a private key, big-endian; for a module that keeps its keys to itself, what it
/// knows one by.
pub trait KrModule: Send + Sync {
    /// Its name and version.
    fn name(&self) -> &str;

    /// HMAC-SHA-256 (FIPS 198-1) of the parts, one after the other.
    ///
    /// # Errors
    /// When the module refuses.
    fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> Result<[u8; 32], ModuleError>;

    /// The public point of a secret.
    ///
    /// # Errors
    /// For a secret that is 0 or not below the group's order.
    fn public_point(&self, secret: &SecretKey) -> Result<[u8; POINT_LEN], ModuleError>;

    /// ECDSA with SHA-256: `r` and `s`, 32 bytes each. With the nonce of RFC 6979 a run gives the same bytes each time; of a
    /// module that draws nonces, the signature of a repeated run is another one, and holds as well.
    ///
    /// # Errors
    /// As [`KrModule::public_point`].
    fn sign(&self, secret: &SecretKey, message: &[u8]) -> Result<[u8; 64], ModuleError>;

    /// Whether the holder of the point's secret signed the message.
    fn has_signed(&self, public: &[u8; POINT_LEN], message: &[u8], signature: &[u8; 64]) -> bool;

    /// ECDH (NIST SP 800-56A, section 5.7.1.2): the x-coordinate that both sides come to.
    ///
    /// # Errors
    /// For a secret or a point that is none.
    fn agree(&self, secret: &SecretKey, public: &[u8; POINT_LEN]) -> Result<Zeroizing<[u8; 32]>, ModuleError>;

    /// Encrypts `text` in place with ARIA-256-GCM and appends the tag of 16 bytes.
    ///
    /// # Errors
    /// When the module refuses.
    fn encrypt(&self, key: &[u8; 32], nonce: &[u8; 12], about: &[u8], text: &mut Vec<u8>) -> Result<(), ModuleError>;

    /// The reverse of [`KrModule::encrypt`].
    ///
    /// # Errors
    /// For a tag that does not hold.
    fn decrypt(&self, key: &[u8; 32], nonce: &[u8; 12], about: &[u8], text: &mut Vec<u8>) -> Result<(), ModuleError>;
}

/// A module that is shared.
#[derive(Clone)]
pub struct Module(Arc<dyn KrModule>);

impl Module {
    /// Shares a module.
    pub fn new(module: impl KrModule + 'static) -> Self {
        Self(Arc::new(module))
    }
}

impl Default for Module {
    fn default() -> Self {
        Self::new(Listed)
    }
}

impl std::ops::Deref for Module {
    type Target = dyn KrModule;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({})", self.name())
    }
}

/// The listed algorithms as RustCrypto computes them; not validated.
#[derive(Debug, Clone, Copy, Default)]
pub struct Listed;

type AriaGcm = AesGcm<Aria256, U12>;

fn refused<E>(_: E) -> ModuleError {
    ModuleError
}

impl KrModule for Listed {
    fn name(&self) -> &'static str {
        "RustCrypto, not validated"
    }

    fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> Result<[u8; 32], ModuleError> {
        let state = <Hmac<Sha256> as KeyInit>::new_from_slice(key).map_err(refused)?;
        Ok(parts.iter().fold(state, |state, part| state.chain_update(part)).finalize().into_bytes().into())
    }

    fn public_point(&self, secret: &SecretKey) -> Result<[u8; POINT_LEN], ModuleError> {
        let key = p256::SecretKey::from_slice(secret.expose()).map_err(refused)?;
        uncompressed(&key.public_key()).ok_or(ModuleError)
    }

    fn sign(&self, secret: &SecretKey, message: &[u8]) -> Result<[u8; 64], ModuleError> {
        let key = SigningKey::from_slice(secret.expose()).map_err(refused)?;
        let signature: Signature = key.try_sign(message).map_err(refused)?;
        Ok(signature.to_bytes().into())
    }

    fn has_signed(&self, public: &[u8; POINT_LEN], message: &[u8], signature: &[u8; 64]) -> bool {
        let parts = VerifyingKey::from_sec1_bytes(public).and_then(|key| Ok((key, Signature::from_slice(signature)?)));
        parts.is_ok_and(|(key, signature)| key.verify(message, &signature).is_ok())
    }

    fn agree(&self, secret: &SecretKey, public: &[u8; POINT_LEN]) -> Result<Zeroizing<[u8; 32]>, ModuleError> {
        let key = p256::SecretKey::from_slice(secret.expose()).map_err(refused)?;
        let public = p256::PublicKey::from_sec1_bytes(public).map_err(refused)?;
        Ok(Zeroizing::new((*key.diffie_hellman(&public).raw_secret_bytes()).into()))
    }

    fn encrypt(&self, key: &[u8; 32], nonce: &[u8; 12], about: &[u8], text: &mut Vec<u8>) -> Result<(), ModuleError> {
        AriaGcm::new(key.into()).encrypt_in_place(&Nonce::from(*nonce), about, text).map_err(refused)
    }

    fn decrypt(&self, key: &[u8; 32], nonce: &[u8; 12], about: &[u8], text: &mut Vec<u8>) -> Result<(), ModuleError> {
        AriaGcm::new(key.into()).decrypt_in_place(&Nonce::from(*nonce), about, text).map_err(refused)
    }
}

/// A public key's point, uncompressed.
pub(crate) fn uncompressed(key: &p256::PublicKey) -> Option<[u8; POINT_LEN]> {
    use p256::elliptic_curve::sec1::ToSec1Point;
    key.to_sec1_point(false).as_bytes().try_into().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use aria::cipher::{BlockCipherEncrypt, KeyInit as _};

    use super::*;
    use crate::testing::bytes;

    fn array<const N: usize>(hex: &str) -> [u8; N] {
        bytes(hex).try_into().unwrap()
    }

    #[test]
    fn rfc_5794_appendix_a_3() {
        let cipher = Aria256::new_from_slice(&(0..32).collect::<Vec<u8>>()).unwrap();
        let mut block = array::<16>("00112233445566778899aabbccddeeff").into();
        cipher.encrypt_block(&mut block);
        assert_eq!(block[..], bytes("f92bd7c79fb72e2f2b8f80c1972d24fc"));
    }

    /// AEAD_ARIA_256_GCM of RFC 8269, appendix A.2.
    #[test]
    fn rfc_8269_aria_256_gcm() {
        let key = array("0c5ffd37a11edc42c325287fc0604f2e3e8cd5671a00fe3216aa5eb105783b54");
        let (nonce, about) = (array("000020e8f5eb00000000315e"), bytes("8008315ebf2e6fe020e8f5eb"));
        let plain = bytes(
            "f57af5fd4ae19562976ec57a5a7ad55a5af5c5e5c5fdf5c55ad57a4a7272d57262e9729566ed66e97ac54a4a5a7ad5e1\
             5ae5fdd5fd5ac5d56ae56ad5c572d54ae54ac55a956afd6aed5a4ac562957a9516991691d572fd14e97ae962ed7a9f4a\
             955af572e162f57a956666e17ae1f54a95f566d54a66e16e4afd6a9f7ae1c5c55ae5d56afde916c5e94a6ec56695e14a\
             fde1148416e94ad57ac5146ed59d1cc5",
        );
        let expected = bytes(
            "6f9e4bcbc8c85fc0128fb1e4a0a20cb9932ff74581f54fc013dd054b19f99371425b352d97d3f337b90b63d1b082adee\
             ea9d2d7391897d591b985e55fb50cb5350cf7d38dc27dda127c078a149c8eb98083d66363a46e3726af217d3a00275ad\
             5bf772c7610ea4c23006878f0ee69a8397703169a419303f40b72e4573714d19e2697df61e7c7252e5abc6bade876ac4\
             961bfac4d5e867afca351a48aed52822e210d6ced2cf430ff841472915e7ef48",
        );
        let mut text = plain.clone();
        Listed.encrypt(&key, &nonce, &about, &mut text).unwrap();
        assert_eq!(text, expected);
        Listed.decrypt(&key, &nonce, &about, &mut text).unwrap();
        assert_eq!(text, plain);
        for at in [0, 100, expected.len() - 1] {
            let mut other = expected.clone();
            other[at] ^= 1;
            assert_eq!(Listed.decrypt(&key, &nonce, &about, &mut other), Err(ModuleError), "{at}");
        }
        assert_eq!(Listed.decrypt(&key, &nonce, b"other", &mut expected.clone()), Err(ModuleError));
    }

    #[test]
    fn rfc_6979_appendix_a_2_5() {
        let secret = SecretKey::new(array("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"));
        let public = Listed.public_point(&secret).unwrap();
        let expected = "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
                        7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
        assert_eq!(public[..], bytes(expected));
        let check = |message: &[u8], r: &str, s: &str| {
            let signature: [u8; 64] = array(&format!("{r}{s}"));
            assert_eq!(Listed.sign(&secret, message).unwrap(), signature);
            assert!(Listed.has_signed(&public, message, &signature));
            assert!(!Listed.has_signed(&public, b"other", &signature));
        };
        check(
            b"sample",
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
            "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        );
        check(
            b"test",
            "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
            "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
        );
    }

    /// RFC 5903, section 8.1: the 256-bit random ECP group.
    #[test]
    fn rfc_5903_section_8_1() {
        let secret = SecretKey::new(array("c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433"));
        let theirs = array(
            "04d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63\
             56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab",
        );
        let agreed = Listed.agree(&secret, &theirs).unwrap();
        assert_eq!(agreed[..], bytes("d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de"));
        assert!(Listed.agree(&SecretKey::new([0; 32]), &theirs).is_err());
        assert!(Listed.agree(&secret, &[4; POINT_LEN]).is_err());
    }

    /// RFC 4231, test case 2.
    #[test]
    fn rfc_4231_test_case_2() {
        let mac = Listed.hmac_sha256(b"Jefe", &[b"what do ya ", b"want for nothing?"]).unwrap();
        assert_eq!(mac[..], bytes("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
    }
}
