//! Envelopes: bytes that only a recipient can read, the same for the same bytes.
//!
//! ```text
//!  master key ─► EnvelopeKey ─┐
//!  recipient's public key ────┼─ HMAC ─► drawn ─► file key, ephemeral secret, nonce ─► head, then pieces of 64 KiB
//!  plain text ────────────────┘
//! ```
//!
//! A recipient of the profile `default` opens them with stock `age` (see [`age`]), one of `kr` with `ieum open` (see
//! [`kr`]).
//!
//! What these formats draw at random is derived here, as RFC 6979 does for signatures: from a key of the agency, the
//! recipient's public key and the whole plain text. So a run gives the same bytes each time, can be resumed by comparing
//! what stands, and is verified without anybody's private key; a file key is never used for two plain texts.
//!
//! # Privacy
//! Equal plain texts to one recipient have equal envelopes; no two bundles of a night are equal. Whoever has the master key
//! can test a guess of a whole plain text, and cannot decrypt: the text itself goes into what is drawn, and that digest
//! stands nowhere.

pub mod age;
pub mod kr;

use std::fmt;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::keys::KeyError;
use crate::module::{Module, Profile};
use crate::pseudonym::keyed;
use crate::sensitive::Sensitive;

/// Bytes of a piece of plain text; the last may be shorter, and is empty only where the whole text is.
pub const PIECE: usize = 64 * 1024;
/// Bytes of a tag: both ciphers have the same.
const TAG: usize = 16;

/// Why something is not an envelope that can be opened. It says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// It does not begin as one.
    None,
    /// Its head is not as it was written.
    Head,
    /// It is for another key.
    AnotherKey,
    /// What is in it was changed or cut.
    Damaged,
    /// The cryptographic module refused.
    Module,
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "this is not an encrypted file",
            Self::Head => "the head of the encrypted file is not as it was written",
            Self::AnotherKey => "this key does not open the file: it is encrypted to another, or was changed",
            Self::Damaged => "the encrypted file was changed or cut short",
            Self::Module => "the cryptographic module refused",
        })
    }
}

impl std::error::Error for EnvelopeError {}

/// The public key of a recipient (제공받는 자): its bundles are encrypted to it.
#[derive(Debug, Clone)]
pub enum RecipientKey {
    /// Of profile `default`: `age1…`.
    Age(age::Recipient),
    /// Of profile `kr`: `ieum-kr1-…`.
    Kr(kr::Recipient),
}

impl RecipientKey {
    /// Reads a public key.
    ///
    /// # Errors
    /// [`KeyError::Recipient`] if it is none.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        Self::with_module(text, &Module::default())
    }

    /// As [`RecipientKey::from_text`]; one of profile `kr` is computed with by a module.
    ///
    /// # Errors
    /// As [`RecipientKey::from_text`].
    pub fn with_module(text: &str, module: &Module) -> Result<Self, KeyError> {
        let age = || age::Recipient::from_text(text).map(Self::Age);
        age().or_else(|| kr::Recipient::from_text(text, module).map(Self::Kr)).ok_or(KeyError::Recipient)
    }

    /// As it stands in a catalog.
    pub fn text(&self) -> String {
        match self {
            Self::Age(recipient) => recipient.text(),
            Self::Kr(recipient) => recipient.text(),
        }
    }

    /// Its profile.
    pub const fn profile(&self) -> Profile {
        match self {
            Self::Age(_) => Profile::Default,
            Self::Kr(_) => Profile::Kr,
        }
    }

    /// Begins an envelope: its head, and what encrypts the pieces.
    ///
    /// # Errors
    /// [`EnvelopeError::Module`] when the module refuses.
    pub fn begin(&self, drawn: &Drawn) -> Result<(Vec<u8>, Pieces), EnvelopeError> {
        match self {
            Self::Age(recipient) => Ok(recipient.begin(drawn)),
            Self::Kr(recipient) => recipient.begin(drawn),
        }
    }

    fn bytes(&self) -> [&[u8]; 2] {
        match self {
            Self::Age(recipient) => [b"age", recipient.bytes()],
            Self::Kr(recipient) => [b"kr1", recipient.bytes()],
        }
    }
}

/// What an envelope's name ends with.
pub const fn ending(profile: Profile) -> &'static str {
    match profile {
        Profile::Default => ".age",
        Profile::Kr => ".aria",
    }
}

/// Bytes of the plain text of an envelope of so many bytes that was made here; `None` where none has so many.
pub fn plain_bytes(profile: Profile, bytes: u64) -> Option<u64> {
    let head = match profile {
        Profile::Default => age::HEAD_LEN,
        Profile::Kr => kr::HEAD_LEN,
    };
    let (tag, sealed) = (TAG as u64, (PIECE + TAG) as u64);
    let rest = bytes.checked_sub(head as u64)?;
    let plain = rest.checked_sub(rest.div_ceil(sealed).max(1) * tag)?;
    (rest % sealed > tag || rest.is_multiple_of(sealed) || rest == tag).then_some(plain)
}

/// The agency's key from which envelopes draw; see the module.
pub struct EnvelopeKey {
    state: Hmac<Sha256>,
}

impl fmt::Debug for EnvelopeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvelopeKey(<redacted>)")
    }
}

impl EnvelopeKey {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self { state: keyed(key) }
    }

    /// What an envelope to this recipient draws, once it has seen the whole plain text.
    pub fn draw(&self, to: &RecipientKey) -> Draw {
        Draw { state: to.bytes().iter().fold(self.state.clone(), |state, part| state.chain_update(part)) }
    }

    /// The envelope of a whole text.
    ///
    /// # Errors
    /// [`EnvelopeError::Module`] when the module refuses.
    pub fn seal(&self, to: &RecipientKey, plain: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        let mut draw = self.draw(to);
        draw.update(plain);
        let (mut out, mut pieces) = to.begin(&draw.finish())?;
        out.reserve(plain.len() + (plain.len() / PIECE + 1) * TAG);
        let count = plain.len().div_ceil(PIECE).max(1);
        for nr in 0..count {
            let end = plain.len().min((nr + 1) * PIECE);
            let mut piece = Vec::with_capacity(end - nr * PIECE + TAG);
            piece.extend_from_slice(&plain[nr * PIECE..end]);
            pieces.seal(&mut piece, nr + 1 == count)?;
            out.extend_from_slice(&piece);
        }
        Ok(out)
    }
}

/// A plain text on its way into what its envelope draws.
pub struct Draw {
    state: Hmac<Sha256>,
}

impl fmt::Debug for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Draw(<redacted>)")
    }
}

impl Draw {
    /// Takes the next bytes of the plain text.
    pub fn update(&mut self, plain: &[u8]) {
        self.state.update(plain);
    }

    /// Ends it.
    pub fn finish(self) -> Drawn {
        Drawn(Zeroizing::new(self.state.finalize().into_bytes().into()))
    }
}

/// What stands in the place of random bytes.
pub struct Drawn(Zeroizing<[u8; 32]>);

impl Drawn {
    /// Bytes for one use: HKDF-Expand (RFC 5869) with the use as `info`.
    fn bytes<const N: usize>(&self, of: &[&[u8]]) -> Zeroizing<[u8; N]> {
        const { assert!(N <= 32, "one block of SHA-256") };
        let mut bytes = Zeroizing::new([0; N]);
        let expander = Hkdf::<Sha256>::from_prk(&self.0[..]).expect("a block of SHA-256 is long enough");
        expander.expand_multi_info(of, &mut bytes[..]).expect("the output is at most one block");
        bytes
    }
}

/// The cipher of an envelope's pieces.
enum Cipher {
    Age(Box<ChaCha20Poly1305>),
    Kr { module: Module, key: Zeroizing<[u8; 32]>, head: Vec<u8> },
}

/// Encrypts the pieces of an envelope one after the other (STREAM of Hoang, Reyhanitabar, Rogaway and Vizár, as age has it):
/// the nonce counts the pieces and marks the last, so that none can be moved, repeated or left out.
pub struct Pieces {
    cipher: Cipher,
    next: u64,
}

impl Pieces {
    fn new(cipher: Cipher) -> Self {
        Self { cipher, next: 0 }
    }

    /// Eleven bytes that count, big-endian, and one that is 1 for the last piece.
    fn nonce(&mut self, last: bool) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&self.next.to_be_bytes());
        nonce[11] = u8::from(last);
        self.next += 1;
        nonce
    }

    /// Encrypts a piece in place; its tag is appended. Every piece but the last has [`PIECE`] bytes.
    ///
    /// # Errors
    /// [`EnvelopeError::Module`] when the module refuses.
    pub fn seal(&mut self, piece: &mut Vec<u8>, last: bool) -> Result<(), EnvelopeError> {
        let nonce = self.nonce(last);
        match &self.cipher {
            Cipher::Age(cipher) => {
                cipher.encrypt_in_place(&Nonce::from(nonce), b"", piece).map_err(|_| EnvelopeError::Module)
            }
            Cipher::Kr { module, key, head } => {
                module.encrypt(key, &nonce, head, piece).map_err(|_| EnvelopeError::Module)
            }
        }
    }

    fn open(&mut self, piece: &mut Vec<u8>, last: bool) -> Result<(), EnvelopeError> {
        let nonce = self.nonce(last);
        let opened = match &self.cipher {
            Cipher::Age(cipher) => cipher.decrypt_in_place(&Nonce::from(nonce), b"", piece).is_ok(),
            Cipher::Kr { module, key, head } => module.decrypt(key, &nonce, head, piece).is_ok(),
        };
        if opened { Ok(()) } else { Err(EnvelopeError::Damaged) }
    }

    /// The plain text of all pieces.
    fn open_all(mut self, sealed: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        let mut plain = Vec::with_capacity(sealed.len());
        let mut pieces = sealed.chunks(PIECE + TAG).peekable();
        loop {
            let mut piece = pieces.next().ok_or(EnvelopeError::Damaged)?.to_vec();
            let last = pieces.peek().is_none();
            self.open(&mut piece, last)?;
            // An empty piece ends an empty text only: else one text had two envelopes.
            if piece.is_empty() && !plain.is_empty() {
                return Err(EnvelopeError::Damaged);
            }
            plain.extend_from_slice(&piece);
            if last {
                return Ok(plain);
            }
        }
    }
}

/// The private key of a recipient.
#[derive(Debug)]
pub enum Identity {
    /// Of profile `default`: as `age-keygen` writes it.
    Age(age::Identity),
    /// Of profile `kr`.
    Kr(kr::Identity),
}

impl Identity {
    /// The text of a new key file.
    ///
    /// # Errors
    /// [`KeyError::KeyId`] if the id cannot stand in it, [`KeyError::Random`] without random bytes.
    ///
    /// # Privacy
    /// The text holds the key. It prints redacted and wipes itself.
    pub fn generate(profile: Profile, key_id: &str) -> Result<Sensitive<Zeroizing<String>>, KeyError> {
        match profile {
            Profile::Default => age::Identity::generate(key_id),
            Profile::Kr => kr::Identity::generate(key_id),
        }
    }

    /// Reads the text of a key file.
    ///
    /// # Errors
    /// [`KeyError`] with the line; it never repeats what the line says.
    ///
    /// # Privacy
    /// The text holds the key: read it into something that wipes itself.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        Self::with_module(text, &Module::default())
    }

    /// As [`Identity::from_text`]; one of profile `kr` is computed with by a module.
    ///
    /// # Errors
    /// As [`Identity::from_text`].
    pub fn with_module(text: &str, module: &Module) -> Result<Self, KeyError> {
        let mut lines = (1..).zip(text.lines().map(|line| line.trim_start_matches('\u{feff}').trim()));
        let mut lines = lines.by_ref().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let (number, line) = lines.next().ok_or(KeyError::Missing)?;
        if let Some((line, _)) = lines.next() {
            return Err(KeyError::Several { line });
        }
        match age::Identity::from_line(line) {
            Some(identity) => Ok(Self::Age(identity)),
            None => kr::Identity::from_line(number, line, module).map(Self::Kr),
        }
    }

    /// Whether a text is that of such a key; nothing else of it is checked.
    pub fn is_meant_by(text: &str) -> bool {
        let begins = |line: &str| line.starts_with(age::SECRET) || line.starts_with(kr::FORMAT);
        text.lines().any(|line| begins(line.trim_start_matches('\u{feff}').trim_start()))
    }

    /// The public half.
    pub fn recipient(&self) -> RecipientKey {
        match self {
            Self::Age(identity) => RecipientKey::Age(identity.recipient()),
            Self::Kr(identity) => RecipientKey::Kr(identity.recipient().clone()),
        }
    }

    /// Opens an envelope.
    ///
    /// # Errors
    /// [`EnvelopeError`] for one that is for another key, or not as it was written.
    ///
    /// # Privacy
    /// Gives out the plain text.
    pub fn open(&self, envelope: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        match self {
            Self::Age(identity) => identity.open(envelope),
            Self::Kr(identity) => identity.open(envelope),
        }
    }
}

/// Whether bytes begin as an envelope does.
pub fn is_meant_by(bytes: &[u8]) -> bool {
    bytes.starts_with(age::VERSION.as_bytes()) || bytes.starts_with(kr::VERSION.as_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn identity(profile: Profile) -> Identity {
        Identity::from_text(Identity::generate(profile, "semas-2026").unwrap().expose()).unwrap()
    }

    const LENGTHS: [usize; 8] = [0, 1, 1000, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 17];

    #[test]
    fn what_was_encrypted_is_opened_by_its_key_alone_and_has_the_length_that_is_told() {
        let key = EnvelopeKey::new(&[7; 32]);
        for profile in [Profile::Default, Profile::Kr] {
            let (mine, other) = (identity(profile), identity(profile));
            for length in LENGTHS {
                let plain: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
                let sealed = key.seal(&mine.recipient(), &plain).unwrap();
                assert!(is_meant_by(&sealed) && !is_meant_by(&plain));
                assert_eq!(mine.open(&sealed).unwrap(), plain);
                assert_eq!(other.open(&sealed), Err(EnvelopeError::AnotherKey));
                assert_eq!(plain_bytes(profile, sealed.len() as u64), Some(length as u64), "{length}");
            }
            let head = key.seal(&mine.recipient(), b"").unwrap().len() as u64 - 16;
            for bytes in [0, head, head + 15, head + PIECE as u64 + 17, head + PIECE as u64 + 32] {
                assert_eq!(plain_bytes(profile, bytes), None, "{bytes}");
            }
        }
    }

    #[test]
    fn the_same_text_has_the_same_envelope_and_another_text_shares_nothing_with_it() {
        for profile in [Profile::Default, Profile::Kr] {
            let (to, other) = (identity(profile).recipient(), identity(profile).recipient());
            let key = EnvelopeKey::new(&[7; 32]);
            let sealed = key.seal(&to, b"what was delivered").unwrap();
            assert_eq!(key.seal(&to, b"what was delivered").unwrap(), sealed);
            for another in [
                key.seal(&to, b"what was deliverec").unwrap(),
                key.seal(&other, b"what was delivered").unwrap(),
                EnvelopeKey::new(&[8; 32]).seal(&to, b"what was delivered").unwrap(),
            ] {
                let body = |sealed: &[u8]| sealed[sealed.len() - 18 - TAG..][..18].to_vec();
                let same = body(&sealed).iter().zip(body(&another)).filter(|(a, b)| **a == *b).count();
                assert!(same < 6, "{same} bytes of 18 are the same");
            }
        }
    }

    #[test]
    fn any_byte_that_is_changed_added_or_taken_away_is_noticed() {
        for profile in [Profile::Default, Profile::Kr] {
            let mine = identity(profile);
            let sealed = EnvelopeKey::new(&[7; 32]).seal(&mine.recipient(), &[b'x'; 300]).unwrap();
            for at in 0..sealed.len() {
                let mut edited = sealed.clone();
                for bit in [1, 0x20, 0x80] {
                    edited[at] = sealed[at] ^ bit;
                    assert!(mine.open(&edited).is_err(), "{at} of {profile:?}");
                }
                assert!(mine.open(&[&sealed[..at], &sealed[at + 1..]].concat()).is_err(), "without {at}");
                assert!(mine.open(&sealed[..at]).is_err(), "up to {at}");
            }
            assert!(mine.open(&[&sealed[..], b"x"].concat()).is_err());
        }
    }

    #[test]
    fn pieces_cannot_be_moved_repeated_or_left_out() {
        for profile in [Profile::Default, Profile::Kr] {
            let mine = identity(profile);
            let sealed = EnvelopeKey::new(&[7; 32]).seal(&mine.recipient(), &[b'x'; 3 * PIECE]).unwrap();
            let head = sealed.len() - 3 * (PIECE + TAG);
            let piece = |nr: usize| &sealed[head + nr * (PIECE + TAG)..][..PIECE + TAG];
            for order in [&[0, 1][..], &[1, 0, 2], &[0, 1, 1, 2], &[0, 2], &[1, 2], &[]] {
                let pieces: Vec<&[u8]> = order.iter().map(|nr| piece(*nr)).collect();
                assert!(mine.open(&[&sealed[..head], &pieces.concat()].concat()).is_err(), "{order:?}");
            }
        }
    }

    #[test]
    fn keys_are_read_back_and_do_not_print() {
        for profile in [Profile::Default, Profile::Kr] {
            let text = Identity::generate(profile, "semas-2026").unwrap();
            let mine = Identity::from_text(text.expose()).unwrap();
            assert!(Identity::is_meant_by(text.expose()));
            let public = mine.recipient();
            assert_eq!(RecipientKey::from_text(&public.text()).unwrap().text(), public.text());
            assert_eq!(public.profile(), profile);
            let secret = text.expose().split_whitespace().next_back().unwrap();
            let printed = format!("{mine:?} {text:?} {public:?}");
            assert!(!printed.contains(&secret[20..40]) && printed.contains("redacted"), "{printed}");
            for at in [0, 5, public.text().len() - 1] {
                let mut other = public.text().into_bytes();
                other[at] = if other[at] == b'q' { b'p' } else { b'q' };
                assert!(RecipientKey::from_text(str::from_utf8(&other).unwrap()).is_err(), "{at} of {}", public.text());
            }
            assert_eq!(Identity::generate(profile, "two words").unwrap_err(), KeyError::KeyId);
            assert_eq!(Identity::from_text(&text.expose().repeat(2)).unwrap_err(), KeyError::Several { line: 6 });
        }
        for wrong in ["", "age1", "ssh-ed25519 AAAA", "ieum-kr1-"] {
            assert_eq!(RecipientKey::from_text(wrong).unwrap_err(), KeyError::Recipient);
        }
        assert_eq!(Identity::from_text("# only\n").unwrap_err(), KeyError::Missing);
        assert_eq!(Identity::from_text("#\nwhatever").unwrap_err(), KeyError::IdentityLayout { line: 2 });
    }
}
