//! Envelopes of the profile `kr`: ECDH on P-256, HKDF with HMAC-SHA-256, ARIA-256-GCM. A format of ieum's own, as no
//! published one has ARIA: `ieum open` opens it.
//!
//! ```text
//! ieum-envelope-kr/1
//! -> P-256 <base64 of the ephemeral public point, 65 bytes, without padding>
//! ---
//! pieces of 64 KiB, each with its tag of 16 bytes
//! ```
//!
//! - ephemeral and recipient's points are uncompressed (SEC 1, section 2.3.3); `agreed` is the x-coordinate of ECDH (NIST
//!   SP 800-56A, section 5.7.1.2);
//! - `key` = HKDF-SHA-256 (RFC 5869) of `agreed`, salt = ephemeral point, recipient's point, `info` =
//!   `ieum-envelope-kr/1 ARIA-256-GCM`, 32 bytes;
//! - every piece is encrypted with ARIA-256-GCM (RFC 5794, RFC 8269, NIST SP 800-38D) under `key`; its nonce is the number of
//!   the piece in eleven bytes, big-endian, and one byte that is 1 for the last piece and else 0; the additional data is the
//!   head, all three lines with their line ends. Every piece but the last has 65,536 bytes; the last is empty only where the
//!   whole text is.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Cipher, Drawn, EnvelopeError, Pieces};
use crate::keys::{KeyError, SecretKey, check_key_id, key_line, secret_from_hex};
use crate::module::{Module, ModuleError, POINT_LEN, uncompressed};
use crate::sensitive::Sensitive;

/// The first line.
pub(super) const VERSION: &str = "ieum-envelope-kr/1\n";
/// First word of the line of a private key.
pub(super) const FORMAT: &str = "ieum-encryption-key-kr/1";
/// How a public key begins; base64url of its compressed point follows, and of the first four bytes of that one's SHA-256: a
/// slip of the pen is another point of the curve every other time.
const PUBLIC: &str = "ieum-kr1-";
/// Bytes of a compressed point, and of the sum over it.
const COMPRESSED: usize = 33;
const SUM: usize = 4;
/// HKDF `info`.
const INFO: &[u8] = b"ieum-envelope-kr/1 ARIA-256-GCM";
/// How the second line begins, and the third.
const STANZA: &str = "-> P-256 ";
const END: &str = "\n---\n";
/// Characters of a point in the head.
const POINT_TEXT: usize = (POINT_LEN * 4).div_ceil(3);
/// Bytes before the first piece.
pub(super) const HEAD_LEN: usize = VERSION.len() + STANZA.len() + POINT_TEXT + END.len();

fn refused(_: ModuleError) -> EnvelopeError {
    EnvelopeError::Module
}

/// A public point of P-256, and the module that computes with it.
#[derive(Debug, Clone)]
pub struct Recipient {
    point: [u8; POINT_LEN],
    module: Module,
}

impl Recipient {
    pub(super) fn from_text(text: &str, module: &Module) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PUBLIC)?).ok()?;
        let (compressed, sum) = bytes.split_first_chunk::<COMPRESSED>()?;
        let point = uncompressed(&p256::PublicKey::from_sec1_bytes(compressed).ok()?)?;
        (*sum == Sha256::digest(compressed)[..SUM]).then(|| Self { point, module: module.clone() })
    }

    pub(super) fn text(&self) -> String {
        // Compressed (SEC 1, section 2.3.3): whether y is odd, and x.
        let mut text = vec![2 + (self.point[POINT_LEN - 1] & 1)];
        text.extend_from_slice(&self.point[1..COMPRESSED]);
        let sum = Sha256::digest(&text);
        text.extend_from_slice(&sum[..SUM]);
        format!("{PUBLIC}{}", URL_SAFE_NO_PAD.encode(text))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.point
    }

    pub(super) fn begin(&self, drawn: &Drawn) -> Result<(Vec<u8>, Pieces), EnvelopeError> {
        // One number of 2^32 is no secret of P-256: the next is drawn then.
        let secret = |nr: u8| SecretKey::new(*drawn.bytes(&[b"kr ephemeral", &[nr]]));
        let usable = (0..=u8::MAX).map(secret).find_map(|secret| {
            let share = self.module.public_point(&secret).ok()?;
            Some((secret, share))
        });
        let (secret, share) = usable.ok_or(EnvelopeError::Module)?;
        let agreed = self.module.agree(&secret, &self.point).map_err(refused)?;
        let head = format!("{VERSION}{STANZA}{}{END}", STANDARD_NO_PAD.encode(share)).into_bytes();
        let pieces = pieces(&self.module, &agreed, [&share, &self.point], head.clone())?;
        Ok((head, pieces))
    }
}

/// Extract and expand of HKDF; one block is all that is needed.
fn pieces(
    module: &Module,
    agreed: &[u8; 32],
    points: [&[u8; POINT_LEN]; 2],
    head: Vec<u8>,
) -> Result<Pieces, EnvelopeError> {
    let salt = points.map(|point| &point[..]).concat();
    let extracted = Zeroizing::new(module.hmac_sha256(&salt, &[agreed]).map_err(refused)?);
    let key = Zeroizing::new(module.hmac_sha256(&extracted[..], &[INFO, &[1]]).map_err(refused)?);
    Ok(Pieces::new(Cipher::Kr { module: module.clone(), key, head }))
}

/// A private key of P-256. Wiped when dropped, and prints nothing of itself.
pub struct Identity {
    secret: SecretKey,
    recipient: Recipient,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(<redacted>)")
    }
}

impl Identity {
    pub(super) fn generate(key_id: &str) -> Result<Sensitive<Zeroizing<String>>, KeyError> {
        let line = key_line(FORMAT, key_id, None)?;
        let identity = Self::from_line(1, line.expose().trim_end(), &Module::default())?;
        let public = identity.recipient.text();
        let parts = ["# ieum encryption key ", key_id, "\n# public key: ", &public, "\n", line.expose()];
        let mut text = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
        parts.iter().for_each(|part| text.push_str(part));
        Ok(Sensitive::new(text))
    }

    pub(super) fn from_line(line: usize, content: &str, module: &Module) -> Result<Self, KeyError> {
        let mut words = content.split_ascii_whitespace();
        let (Some(FORMAT), Some(key_id), Some(hex), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(KeyError::IdentityLayout { line });
        };
        check_key_id(key_id)?;
        let secret = secret_from_hex(hex).ok_or(KeyError::Hex { line })?;
        let point = module.public_point(&secret).map_err(|_| KeyError::IdentityLayout { line })?;
        Ok(Self { secret, recipient: Recipient { point, module: module.clone() } })
    }

    pub(super) const fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    pub(super) fn open(&self, envelope: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        if !envelope.starts_with(VERSION.as_bytes()) {
            return Err(EnvelopeError::None);
        }
        let (head, sealed) = envelope.split_at_checked(HEAD_LEN).ok_or(EnvelopeError::Head)?;
        let share = str::from_utf8(head).ok().and_then(|head| {
            let share = head.strip_prefix(VERSION)?.strip_prefix(STANZA)?.strip_suffix(END)?;
            STANDARD_NO_PAD.decode(share).ok()?.try_into().ok()
        });
        let share: [u8; POINT_LEN] = share.ok_or(EnvelopeError::Head)?;
        let (module, mine) = (&self.recipient.module, &self.recipient.point);
        let agreed = module.agree(&self.secret, &share).map_err(|_| EnvelopeError::Head)?;
        let first = |pieces: Pieces| pieces.open_all(sealed);
        match pieces(module, &agreed, [&share, mine], head.to_vec()).and_then(first) {
            // The head does not say whom it is for: a first piece that does not open was changed, or is another's.
            Err(EnvelopeError::Damaged) if !opens_first(module, &agreed, [&share, mine], head, sealed)? => {
                Err(EnvelopeError::AnotherKey)
            }
            opened => opened,
        }
    }
}

fn opens_first(
    module: &Module,
    agreed: &[u8; 32],
    points: [&[u8; POINT_LEN]; 2],
    head: &[u8],
    sealed: &[u8],
) -> Result<bool, EnvelopeError> {
    let Some(first) = sealed.chunks(super::PIECE + super::TAG).next() else { return Ok(true) };
    let mut pieces = pieces(module, agreed, points, head.to_vec())?;
    Ok(pieces.open(&mut first.to_vec(), first.len() == sealed.len()).is_ok())
}
