//! A request as received, its withdrawal, and how often a periodic one is due.

mod cadence;
mod fields;
#[cfg(test)]
mod fixture;
mod shared;
mod values;

use std::fmt;
use std::sync::Arc;

use chrono::NaiveDate;

use crate::service::Applicant;

pub use cadence::CYCLES;
pub use fields::{FIELDS, Texts, WITHDRAWAL_FIELDS};
pub use values::is_kind;

/// The words for how a bundle is written.
pub const FORMATS: &[&str] = &["json", "parquet"];

/// An identifier of the data subject. Its value never appears in debug output.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectId {
    /// Kind: `rrno`, `frno`, `ci`, `brno`, `crno`, `patient`, …
    pub kind: Arc<str>,
    /// The identifier as received.
    pub value: Box<str>,
}

impl fmt::Debug for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectId").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A document that a request names itself, without a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestedDocument {
    /// Dataset code.
    pub dataset: String,
    /// Items asked for; absent means the view, or the dataset's default minimum.
    pub items: Option<Vec<String>>,
    /// Named item list of the dataset.
    pub view: Option<String>,
}

/// A request as received: the union of the fields the statutes ask for (민원처리법, 전자정부법, 개인정보보호법).
///
/// Requests that one thread reads share the words and lists they have in common.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Unique name; safe as a file name, see [`is_request_id`].
    pub request_id: String,
    /// The statute the request is made under.
    pub regime: Arc<str>,
    /// Who the data is about.
    pub subject_ids: Vec<SubjectId>,
    /// Who applies; a person unless told otherwise.
    pub applicant: Applicant,
    /// Bundle service; a request names a service or documents, not both.
    pub service: Option<Arc<str>>,
    /// Documents asked for one by one.
    pub documents: Arc<[RequestedDocument]>,
    /// Code of the recipient; empty means the service's recipient.
    pub recipient: Arc<str>,
    /// Kind of recipient the request claims.
    pub recipient_type: Option<Arc<str>>,
    /// Code of the holder.
    pub holder: Option<Arc<str>>,
    /// Purpose of use; empty means the service's purpose.
    pub purpose: Arc<str>,
    /// Whether the data is to be sent again and again.
    pub periodic: bool,
    /// How often, one of [`CYCLES`].
    pub cycle: Option<Arc<str>>,
    /// Last date of a periodic request.
    pub until: Option<NaiveDate>,
    /// Days the recipient may keep the data.
    pub retention_days: Option<u32>,
    /// When the request was made.
    pub requested_at: NaiveDate,
    /// First date the consent is valid on.
    pub valid_from: Option<NaiveDate>,
    /// Last date the consent is valid on.
    pub valid_until: Option<NaiveDate>,
    /// Dataset codes the subject consented to.
    pub consented_documents: Option<Arc<[Box<str>]>>,
    /// Name of the consent record that the request rests on.
    pub consent_id: Option<Box<str>>,
    /// Agent or legal representative.
    pub agent: Option<String>,
    /// Whether the agent's authority is confirmed.
    pub agent_confirmed: bool,
    /// How the identity was proved.
    pub auth_method: Option<Arc<str>>,
    /// Whether the identity is confirmed.
    pub verified: bool,
    /// Why third-person items (class `T`) may be delivered.
    pub third_person_reason: Option<String>,
    /// How the bundle is written, one of [`FORMATS`].
    pub format: Option<Arc<str>>,
    /// Where in the request file.
    pub line: u64,
}

impl fmt::Debug for Request {
    /// Shows what is asked and where it stands in the file, and nothing about a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("request_id", &self.request_id)
            .field("line", &self.line)
            .field("subject_ids", &self.subject_ids)
            .field("service", &self.service)
            .field("documents", &self.documents)
            .field("recipient", &self.recipient)
            .finish_non_exhaustive()
    }
}

/// A request or withdrawal that cannot be read. What is told of it never carries the text that was found; the row itself
/// goes to the rejects.
#[derive(Clone, PartialEq, Eq)]
pub struct MalformedRequest {
    /// The request file, as the run definition names it; empty until its reader says.
    pub file: String,
    /// The request's name, where that much could be read.
    pub request_id: Option<String>,
    /// Where in the request file.
    pub line: u64,
    /// The field that breaks the contract.
    pub field: &'static str,
    /// What the field should hold.
    pub expected: String,
    /// The row's bytes as they stand in the file; of a Parquet file, its texts as a JSON object. Empty until its reader says.
    pub raw: Vec<u8>,
}

impl fmt::Debug for MalformedRequest {
    /// Without the row.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("MalformedRequest");
        shown.field("file", &self.file).field("request_id", &self.request_id).field("line", &self.line);
        shown.field("field", &self.field).field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl fmt::Display for MalformedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: `{}` must be {}", self.line, self.field, self.expected)
    }
}

/// The subject takes back a request, or one document of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// The request taken back.
    pub request_id: String,
    /// From when on.
    pub withdrawn_at: NaiveDate,
    /// The document taken back; absent means the whole request.
    pub dataset: Option<String>,
    /// Where in the withdrawal file.
    pub line: u64,
}

/// Whether `text` can name a request: 1 to 64 letters, digits, `.`, `_`, `-`, and no `.` in front, so that it is a safe file name.
pub fn is_request_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::fixture::*;
    use super::*;

    #[test]
    fn a_request_id_is_a_safe_file_name() {
        let long = "a".repeat(65);
        for wrong in ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "가", long.as_str()] {
            let malformed = read_with("request_id", wrong).unwrap_err();
            assert_eq!((malformed.field, malformed.request_id), ("request_id", None), "{wrong}");
        }
        assert!(is_request_id(&long[1..]) && is_request_id("a..b") && is_request_id("-"));
    }

    #[test]
    fn debug_output_does_not_show_who_it_is_about() {
        let mut request = read_with("subject_ids", "rrno:9001011234567").unwrap();
        request.agent = Some("홍길동".to_owned());
        let shown = format!("{request:?}");
        assert!(shown.contains("rrno") && shown.contains("r1"));
        assert!(!shown.contains("9001011234567") && !shown.contains("홍길동"));
    }
}
