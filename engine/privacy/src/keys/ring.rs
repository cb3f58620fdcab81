//! A key ring: every epoch of one master key, in one key file.
//!
//! ```text
//! ieum-key/1 night-2026 1 <64 hexadecimal digits>
//! ieum-key/1 night-2026 2 <64 hexadecimal digits>       the newest: it names the people of tonight
//! ```
//!
//! An older epoch makes no bundle any more. It stays, so that pseudonyms that a recipient has from it can be mapped to
//! those of the newest.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::{FORMAT, KEY_LEN, KeyError, MasterKey, check_key_id};
use crate::sensitive::Sensitive;

/// The epochs of one master key, at least one, oldest first.
#[derive(Debug)]
pub struct KeyRing {
    older: Vec<MasterKey>,
    newest: MasterKey,
}

impl KeyRing {
    /// Reads the text of a key file: key lines of one key id, each of an epoch of its own, in any order; `#` comments and
    /// blank lines.
    ///
    /// # Errors
    /// [`KeyError`] with the line; it never repeats what the line says.
    ///
    /// # Privacy
    /// The text holds the keys: read it into something that wipes itself.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let mut keys: Vec<MasterKey> = Vec::new();
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.trim_start_matches('\u{feff}').trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let key = MasterKey::from_line(line, content)?;
            if keys.iter().any(|other| other.key_id != key.key_id) {
                return Err(KeyError::Several { line });
            }
            if keys.iter().any(|other| other.epoch == key.epoch) {
                return Err(KeyError::EpochTwice { line });
            }
            keys.push(key);
        }
        keys.sort_by_key(MasterKey::epoch);
        let newest = keys.pop().ok_or(KeyError::Missing)?;
        Ok(Self { older: keys, newest })
    }

    /// The name of the key.
    pub fn key_id(&self) -> &str {
        &self.newest.key_id
    }

    /// The key that makes pseudonyms now.
    pub const fn newest(&self) -> &MasterKey {
        &self.newest
    }

    /// The newest key alone; the older ones are wiped.
    pub fn into_newest(self) -> MasterKey {
        self.newest
    }

    /// The key of an epoch.
    pub fn epoch(&self, epoch: u32) -> Option<&MasterKey> {
        self.keys().find(|key| key.epoch == epoch)
    }

    /// Every epoch, oldest first.
    pub fn epochs(&self) -> impl Iterator<Item = u32> + '_ {
        self.keys().map(MasterKey::epoch)
    }

    fn keys(&self) -> impl Iterator<Item = &MasterKey> {
        self.older.iter().chain([&self.newest])
    }

    /// The line of the next epoch, with 32 bytes from the operating system: what a rotation appends to the key file.
    ///
    /// # Errors
    /// [`KeyError::NoEpochLeft`] after the last epoch, [`KeyError::Random`] without random bytes.
    ///
    /// # Privacy
    /// The text holds the key. It prints redacted and wipes itself.
    pub fn next_line(&self) -> Result<Sensitive<Zeroizing<String>>, KeyError> {
        let epoch = self.newest.epoch.checked_add(1).ok_or(KeyError::NoEpochLeft)?;
        key_line(FORMAT, self.key_id(), Some(epoch))
    }
}

/// A new line of a key file with 32 bytes from the operating system.
pub(crate) fn key_line(
    format: &str,
    key_id: &str,
    epoch: Option<u32>,
) -> Result<Sensitive<Zeroizing<String>>, KeyError> {
    /// Digits of an epoch, and what stands between the words.
    const BETWEEN: usize = 16;
    check_key_id(key_id)?;
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    getrandom::fill(&mut bytes[..]).map_err(|_| KeyError::Random)?;
    // Large enough from the start: a text that grows leaves copies of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(format.len() + key_id.len() + 2 * KEY_LEN + BETWEEN));
    for part in [format, " ", key_id, " "] {
        text.push_str(part);
    }
    if let Some(epoch) = epoch {
        // Writing to a String cannot fail.
        let _ = write!(*text, "{epoch} ");
    }
    for byte in bytes.iter() {
        for nibble in [byte >> 4, byte & 0x0f] {
            text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    text.push('\n');
    Ok(Sensitive::new(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::keys::KeyDomain;

    fn line(key_id: &str, epoch: u32, digit: &str) -> String {
        format!("ieum-key/1 {key_id} {epoch} {}\n", digit.repeat(64))
    }

    fn name(key: &MasterKey) -> [u8; 32] {
        key.derive(&KeyDomain::recipient("A")).pseudonym("person", b"9912313000002")
    }

    #[test]
    fn the_newest_epoch_names_and_older_ones_can_be_asked_for() {
        let one = MasterKey::from_hex_file_text(&line("k", 1, "1")).unwrap();
        let two = MasterKey::from_hex_file_text(&line("k", 2, "2")).unwrap();
        let ring = KeyRing::from_text(&format!("# turned\n{}{}", line("k", 2, "2"), line("k", 1, "1"))).unwrap();
        assert_eq!((ring.key_id(), ring.epochs().collect::<Vec<_>>()), ("k", vec![1, 2]));
        assert_eq!(name(ring.epoch(1).unwrap()), name(&one));
        assert_eq!(name(ring.newest()), name(&two));
        assert!(ring.epoch(3).is_none());
        assert_eq!(name(&ring.into_newest()), name(&two));
    }

    #[test]
    fn a_ring_holds_one_key_id_and_every_epoch_once() {
        let check = |text: String, expected| assert_eq!(KeyRing::from_text(&text).unwrap_err(), expected);
        check("\n#\n".to_owned(), KeyError::Missing);
        check(line("a", 1, "1") + &line("b", 2, "2"), KeyError::Several { line: 2 });
        check(line("a", 1, "1") + "\n" + &line("a", 1, "2"), KeyError::EpochTwice { line: 3 });
    }

    #[test]
    fn a_rotation_appends_the_next_epoch_with_a_secret_of_its_own() {
        let old = line("k", 7, "1");
        let next = KeyRing::from_text(&old).unwrap().next_line().unwrap();
        assert_eq!(format!("{next:?}"), "<redacted>");
        let ring = KeyRing::from_text(&(old.clone() + next.expose())).unwrap();
        assert_eq!(ring.epochs().collect::<Vec<_>>(), [7, 8]);
        assert_eq!(name(ring.epoch(7).unwrap()), name(&MasterKey::from_hex_file_text(&old).unwrap()));
        let same_secret = MasterKey::from_hex_file_text(&line("k", 8, "1")).unwrap();
        assert_ne!(name(ring.newest()), name(&same_secret));
        let last = KeyRing::from_text(&line("k", u32::MAX, "1")).unwrap();
        assert_eq!(last.next_line().unwrap_err(), KeyError::NoEpochLeft);
    }

    #[test]
    fn secrets_do_not_print() {
        let ring = KeyRing::from_text(&(line("k", 1, "ab"[..1].as_ref()) + &line("k", 2, "c"))).unwrap();
        let text = format!("{ring:?}");
        assert!(text.contains("redacted") && !text.contains("aaaa") && !text.contains("cccc"), "{text}");
    }
}
