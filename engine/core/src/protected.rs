//! protected: persons about whom nothing is delivered, whoever asks (victims of domestic violence, 주민등록법 시행규칙 13조의2;
//! witnesses; court orders). Their requests are refused with `E_SUPPRESSED` before any export is read.
//!
//! # Privacy
//! Holds identifiers; neither printed nor written. What stands of the list in an output is one keyed digest.

use ieum_privacy::{KeyDomain, MasterKey};
use rustc_hash::FxHashSet;
use sha2::{Digest, Sha256};

use crate::keys::canonical;
use crate::manifest::hex;
use crate::reach::space_of;

/// Identifiers of protected persons, by key space and canonical form.
#[derive(Default)]
pub struct Protected(FxHashSet<(String, String)>);

impl std::fmt::Debug for Protected {
    /// Without the identifiers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Protected").finish_non_exhaustive()
    }
}

impl Protected {
    /// Adds an identifier; `false` where nothing is left of it in its canonical form.
    pub fn add(&mut self, kind: &str, value: &str) -> bool {
        let space = space_of(kind);
        canonical(space, value).is_some_and(|key| {
            self.0.insert((space.to_owned(), key));
            true
        })
    }

    /// Whether an identifier is of a protected person, however it is spelled.
    pub fn has(&self, kind: &str, value: &str) -> bool {
        let space = space_of(kind);
        canonical(space, value).is_some_and(|key| self.has_key(space, &key))
    }

    /// Whether a canonical key of a space is of a protected person.
    pub fn has_key(&self, space: &str, key: &str) -> bool {
        self.0.contains(&(space.to_owned(), key.to_owned()))
    }

    /// Tells this list from another to whoever has the key; the list of one person cannot be guessed from it.
    pub fn digest(&self, master: &MasterKey) -> String {
        let domain = master.derive(&KeyDomain::protected());
        let mut names: Vec<_> = self.0.iter().map(|(space, key)| domain.pseudonym(space, key.as_bytes())).collect();
        names.sort_unstable();
        let digest = names.iter().fold(Sha256::new(), |sum, name| sum.chain_update(name));
        hex(&digest.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_known_in_any_spelling_and_the_list_by_the_key_alone() {
        let key = |digit: &str| MasterKey::from_hex_file_text(&format!("ieum-key/1 k 1 {}", digit.repeat(64))).unwrap();
        let mut list = Protected::default();
        assert!(list.add("rrno", "991231-3000002") && list.add("brno", "999-99-00005") && !list.add("rrno", " - "));
        assert!(list.has("rrno", "9912313000002") && list.has("brno", "9999900005"));
        assert!(!list.has("ci", "9912313000002") && !list.has("rrno", "9912313000003"));
        let mut same = Protected::default();
        assert!(same.add("brno", "9999900005") && same.add("rrno", "9912313000002"));
        assert_eq!(list.digest(&key("1")), same.digest(&key("1")));
        assert_ne!(list.digest(&key("1")), list.digest(&key("2")));
        assert_ne!(list.digest(&key("1")), Protected::default().digest(&key("1")));
        assert_eq!(format!("{list:?}"), "Protected { .. }");
    }
}
