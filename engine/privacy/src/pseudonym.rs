//! Pseudonyms: HMAC-SHA-256 (RFC 2104, FIPS 198-1) with the key of one domain.
//!
//! ```text
//! message = len(space) space len(canonical) canonical        lengths: eight bytes, big-endian
//! ```
//!
//! A space says what the value is (`person`, `rrno`, `brno`): equal digits of two spaces get different pseudonyms. The
//! lengths keep `("ab", "c")` and `("a", "bc")` apart.

use arrow::array::types::ByteArrayType;
use arrow::array::{Array, FixedSizeBinaryArray, GenericByteArray};
use arrow::buffer::MutableBuffer;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::keys::DomainKey;

/// Bytes of a pseudonym.
pub const PSEUDONYM_LEN: usize = 32;
/// Characters of a pseudonym written as text, see [`encode`].
pub const PSEUDONYM_TEXT_LEN: usize = 43;

impl DomainKey {
    /// The pseudonym of one canonical value in `space`.
    ///
    /// # Privacy
    /// Sees the identifier; gives out 32 bytes that only the holder of the key can make again.
    pub fn pseudonym(&self, space: &str, canonical: &[u8]) -> [u8; PSEUDONYM_LEN] {
        pseudonym_in(in_space(self, space), canonical)
    }
}

/// The pseudonyms of a column of canonical values, in the same order; null stays null.
///
/// Takes binary and text columns, with 32 or 64 bit offsets. Equal bytes get equal pseudonyms whatever the column type.
///
/// # Privacy
/// Sees the identifiers; gives out 32 bytes each, in which they cannot be found without the key.
pub fn pseudonyms<T>(keys: &GenericByteArray<T>, space: &str, domain: &DomainKey) -> FixedSizeBinaryArray
where
    T: ByteArrayType,
{
    let state = in_space(domain, space);
    let mut values = MutableBuffer::with_capacity(keys.len() * PSEUDONYM_LEN);
    for key in keys {
        match key {
            Some(key) => values.extend_from_slice(&pseudonym_in(state.clone(), AsRef::<[u8]>::as_ref(key))),
            None => values.extend_zeros(PSEUDONYM_LEN),
        }
    }
    FixedSizeBinaryArray::new(PSEUDONYM_LEN as i32, values.into(), keys.nulls().cloned())
}

/// A pseudonym as text: base64url without padding (RFC 4648, section 5), always 43 ASCII characters.
pub fn encode(pseudonym: &[u8; PSEUDONYM_LEN]) -> [u8; PSEUDONYM_TEXT_LEN] {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = [0; PSEUDONYM_TEXT_LEN];
    for (four, three) in text.chunks_mut(4).zip(pseudonym.chunks(3)) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, digit) in four.iter_mut().enumerate() {
            *digit = ALPHABET[(bits >> (18 - 6 * at) & 0x3f) as usize];
        }
    }
    text
}

/// HMAC-SHA-256 with its key absorbed.
pub(crate) fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn finish(state: Hmac<Sha256>, message: &[u8]) -> [u8; PSEUDONYM_LEN] {
    state.chain_update(message).finalize().into_bytes().into()
}

fn in_space(domain: &DomainKey, space: &str) -> Hmac<Sha256> {
    domain.state.clone().chain_update((space.len() as u64).to_be_bytes()).chain_update(space)
}

fn pseudonym_in(state: Hmac<Sha256>, canonical: &[u8]) -> [u8; PSEUDONYM_LEN] {
    finish(state.chain_update((canonical.len() as u64).to_be_bytes()), canonical)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::keys::{KeyDomain, MasterKey};
    use arrow::array::{BinaryArray, LargeStringArray, StringArray};
    use proptest::prelude::*;

    fn domain(code: &str) -> DomainKey {
        let text = format!("ieum-key/1 fake 1 {}", "5a".repeat(32));
        MasterKey::from_hex_file_text(&text).unwrap().derive(&KeyDomain::recipient(code))
    }

    #[test]
    fn rfc_4231_test_cases_1_to_4() {
        let check = |key: &[u8], message: &[u8], expected: &str| {
            let mac = finish(keyed(key), message);
            assert_eq!(mac.iter().map(|b| format!("{b:02x}")).collect::<String>(), expected);
        };
        check(&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        check(
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        check(&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
        check(
            &(0x01..=0x19).collect::<Vec<u8>>(),
            &[0xcd; 50],
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        );
    }

    #[test]
    fn the_message_is_length_prefixed() {
        let message = [&5u64.to_be_bytes()[..], b"space", &3u64.to_be_bytes(), b"key"].concat();
        let key = domain("A");
        assert_eq!(key.pseudonym("space", b"key"), finish(key.state.clone(), &message));
        assert_ne!(key.pseudonym("ab", b"c"), key.pseudonym("a", b"bc"));
    }

    #[test]
    fn null_stays_null_and_column_types_agree() {
        let (key, rows) = (domain("A"), [Some("9912313000002"), None, Some(""), Some("9912313000002")]);
        let names = pseudonyms(&StringArray::from(rows.to_vec()), "rrno", &key);
        assert_eq!(names, pseudonyms(&LargeStringArray::from(rows.to_vec()), "rrno", &key));
        let binary: BinaryArray = rows.iter().map(|row| row.map(str::as_bytes)).collect();
        assert_eq!(names, pseudonyms(&binary, "rrno", &key));
        assert_eq!((names.len(), names.null_count(), names.is_null(1)), (4, 1, true));
        assert_eq!(names.value(0), key.pseudonym("rrno", b"9912313000002"));
        assert_eq!(names.value(0), names.value(3));
        assert_ne!(names.value(0), names.value(2));
        assert_eq!(pseudonyms(&binary.slice(1, 2), "rrno", &key), names.slice(1, 2));
        assert_eq!(pseudonyms(&binary.slice(0, 0), "rrno", &key).len(), 0);
    }

    #[test]
    fn text_is_base64url_without_padding() {
        let check = |bytes: [u8; 32], expected: &str| assert_eq!(&encode(&bytes)[..], expected.as_bytes());
        check([0; 32], &"A".repeat(43));
        check([0xff; 32], &("_".repeat(42) + "8"));
        check(std::array::from_fn(|i| i as u8), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
    }

    proptest! {
        #[test]
        fn stable_and_apart(a: Vec<u8>, b: Vec<u8>) {
            let (one, other) = (domain("A"), domain("B"));
            prop_assert_eq!(one.pseudonym("s", &a), domain("A").pseudonym("s", &a));
            prop_assert_ne!(one.pseudonym("s", &a), other.pseudonym("s", &a));
            prop_assert_ne!(one.pseudonym("s", &a), one.pseudonym("t", &a));
            prop_assert_eq!(a == b, one.pseudonym("s", &a) == one.pseudonym("s", &b));
        }
    }
}
