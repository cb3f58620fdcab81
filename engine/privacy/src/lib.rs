//! The audited room: everything that turns an identifier into something else, as pure functions.
//!
//! ```text
//!  raw bytes ──► normalize ──► canonical bytes + Grade      what is compared when rows are linked
//!                                    │
//!  key file ──► KeyRing ──newest──► MasterKey ──derive──► DomainKey ──► pseudonym   what leaves, one name a recipient
//! ```
//!
//! - [`normalize`]: one identifier kind a file; canonical form, graded validity, dates.
//! - [`keys`]: the key file with its epochs, the master key and the keys derived from it for one recipient or project; the
//!   key that signs what an agency delivered.
//! - [`envelope`]: what only a recipient can read; [`module`]: the profiles, and the cryptographic module of the Korean one.
//! - [`pseudonym`]: keyed pseudonyms, for one value or a whole Arrow column.
//! - [`sensitive`]: a wrapper that does not print what it holds.
//!
//! The crate opens no file, reads no clock and knows neither requests nor DataFusion. An identifier cannot be hashed
//! without a key: the only way to a pseudonym is [`keys::DomainKey`]. No error carries a value.

pub mod envelope;
pub mod keys;
pub mod module;
pub mod normalize;
pub mod pseudonym;
pub mod sensitive;
#[cfg(test)]
mod testing;

pub use envelope::{EnvelopeError, EnvelopeKey, Identity, RecipientKey};
pub use keys::{
    DomainKey, KeyDomain, KeyError, KeyRing, MasterKey, PublicKey, SIGNATURE_ENDINGS, SecretKey, SignatureFile,
    SigningKey, signature_in,
};
pub use module::{KrModule, Listed, Module, ModuleError, NOT_VALIDATED, Profile};
pub use normalize::{Grade, IdentifierKind, grade, normalize};
pub use pseudonym::{PSEUDONYM_LEN, PSEUDONYM_TEXT_LEN, encode, pseudonyms};
pub use sensitive::Sensitive;
