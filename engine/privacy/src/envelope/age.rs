//! Envelopes that stock `age` opens: the format age-encryption.org/v1 with one X25519 recipient (C2SP, age.md).
//!
//! ```text
//! age-encryption.org/v1
//! -> X25519 <base64 of the ephemeral public key>
//! <base64 of the file key, encrypted to the recipient>
//! --- <base64 of the MAC over these lines>
//! 16 bytes of nonce, pieces of 64 KiB with ChaCha20-Poly1305
//! ```
//!
//! Files that `age` wrote are opened too, to several recipients as well.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hkdf::Hkdf;
use hmac::Mac;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::{Cipher, Drawn, EnvelopeError, Pieces};
use crate::keys::{KeyError, check_key_id};
use crate::pseudonym::keyed;
use crate::sensitive::Sensitive;

/// The first line.
pub(super) const VERSION: &str = "age-encryption.org/v1\n";
/// How the line of a private key begins.
pub(super) const SECRET: &str = "AGE-SECRET-KEY-1";
/// Human-readable parts of public and private keys (BIP 173).
const PUBLIC_HRP: &str = "age";
const SECRET_HRP: &str = "age-secret-key-";
/// HKDF `info` of the key that wraps the file key.
const WRAP: &[u8] = b"age-encryption.org/v1/X25519";
/// Bytes of a file key, of it encrypted, and of the nonce before the pieces.
const FILE_KEY: usize = 16;
const WRAPPED: usize = FILE_KEY + super::TAG;
const NONCE: usize = 16;
/// Bytes before the first piece of an envelope that was made here.
pub(super) const HEAD_LEN: usize = VERSION.len() + "-> X25519 ".len() + 2 * (43 + 1) + "--- ".len() + 43 + 1 + NONCE;
/// Longest head that is read; one of a hundred recipients has 10 KiB.
const LONGEST_HEAD: usize = 1 << 20;

fn hkdf<const N: usize>(salt: &[u8], key: &[u8], info: &[u8]) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 32, "one block of SHA-256") };
    let mut out = Zeroizing::new([0; N]);
    Hkdf::<Sha256>::new(Some(salt), key).expand(info, &mut out[..]).expect("the output is at most one block");
    out
}

fn cipher(key: &[u8; 32]) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(key.into())
}

/// The bytes of a key in Bech32; upper and lower case are never mixed in one.
fn of_bech32(text: &str, hrp: &str) -> Option<Zeroizing<[u8; 32]>> {
    let read = CheckedHrpstring::new::<Bech32>(text).ok()?;
    if !read.hrp().as_str().eq_ignore_ascii_case(hrp) {
        return None;
    }
    let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(read.byte_iter().collect());
    Some(Zeroizing::new(bytes.as_slice().try_into().ok()?))
}

/// An X25519 public key.
#[derive(Debug, Clone)]
pub struct Recipient(PublicKey);

impl Recipient {
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let key = PublicKey::from(*of_bech32(text.strip_prefix("age1").map(|_| text)?, PUBLIC_HRP)?);
        // A point of small order agrees with everybody on nothing.
        let agreed = StaticSecret::from([1; 32]).diffie_hellman(&key);
        agreed.was_contributory().then_some(Self(key))
    }

    pub(super) fn text(&self) -> String {
        bech32::encode_lower::<Bech32>(Hrp::parse_unchecked(PUBLIC_HRP), self.0.as_bytes())
            .expect("32 bytes fit into Bech32")
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(super) fn begin(&self, drawn: &Drawn) -> (Vec<u8>, Pieces) {
        let file_key = drawn.bytes::<FILE_KEY>(&[b"age file key"]);
        let ephemeral = StaticSecret::from(*drawn.bytes::<32>(&[b"age ephemeral"]));
        let nonce = drawn.bytes::<NONCE>(&[b"age nonce"]);
        let share = PublicKey::from(&ephemeral);
        let wrapped = wrap(&ephemeral.diffie_hellman(&self.0), &share, &self.0)
            .encrypt_to_vec(&file_key[..])
            .expect("a file key is short");
        let mut head = format!("{VERSION}-> X25519 {}\n{}\n---", b64(share.as_bytes()), b64(&wrapped)).into_bytes();
        let mac = b64(&mac_key(&file_key, &head).finalize().into_bytes());
        head.extend_from_slice(format!(" {mac}\n").as_bytes());
        head.extend_from_slice(&nonce[..]);
        (head, pieces(&file_key, &nonce[..]))
    }
}

fn b64(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

/// What encrypts a file key; its nonce is zero, since it is used once.
struct Wrap(ChaCha20Poly1305);

fn wrap(agreed: &x25519_dalek::SharedSecret, share: &PublicKey, recipient: &PublicKey) -> Wrap {
    let salt = [share.as_bytes().as_slice(), recipient.as_bytes()].concat();
    Wrap(cipher(&hkdf::<32>(&salt, agreed.as_bytes(), WRAP)))
}

impl Wrap {
    fn encrypt_to_vec(&self, file_key: &[u8]) -> Option<Vec<u8>> {
        let mut text = Vec::with_capacity(WRAPPED);
        text.extend_from_slice(file_key);
        self.0.encrypt_in_place(&Nonce::default(), b"", &mut text).ok().map(|()| text)
    }

    fn decrypt(&self, wrapped: &[u8]) -> Option<Zeroizing<[u8; FILE_KEY]>> {
        let mut text = Zeroizing::new(wrapped.to_vec());
        self.0.decrypt_in_place(&Nonce::default(), b"", &mut *text).ok()?;
        Some(Zeroizing::new(text.as_slice().try_into().ok()?))
    }
}

/// The MAC over a head up to and with its `---`.
fn mac_key(file_key: &[u8; FILE_KEY], head: &[u8]) -> hmac::Hmac<Sha256> {
    keyed(&hkdf::<32>(b"", file_key, b"header")[..]).chain_update(head)
}

fn pieces(file_key: &[u8; FILE_KEY], nonce: &[u8]) -> Pieces {
    Pieces::new(Cipher::Age(Box::new(cipher(&hkdf::<32>(nonce, file_key, b"payload")))))
}

/// An X25519 private key. Wiped when dropped, and prints nothing of itself.
pub struct Identity(StaticSecret);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(<redacted>)")
    }
}

/// A head, taken apart.
struct Head<'a> {
    /// Ephemeral public key and encrypted file key of each X25519 recipient.
    stanzas: Vec<([u8; 32], Vec<u8>)>,
    /// What the MAC is over.
    authenticated: &'a [u8],
    mac: Vec<u8>,
    rest: &'a [u8],
}

impl<'a> Head<'a> {
    fn read(envelope: &'a [u8]) -> Option<Self> {
        let near = &envelope[..envelope.len().min(LONGEST_HEAD)];
        let end = near.windows(5).position(|window| window == b"\n--- ")? + 1;
        let line_end = end + near[end..].iter().position(|byte| *byte == b'\n')?;
        let text = str::from_utf8(&near[..end]).ok()?;
        let mut lines = text.strip_prefix(VERSION)?.split_terminator('\n');
        let mut stanzas = Vec::new();
        while let Some(line) = lines.next() {
            let words: Vec<&str> = line.strip_prefix("-> ")?.split(' ').collect();
            let mut body = String::new();
            // The last line of a body is shorter than the others, and may be empty.
            loop {
                let line = lines.next()?;
                body.push_str(line);
                match line.len() {
                    64 => {}
                    0..64 => break,
                    _ => return None,
                }
            }
            let body = STANDARD_NO_PAD.decode(body).ok()?;
            if let ["X25519", share] = words[..] {
                let share = STANDARD_NO_PAD.decode(share).ok()?.try_into().ok()?;
                stanzas.push((share, (body.len() == WRAPPED).then_some(body)?));
            }
        }
        let mac = STANDARD_NO_PAD.decode(&near[end + 4..line_end]).ok()?;
        Some(Self { stanzas, authenticated: &envelope[..end + 3], mac, rest: &envelope[line_end + 1..] })
    }
}

impl Identity {
    pub(super) fn generate(key_id: &str) -> Result<Sensitive<Zeroizing<String>>, KeyError> {
        check_key_id(key_id)?;
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut bytes[..]).map_err(|_| KeyError::Random)?;
        let identity = Self(StaticSecret::from(*bytes));
        let line = bech32::encode_upper::<Bech32>(Hrp::parse_unchecked(SECRET_HRP), &bytes[..]);
        let line = Zeroizing::new(line.expect("32 bytes fit into Bech32"));
        let public = identity.recipient().text();
        let parts = ["# ieum encryption key ", key_id, "\n# public key: ", &public, "\n", &line, "\n"];
        // Large enough from the start: a text that grows leaves copies of the key behind.
        let mut text = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
        parts.iter().for_each(|part| text.push_str(part));
        Ok(Sensitive::new(text))
    }

    pub(super) fn from_line(line: &str) -> Option<Self> {
        let bytes = of_bech32(line.strip_prefix(SECRET).map(|_| line)?, SECRET_HRP)?;
        Some(Self(StaticSecret::from(*bytes)))
    }

    pub(super) fn recipient(&self) -> Recipient {
        Recipient(PublicKey::from(&self.0))
    }

    pub(super) fn open(&self, envelope: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        if !envelope.starts_with(VERSION.as_bytes()) {
            return Err(EnvelopeError::None);
        }
        let head = Head::read(envelope).ok_or(EnvelopeError::Head)?;
        let mine = PublicKey::from(&self.0);
        let unwrapped = head.stanzas.iter().find_map(|(share, wrapped)| {
            let share = PublicKey::from(*share);
            let agreed = self.0.diffie_hellman(&share);
            agreed.was_contributory().then(|| wrap(&agreed, &share, &mine).decrypt(wrapped)).flatten()
        });
        let file_key = unwrapped.ok_or(EnvelopeError::AnotherKey)?;
        mac_key(&file_key, head.authenticated).verify_slice(&head.mac).map_err(|_| EnvelopeError::Head)?;
        let (nonce, sealed) = head.rest.split_at_checked(NONCE).ok_or(EnvelopeError::Damaged)?;
        pieces(&file_key, nonce).open_all(sealed)
    }
}
