//! The key that signs what an agency delivered: Ed25519 (RFC 8032), or ECDSA P-256 of the profile `kr` (see [`p256`]).
//!
//! ```text
//! ieum-signing-key/1 <key_id> <64 hexadecimal digits>      private: the 32 bytes of RFC 8032, section 5.1.5
//!
//! untrusted comment: ieum public key <key_id> <key number>  public, as minisign writes it
//! <base64 of "Ed", 8 bytes of key number, 32 bytes of key>
//! ```
//!
//! Public keys and signature files are those of minisign, those of `kr` what openssl reads: a third party needs none of our
//! software. The key number is the beginning of the public key's SHA-256, not a random number: the same key has the same
//! number everywhere.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::ring::key_line;
use super::{KeyError, check_key_id, p256, secret_from_hex};
use crate::module::{Module, Profile};
use crate::sensitive::Sensitive;

/// First word of the line of a signing key.
const FORMAT: &str = "ieum-signing-key/1";
/// Signature algorithm in minisign's files: Ed25519 over the bytes themselves.
const ALGORITHM: &[u8; 2] = b"Ed";
/// Bytes of a key number.
const NUMBER_LEN: usize = 8;
/// What stands before the key id in the first line of a public key file.
const COMMENT: &str = "untrusted comment: ieum public key ";

/// Bytes of a signature, of either kind.
pub const SIGNATURE_LEN: usize = ed25519_dalek::SIGNATURE_LENGTH;

/// The private key. Wiped when dropped, and prints without its secret.
pub struct SigningKey {
    key: Private,
    public: PublicKey,
}

enum Private {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    P256(p256::Private),
}

/// A signature as a file that stands beside what was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureFile {
    /// What is added to the name of the signed file: `.minisig`, or `.sig` of the profile `kr`.
    pub ending: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
}

/// What signature files of either kind add to the name of what was signed.
pub const SIGNATURE_ENDINGS: [&str; 2] = [".minisig", ".sig"];

impl SigningKey {
    /// The text of a new key file with 32 bytes from the operating system.
    ///
    /// # Errors
    /// [`KeyError::KeyId`] if the id cannot stand in a key line, [`KeyError::Random`] without random bytes.
    ///
    /// # Privacy
    /// The text holds the key. It prints redacted and wipes itself.
    pub fn generate(profile: Profile, key_id: &str) -> Result<Sensitive<Zeroizing<String>>, KeyError> {
        match profile {
            Profile::Default => key_line(FORMAT, key_id, None),
            Profile::Kr => key_line(p256::FORMAT, key_id, None),
        }
    }

    /// Reads the text of a key file: one line, `#` comments, blank lines.
    ///
    /// # Errors
    /// [`KeyError`] with the line; it never repeats what the line says.
    ///
    /// # Privacy
    /// The text holds the key: read it into something that wipes itself.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        Self::with_module(text, &Module::default())
    }

    /// As [`SigningKey::from_text`]; a key of the profile `kr` signs with a module.
    ///
    /// # Errors
    /// As [`SigningKey::from_text`], and [`KeyError::Module`] when the module refuses the key.
    pub fn with_module(text: &str, module: &Module) -> Result<Self, KeyError> {
        let lines =
            (1..).zip(text.lines()).map(|(line, content)| (line, content.trim_start_matches('\u{feff}').trim()));
        let mut lines = lines.filter(|(_, content)| !content.is_empty() && !content.starts_with('#'));
        let (line, content) = lines.next().ok_or(KeyError::Missing)?;
        if let Some((line, _)) = lines.next() {
            return Err(KeyError::Several { line });
        }
        let mut words = content.split_ascii_whitespace();
        let (Some(format @ (FORMAT | p256::FORMAT)), Some(key_id), Some(hex), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(KeyError::SigningLayout { line });
        };
        check_key_id(key_id)?;
        let secret = secret_from_hex(hex).ok_or(KeyError::Hex { line })?;
        let (key, public) = if format == FORMAT {
            let key = Box::new(ed25519_dalek::SigningKey::from_bytes(secret.expose()));
            let public = Verifying::Ed25519(key.verifying_key());
            (Private::Ed25519(key), public)
        } else {
            let key = p256::Private::new(secret, module)?;
            let public = Verifying::P256(key.public().clone());
            (Private::P256(key), public)
        };
        Ok(Self { key, public: PublicKey { key_id: key_id.to_owned(), key: public } })
    }

    /// Whether a text is that of a signing key rather than of a master key; nothing else of it is checked.
    pub fn is_meant_by(text: &str) -> bool {
        let begins = |line: &str| line.starts_with(FORMAT) || line.starts_with(p256::FORMAT);
        text.lines().any(|line| begins(line.trim_start_matches('\u{feff}').trim_start()))
    }

    /// The public half.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The signature of a message (RFC 8032, section 5.1.6, or ECDSA); the same for the same message.
    ///
    /// # Errors
    /// [`KeyError::Module`] when the module refuses.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], KeyError> {
        match &self.key {
            Private::Ed25519(key) => Ok(key.sign(message).to_bytes()),
            Private::P256(key) => key.sign(message),
        }
    }

    /// A signature file for the message that `signature` signs, as minisign or openssl reads it. The trusted comment is
    /// signed too; openssl's files have none.
    ///
    /// # Errors
    /// As [`SigningKey::sign`].
    pub fn signature_file(
        &self,
        signature: &[u8; SIGNATURE_LEN],
        trusted_comment: &str,
    ) -> Result<SignatureFile, KeyError> {
        let [minisig, sig] = SIGNATURE_ENDINGS;
        if let Private::P256(_) = &self.key {
            return Ok(SignatureFile { ending: sig, bytes: p256::der(signature).ok_or(KeyError::Module)? });
        }
        let global = self.sign(&[&signature[..], trusted_comment.as_bytes()].concat())?;
        let line = [&ALGORITHM[..], &self.public.number_bytes(), signature].concat();
        let text = format!(
            "untrusted comment: signature by ieum signing key {}\n{}\ntrusted comment: {trusted_comment}\n{}\n",
            self.public.key_id,
            STANDARD.encode(line),
            STANDARD.encode(global)
        );
        Ok(SignatureFile { ending: minisig, bytes: text.into_bytes() })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The public key, by which anybody can check what was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    key_id: String,
    key: Verifying,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verifying {
    Ed25519(VerifyingKey),
    P256(p256::Public),
}

impl PublicKey {
    /// Reads a public key file: minisign's two lines, or openssl's PEM after a line of ours. The key's name is taken from the
    /// comment, which proves nothing; it is `-` for a comment that is not ours.
    ///
    /// # Errors
    /// [`KeyError::PublicKey`] if it is none, or not a point that can have signed.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        if let Some((comment, key)) = p256::Public::from_text(text, &Module::default()) {
            return Self::named(comment, Verifying::P256(key));
        }
        let mut lines = text.lines();
        let (Some(comment), Some(line), None) = (lines.next(), lines.next(), lines.next()) else {
            return Err(KeyError::PublicKey);
        };
        let bytes = STANDARD.decode(line).map_err(|_| KeyError::PublicKey)?;
        let (Some(ALGORITHM), Some(key)) =
            (bytes.first_chunk(), bytes.get(ALGORITHM.len() + NUMBER_LEN..).and_then(|key| key.try_into().ok()))
        else {
            return Err(KeyError::PublicKey);
        };
        let key = VerifyingKey::from_bytes(key).map_err(|_| KeyError::PublicKey)?;
        let public = Self::named(comment, Verifying::Ed25519(key))?;
        if bytes[ALGORITHM.len()..][..NUMBER_LEN] != public.number_bytes() && public.key_id != "-" {
            return Err(KeyError::PublicKey);
        }
        Ok(public)
    }

    /// With the name in a comment, whose number must be the key's.
    fn named(comment: &str, key: Verifying) -> Result<Self, KeyError> {
        let words = comment.strip_prefix(COMMENT).or_else(|| comment.strip_prefix(p256::COMMENT));
        let Some((name, number)) = words.and_then(|words| words.split_once(' ')) else {
            return Ok(Self { key_id: "-".to_owned(), key });
        };
        let public = Self { key_id: name.to_owned(), key };
        if public.number() == number { Ok(public) } else { Err(KeyError::PublicKey) }
    }

    /// The text of the public key file.
    pub fn text(&self) -> String {
        match &self.key {
            Verifying::Ed25519(key) => {
                let line = [&ALGORITHM[..], &self.number_bytes(), key.as_bytes()].concat();
                format!("{COMMENT}{} {}\n{}\n", self.key_id, self.number(), STANDARD.encode(line))
            }
            Verifying::P256(key) => format!("{}{} {}\n{}", p256::COMMENT, self.key_id, self.number(), key.pem()),
        }
    }

    /// Its profile.
    pub const fn profile(&self) -> Profile {
        match self.key {
            Verifying::Ed25519(_) => Profile::Default,
            Verifying::P256(_) => Profile::Kr,
        }
    }

    /// The name of the key.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The key's number as minisign tells it: 16 hexadecimal digits, the beginning of the key's SHA-256.
    pub fn number(&self) -> String {
        format!("{:016X}", u64::from_le_bytes(self.number_bytes()))
    }

    fn number_bytes(&self) -> [u8; NUMBER_LEN] {
        let digest = match &self.key {
            Verifying::Ed25519(key) => Sha256::digest(key.as_bytes()),
            Verifying::P256(key) => Sha256::digest(key.point()),
        };
        std::array::from_fn(|at| digest[at])
    }

    /// Whether this key signed the trusted comment of a signature file, together with its signature. A file of the profile
    /// `kr` has no comment, and nothing but its signature.
    pub fn has_signed_comment(&self, file: &[u8]) -> bool {
        if let Verifying::P256(_) = &self.key {
            return p256::from_der(file).is_some();
        }
        let Some((line, comment, global)) = parts(file) else { return false };
        let Some(signature) = signature_in(file) else { return false };
        line.get(ALGORITHM.len()..).is_some_and(|rest| rest.starts_with(&self.number_bytes()))
            && self.has_signed(&[&signature[..], comment.as_bytes()].concat(), &global)
    }

    /// Whether this key signed the message. Strict: of a message and a key, one signature only is accepted in each of its
    /// parts' one spelling, and keys of small order none.
    pub fn has_signed(&self, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
        match &self.key {
            Verifying::Ed25519(key) => key.verify_strict(message, &Signature::from_bytes(signature)).is_ok(),
            Verifying::P256(key) => key.has_signed(message, signature),
        }
    }
}

/// The lines of minisign's file: signed bytes with what they are of, trusted comment, and its signature.
fn parts(file: &[u8]) -> Option<(Vec<u8>, &str, [u8; SIGNATURE_LEN])> {
    let lines: Vec<&str> = str::from_utf8(file).ok()?.lines().collect();
    let [_, signature, comment, global] = lines[..] else { return None };
    let comment = comment.strip_prefix("trusted comment: ")?;
    Some((STANDARD.decode(signature).ok()?, comment, STANDARD.decode(global).ok()?.try_into().ok()?))
}

/// The signature in a signature file as minisign or openssl writes it; whose it is, is not checked.
pub fn signature_in(file: &[u8]) -> Option<[u8; SIGNATURE_LEN]> {
    if let Some(signature) = p256::from_der(file) {
        return Some(signature);
    }
    let (line, ..) = parts(file)?;
    line.strip_prefix(ALGORITHM)?.get(NUMBER_LEN..)?.try_into().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::bytes;

    fn key(hex: &str) -> SigningKey {
        SigningKey::from_text(&format!("# fake\nieum-signing-key/1 agency {hex}\n")).unwrap()
    }

    const FIRST: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

    #[test]
    fn rfc_8032_section_7_1_tests_1_to_3() {
        let check = |secret: &str, public: &str, message: &str, signature: &str| {
            let key = key(secret);
            let Verifying::Ed25519(point) = &key.public().key else { panic!("not Ed25519") };
            assert_eq!(point.as_bytes()[..], bytes(public));
            assert_eq!(key.sign(&bytes(message)).unwrap()[..], bytes(signature));
            assert!(key.public().has_signed(&bytes(message), &bytes(signature).try_into().unwrap()));
        };
        check(
            FIRST,
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        );
        check(
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        );
        check(
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        );
    }

    #[test]
    fn minisign_opens_public_key_and_signature() {
        let key = key(FIRST);
        let signature = key.sign(b"what was delivered").unwrap();
        let file = key.signature_file(&signature, "run 2026-11-22").unwrap();
        assert_eq!(file.ending, ".minisig");
        let file = String::from_utf8(file.bytes).unwrap();
        let public = minisign_verify::PublicKey::decode(&key.public().text()).unwrap();
        let read = minisign_verify::Signature::decode(&file).unwrap();
        assert_eq!(read.trusted_comment(), "run 2026-11-22");
        public.verify(b"what was delivered", &read, true).unwrap();
        assert!(public.verify(b"what was delivereD", &read, true).is_err());
        assert_eq!(signature_in(file.as_bytes()), Some(signature));
        assert!(key.public().has_signed_comment(file.as_bytes()));
        assert!(!key.public().has_signed_comment(file.replace("2026-11-22", "2026-11-23").as_bytes()));
        assert_eq!(signature_in(b"untrusted comment: x\nRWQ=\n"), None);
    }

    #[test]
    fn a_public_key_is_read_back_and_refused_with_any_digit_changed() {
        let key = key(FIRST);
        let text = key.public().text();
        assert_eq!(PublicKey::from_text(&text).unwrap(), *key.public());
        assert_eq!(key.public().key_id(), "agency");
        let start = text.find('\n').unwrap() + 1;
        for at in start..text.len() - 1 {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(PublicKey::from_text(str::from_utf8(&other).unwrap()).unwrap_err(), KeyError::PublicKey, "{at}");
        }
        for wrong in ["", "one line", "untrusted comment: x\nRWQ=\n"] {
            assert_eq!(PublicKey::from_text(wrong).unwrap_err(), KeyError::PublicKey);
        }
    }

    #[test]
    fn a_bad_key_file_is_refused_with_its_line() {
        let check = |text: &str, expected| assert_eq!(SigningKey::from_text(text).unwrap_err(), expected, "{text}");
        check("#\n", KeyError::Missing);
        check(&format!("\nieum-key/1 a 1 {FIRST}"), KeyError::SigningLayout { line: 2 });
        check(&format!("ieum-signing-key/1 a/b {FIRST}"), KeyError::KeyId);
        check(&format!("ieum-signing-key/1 a {}", &FIRST[1..]), KeyError::Hex { line: 1 });
        let one = format!("ieum-signing-key/1 a {FIRST}\n");
        check(&one.repeat(2), KeyError::Several { line: 2 });
        assert!(SigningKey::is_meant_by(&one) && !SigningKey::is_meant_by("ieum-key/1 a 1 00"));
    }

    #[test]
    fn secrets_do_not_print_and_are_wiped() {
        let printed = format!("{:?} {:?}", key(FIRST), SigningKey::generate(Profile::Default, "a").unwrap());
        assert!(!printed.to_lowercase().contains("9d61b1") && printed.ends_with("<redacted>"), "{printed}");
        fn wiped<T: zeroize::ZeroizeOnDrop>() {}
        wiped::<ed25519_dalek::SigningKey>();
        let (one, other) = (
            SigningKey::generate(Profile::Default, "a").unwrap(),
            SigningKey::generate(Profile::Default, "a").unwrap(),
        );
        assert_ne!(one.expose().as_str(), other.expose().as_str());
        SigningKey::from_text(one.expose()).unwrap();
    }
}
