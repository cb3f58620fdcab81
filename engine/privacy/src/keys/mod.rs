//! The master key, its file, and the keys derived from it.
//!
//! A key file has one line an epoch (see [`ring`]), with `#` comments and blank lines around them:
//!
//! ```text
//! # made for the night of the health bundle
//! ieum-key/1 <key_id> <epoch> <64 hexadecimal digits>
//! ```
//!
//! The master key never meets an identifier. A [`DomainKey`] is derived from it for each recipient or research project
//! with HKDF-SHA-256 (RFC 5869), so that pseudonyms of two domains, or of two epochs, cannot be linked.

mod p256;
mod ring;
mod signing;

use std::fmt;

use hkdf::Hkdf;
use hmac::Hmac;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::envelope::EnvelopeKey;
use crate::pseudonym::keyed;
use crate::sensitive::Sensitive;

pub use ring::KeyRing;
pub(crate) use ring::key_line;
pub use signing::{PublicKey, SIGNATURE_ENDINGS, SIGNATURE_LEN, SignatureFile, SigningKey, signature_in};

/// Bytes of a key: the output size of SHA-256, which RFC 2104 recommends for HMAC-SHA-256.
pub const KEY_LEN: usize = 32;

/// First word of a key line: the format and its version.
const FORMAT: &str = "ieum-key/1";
/// Longest key id, in bytes: it is repeated in every manifest.
const KEY_ID_MAX_LEN: usize = 64;
/// HKDF `info` starts with the purpose, so that a later use of the same master key gets other keys.
const PURPOSE: &[u8] = b"ieum/1 pseudonym";
/// HKDF `info` of the key from which envelopes draw.
const ENVELOPES: &[u8] = b"ieum/1 envelopes";
/// HKDF `info` of the value that tells one key from another.
const CHECK: &[u8] = b"ieum/1 check value";

/// Why a key could not be read or made. Says where, never what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The text has no key line.
    Missing,
    /// The text has a line of another key id, at this line (from 1).
    Several {
        /// Line of the other key.
        line: usize,
    },
    /// The text has an epoch twice.
    EpochTwice {
        /// Line of the second one, from 1.
        line: usize,
    },
    /// The newest epoch is the last that can be written.
    NoEpochLeft,
    /// The text is not a public key file.
    PublicKey,
    /// The text is not the public key of a recipient.
    Recipient,
    /// The line is not a private key of a recipient.
    IdentityLayout {
        /// Line in the file, from 1.
        line: usize,
    },
    /// The cryptographic module refused.
    Module,
    /// The line is not `ieum-key/1 <key_id> <epoch> <64 hex>`.
    Layout {
        /// Line in the file, from 1.
        line: usize,
    },
    /// The line is not `ieum-signing-key/1 <key_id> <64 hex>`, nor that of the profile `kr`.
    SigningLayout {
        /// Line in the file, from 1.
        line: usize,
    },
    /// The key id is empty, longer than 64 bytes, or has others than ASCII letters, digits, `.`, `_` and `-`.
    KeyId,
    /// The epoch is not a whole number of 32 bits.
    Epoch {
        /// Line in the file, from 1.
        line: usize,
    },
    /// The key is not 64 hexadecimal digits.
    Hex {
        /// Line in the file, from 1.
        line: usize,
    },
    /// The operating system gave no random bytes.
    Random,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the key file has no key line"),
            Self::Several { line } => {
                write!(f, "line {line} is a second key, expected epochs of one key id")
            }
            Self::EpochTwice { line } => write!(f, "line {line} is an epoch that the file has already"),
            Self::NoEpochLeft => f.write_str("the key has no epoch left: make a key with another id"),
            Self::PublicKey => {
                f.write_str("this is not a public key, expected what `ieum keys new --signing` writes beside the key")
            }
            Self::Recipient => {
                f.write_str("this is not the public key of a recipient, expected `age1…` or `ieum-kr1-…`")
            }
            Self::IdentityLayout { line } => {
                write!(f, "line {line} is not the private key of a recipient, expected `AGE-SECRET-KEY-1…`, or ")?;
                f.write_str("`ieum-encryption-key-kr/1 <key id> <64 hex digits>`")
            }
            Self::Module => f.write_str("the cryptographic module refused the key"),
            Self::Layout { line } => {
                write!(f, "line {line} is not a key line, expected `{FORMAT} <key id> <epoch> <64 hex digits>`")
            }
            Self::SigningLayout { line } => {
                write!(
                    f,
                    "line {line} is not a signing key, expected `ieum-signing-key/1 <key id> <64 hex digits>`, or "
                )?;
                f.write_str("with `ieum-signing-key-kr/1`")
            }
            Self::KeyId => {
                write!(f, "the key id is not made of 1 to {KEY_ID_MAX_LEN} ASCII letters, digits, `.`, `_` and `-`")
            }
            Self::Epoch { line } => write!(f, "the epoch in line {line} is not a whole number of 32 bits"),
            Self::Hex { line } => write!(f, "the key in line {line} is not 64 hexadecimal digits"),
            Self::Random => f.write_str("the operating system gave no random bytes"),
        }
    }
}

impl std::error::Error for KeyError {}

/// 32 secret bytes: not printable, not cloneable, wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; KEY_LEN]);

impl SecretKey {
    /// Takes over the bytes. The caller wipes its own copy.
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, on purpose.
    pub const fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(<redacted>)")
    }
}

/// The key of an agency, from which the key of every domain is derived.
#[derive(Debug)]
pub struct MasterKey {
    key_id: String,
    epoch: u32,
    secret: SecretKey,
}

impl MasterKey {
    /// Reads the newest key of a key file; see [`KeyRing::from_text`].
    ///
    /// # Errors
    /// [`KeyError`] with the line; it never repeats what the line says.
    ///
    /// # Privacy
    /// The text holds the key: read it into something that wipes itself.
    pub fn from_hex_file_text(text: &str) -> Result<Self, KeyError> {
        KeyRing::from_text(text).map(KeyRing::into_newest)
    }

    fn from_line(line: usize, content: &str) -> Result<Self, KeyError> {
        let mut words = content.split_ascii_whitespace();
        let (Some(FORMAT), Some(key_id), Some(epoch), Some(hex), None) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            return Err(KeyError::Layout { line });
        };
        check_key_id(key_id)?;
        Ok(Self {
            key_id: key_id.to_owned(),
            epoch: epoch.parse().map_err(|_| KeyError::Epoch { line })?,
            secret: secret_from_hex(hex).ok_or(KeyError::Hex { line })?,
        })
    }

    /// The text of a new key file, epoch 1, with 32 bytes from the operating system.
    ///
    /// # Errors
    /// [`KeyError::KeyId`] if the id cannot stand in a key line, [`KeyError::Random`] without random bytes.
    ///
    /// # Privacy
    /// The text holds the key. It prints redacted and wipes itself.
    pub fn generate(key_id: &str) -> Result<Sensitive<Zeroizing<String>>, KeyError> {
        ring::key_line(FORMAT, key_id, Some(1))
    }

    /// The name of the key, which stands in bundles and manifests.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// How often the key was rotated under its name; another epoch gives other pseudonyms.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What tells this key from another of the same name and epoch, and nothing else of it: 32 bytes of HKDF-SHA-256
    /// (RFC 5869) with an `info` of their own, so that they are no key of any domain.
    pub fn check_value(&self) -> [u8; KEY_LEN] {
        let mut value = [0; KEY_LEN];
        let info = [CHECK, &[0], &self.epoch.to_be_bytes()].concat();
        hkdf_sha256(None, self.secret.expose(), &info, &mut value);
        value
    }

    /// The key from which envelopes draw what others draw at random; see [`crate::envelope`]. HKDF-SHA-256 with an `info` of
    /// its own and the epoch.
    pub fn envelopes(&self) -> EnvelopeKey {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        let info = [ENVELOPES, &[0], &self.epoch.to_be_bytes()].concat();
        hkdf_sha256(None, self.secret.expose(), &info, &mut key);
        EnvelopeKey::new(&key)
    }

    /// The key of one domain: HKDF-SHA-256 (RFC 5869) without salt and with
    /// `info = "ieum/1 pseudonym" 00 kind 00 name epoch`, the epoch as four bytes, big-endian.
    ///
    /// A kind has no zero byte and the epoch has a fixed size, so two domains never share an `info`.
    pub fn derive(&self, domain: &KeyDomain) -> DomainKey {
        let info =
            [PURPOSE, &[0], domain.kind.as_bytes(), &[0], domain.name.as_bytes(), &self.epoch.to_be_bytes()].concat();
        let mut key = Zeroizing::new([0; KEY_LEN]);
        hkdf_sha256(None, self.secret.expose(), &info, &mut key);
        DomainKey { state: keyed(&key[..]) }
    }
}

/// For whom a key is derived. Pseudonyms of two domains cannot be linked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyDomain {
    kind: &'static str,
    name: String,
}

impl KeyDomain {
    /// A recipient (제공받는 자), by its code in the catalog.
    pub fn recipient(code: impl Into<String>) -> Self {
        Self { kind: "recipient", name: code.into() }
    }

    /// A research project, by its code.
    pub fn project(code: impl Into<String>) -> Self {
        Self { kind: "project", name: code.into() }
    }

    /// The list of protected persons of an agency.
    pub const fn protected() -> Self {
        Self { kind: "protected", name: String::new() }
    }

    /// The ledger of an agency.
    pub const fn ledger() -> Self {
        Self { kind: "ledger", name: String::new() }
    }

    /// `recipient`, `project` or `ledger`.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// The code of the recipient or project.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The key of one domain, ready to make pseudonyms (see [`crate::pseudonym`]).
///
/// Holds the keyed HMAC state rather than the key: two of four compressions a value are done once. The state is as
/// secret as the key, and is wiped when dropped (feature `zeroize` of `hmac` and `sha2`).
pub struct DomainKey {
    pub(crate) state: Hmac<Sha256>,
}

impl fmt::Debug for DomainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DomainKey(<redacted>)")
    }
}

/// HKDF-SHA-256, extract and expand (RFC 5869).
fn hkdf_sha256<const N: usize>(salt: Option<&[u8]>, input_key: &[u8], info: &[u8], output: &mut [u8; N]) {
    const { assert!(N <= 255 * 32, "RFC 5869: at most 255 blocks of SHA-256") };
    Hkdf::<Sha256>::new(salt, input_key).expand(info, output).expect("the output size is checked at compile time");
}

pub(crate) fn check_key_id(key_id: &str) -> Result<(), KeyError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=KEY_ID_MAX_LEN).contains(&key_id.len()) && key_id.bytes().all(allowed) {
        Ok(())
    } else {
        Err(KeyError::KeyId)
    }
}

pub(crate) fn secret_from_hex(hex: &str) -> Option<SecretKey> {
    if hex.len() != 2 * KEY_LEN {
        return None;
    }
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(SecretKey::new(*bytes))
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1F";

    fn master(epoch: u32) -> MasterKey {
        MasterKey::from_hex_file_text(&format!("# fake\n\nieum-key/1 test-key {epoch} {HEX}\n")).unwrap()
    }

    #[test]
    fn rfc_5869_test_case_1() {
        let salt: Vec<u8> = (0x00..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let mut output = [0; 42];
        hkdf_sha256(Some(&salt), &[0x0b; 22], &info, &mut output);
        let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
        assert_eq!(output.iter().map(|b| format!("{b:02x}")).collect::<String>(), expected);
    }

    #[test]
    fn a_key_file_is_read() {
        let key = master(7);
        assert_eq!((key.key_id(), key.epoch()), ("test-key", 7));
        assert_eq!(key.secret.expose().to_vec(), (0..32).collect::<Vec<u8>>());
    }

    #[test]
    fn a_bad_key_file_is_refused_with_its_line() {
        let check = |text: &str, expected| {
            assert_eq!(MasterKey::from_hex_file_text(text).unwrap_err(), expected, "{text}");
        };
        check("# nothing\n", KeyError::Missing);
        check("#\nieum-key/2 a 1 00", KeyError::Layout { line: 2 });
        check(&format!("ieum-key/1 a 1 {HEX} more"), KeyError::Layout { line: 1 });
        check(&format!("ieum-key/1 a/b 1 {HEX}"), KeyError::KeyId);
        check(&format!("ieum-key/1 a -1 {HEX}"), KeyError::Epoch { line: 1 });
        check(&format!("ieum-key/1 a 1 {}", &HEX[1..]), KeyError::Hex { line: 1 });
        check(&format!("ieum-key/1 a 1 {}g", &HEX[1..]), KeyError::Hex { line: 1 });
        check(&format!("ieum-key/1 a 1 {HEX}\nieum-key/1 b 1 {HEX}"), KeyError::Several { line: 2 });
    }

    #[test]
    fn a_check_value_tells_keys_and_epochs_apart() {
        let other = MasterKey::from_hex_file_text(&format!("ieum-key/1 test-key 7 {}", HEX.replace('0', "1"))).unwrap();
        assert_eq!(master(7).check_value(), master(7).check_value());
        assert_ne!(master(7).check_value(), master(8).check_value());
        assert_ne!(master(7).check_value(), other.check_value());
    }

    #[test]
    fn a_generated_key_is_read_back_and_is_new_each_time() {
        let first = MasterKey::generate("night-2026").unwrap();
        let second = MasterKey::generate("night-2026").unwrap();
        assert_ne!(first.expose().as_str(), second.expose().as_str());
        let key = MasterKey::from_hex_file_text(first.expose()).unwrap();
        assert_eq!((key.key_id(), key.epoch()), ("night-2026", 1));
        assert_eq!(MasterKey::generate("two words").unwrap_err(), KeyError::KeyId);
    }

    #[test]
    fn secrets_do_not_print() {
        let key = master(1);
        let domain = key.derive(&KeyDomain::recipient("B0001"));
        let text = format!("{key:?} {domain:?} {:?}", MasterKey::generate("a").unwrap());
        assert_eq!(
            text,
            "MasterKey { key_id: \"test-key\", epoch: 1, secret: SecretKey(<redacted>) } \
             DomainKey(<redacted>) <redacted>"
        );
    }

    #[test]
    fn secrets_are_wiped_on_drop() {
        fn check<T: ZeroizeOnDrop>() {}
        check::<SecretKey>();
        // `Hmac` has no marker of its own: it is made of SHA-256 cores and a block buffer, and they wipe themselves.
        check::<Sha256>();
    }

    #[test]
    fn domains_and_epochs_are_apart() {
        let name = |epoch, domain: KeyDomain| master(epoch).derive(&domain).pseudonym("rrno", b"9912313000002");
        let base = name(1, KeyDomain::recipient("A"));
        assert_eq!(base, name(1, KeyDomain::recipient("A")));
        assert_ne!(base, name(1, KeyDomain::recipient("B")));
        assert_ne!(base, name(1, KeyDomain::project("A")));
        assert_ne!(base, name(2, KeyDomain::recipient("A")));
    }
}
