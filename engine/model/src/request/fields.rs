//! The flat form: a request or withdrawal read field by field.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::NaiveDate;

use crate::service::Applicant;

use super::values::{
    CONSENT_ID, DATE, DOCUMENTS, applicant, codes, consent_id, date, documents, flag, present, subject_ids,
};
use super::{CYCLES, FORMATS, MalformedRequest, Request, Withdrawal, is_request_id, shared};

/// Names of the fields a request may have, as [`Request::from_fields`] asks for them.
pub const FIELDS: &[&str] = &[
    "request_id",
    "regime",
    "subject_ids",
    "applicant",
    "service",
    "documents",
    "recipient",
    "recipient_type",
    "holder",
    "purpose",
    "periodic",
    "cycle",
    "until",
    "retention_days",
    "requested_at",
    "valid_from",
    "valid_until",
    "consented_documents",
    "consent_id",
    "agent",
    "agent_confirmed",
    "auth_method",
    "verified",
    "third_person_reason",
    "format",
];

/// Names of the fields a withdrawal may have, as [`Withdrawal::from_fields`] asks for them.
pub const WITHDRAWAL_FIELDS: &[&str] = &["request_id", "withdrawn_at", "dataset"];

/// Answers a place among the names of the fields with the row's text; `None` if it is absent.
pub type Texts<'a> = dyn Fn(usize) -> Option<Cow<'a, str>> + 'a;

/// The place of a name among the names of the fields; one that is not there does not compile.
macro_rules! place {
    ($names:ident, $name:literal) => {
        const { place($names, $name) }
    };
}

impl Request {
    /// Reads the flat form of CSV rows, Parquet rows and JSON lines: `get` answers a name of [`FIELDS`] with its text.
    ///
    /// Blank text counts as absent; `;` alone is a list that is given and empty.
    pub fn from_fields<'a>(
        get: &(dyn Fn(&str) -> Option<Cow<'a, str>> + 'a),
        line: u64,
    ) -> Result<Self, MalformedRequest> {
        Self::from_places(&|place| get(FIELDS[place]), line)
    }

    /// As [`Request::from_fields`], for a reader that looks up each name of [`FIELDS`] once for all its rows.
    pub fn from_places(get: &Texts<'_>, line: u64) -> Result<Self, MalformedRequest> {
        let fields = Fields::new(FIELDS, place!(FIELDS, "request_id"), get, line)?;
        Ok(Self {
            regime: fields.shared(place!(FIELDS, "regime")).unwrap_or_default(),
            subject_ids: fields
                .read(place!(FIELDS, "subject_ids"), "`kind:value` pairs separated by `;`", subject_ids)?
                .unwrap_or_default(),
            applicant: fields
                .read(place!(FIELDS, "applicant"), "`person` or `corporation`", applicant)?
                .unwrap_or(Applicant::Person),
            service: fields.shared(place!(FIELDS, "service")),
            documents: fields.read(place!(FIELDS, "documents"), DOCUMENTS, documents)?.unwrap_or_default(),
            recipient: fields.shared(place!(FIELDS, "recipient")).unwrap_or_default(),
            recipient_type: fields.shared(place!(FIELDS, "recipient_type")),
            holder: fields.shared(place!(FIELDS, "holder")),
            purpose: fields.shared(place!(FIELDS, "purpose")).unwrap_or_default(),
            periodic: fields.flag(place!(FIELDS, "periodic"))?,
            cycle: fields.word(place!(FIELDS, "cycle"), CYCLES)?,
            until: fields.date(place!(FIELDS, "until"))?,
            retention_days: fields
                .read(place!(FIELDS, "retention_days"), "a whole number of days", |text| text.parse().ok())?,
            requested_at: fields.required_date(place!(FIELDS, "requested_at"))?,
            valid_from: fields.date(place!(FIELDS, "valid_from"))?,
            valid_until: fields.date(place!(FIELDS, "valid_until"))?,
            consented_documents: fields.present(place!(FIELDS, "consented_documents")).map(|text| codes(&text)),
            consent_id: fields.read(place!(FIELDS, "consent_id"), CONSENT_ID, consent_id)?,
            agent: fields.text(place!(FIELDS, "agent")),
            agent_confirmed: fields.flag(place!(FIELDS, "agent_confirmed"))?,
            auth_method: fields.shared(place!(FIELDS, "auth_method")),
            verified: fields.flag(place!(FIELDS, "verified"))?,
            third_person_reason: fields.text(place!(FIELDS, "third_person_reason")),
            format: fields.word(place!(FIELDS, "format"), FORMATS)?,
            request_id: fields.request_id,
            line,
        })
    }
}

impl Withdrawal {
    /// Reads the flat form: `get` answers a name of [`WITHDRAWAL_FIELDS`] with its text.
    pub fn from_fields<'a>(
        get: &(dyn Fn(&str) -> Option<Cow<'a, str>> + 'a),
        line: u64,
    ) -> Result<Self, MalformedRequest> {
        Self::from_places(&|place| get(WITHDRAWAL_FIELDS[place]), line)
    }

    /// As [`Withdrawal::from_fields`], by the place of a name among [`WITHDRAWAL_FIELDS`].
    pub fn from_places(get: &Texts<'_>, line: u64) -> Result<Self, MalformedRequest> {
        let fields = Fields::new(WITHDRAWAL_FIELDS, place!(WITHDRAWAL_FIELDS, "request_id"), get, line)?;
        Ok(Self {
            withdrawn_at: fields.required_date(place!(WITHDRAWAL_FIELDS, "withdrawn_at"))?,
            dataset: fields.text(place!(WITHDRAWAL_FIELDS, "dataset")),
            request_id: fields.request_id,
            line,
        })
    }
}

/// The place of `name` among `names`, found at compile time.
const fn place(names: &[&str], name: &str) -> usize {
    let mut place = 0;
    while !same(names[place].as_bytes(), name.as_bytes()) {
        place += 1;
    }
    place
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// A row of a request file whose `request_id` has been read.
struct Fields<'g, 'a> {
    names: &'static [&'static str],
    get: &'g Texts<'a>,
    line: u64,
    request_id: String,
}

impl<'g, 'a> Fields<'g, 'a> {
    fn new(
        names: &'static [&'static str],
        request_id: usize,
        get: &'g Texts<'a>,
        line: u64,
    ) -> Result<Self, MalformedRequest> {
        let request_id = present(get(request_id)).filter(|text| is_request_id(text));
        let request_id = request_id.map(Cow::into_owned).ok_or_else(|| MalformedRequest {
            file: String::new(),
            request_id: None,
            line,
            field: "request_id",
            expected: "1 to 64 letters, digits, `.`, `_` or `-`, not starting with `.`".to_owned(),
            raw: Vec::new(),
        })?;
        Ok(Self { names, get, line, request_id })
    }

    fn present(&self, field: usize) -> Option<Cow<'a, str>> {
        present((self.get)(field))
    }

    fn text(&self, field: usize) -> Option<String> {
        self.present(field).map(Cow::into_owned)
    }

    /// A text that many rows have in common.
    fn shared(&self, field: usize) -> Option<Arc<str>> {
        self.present(field).map(|text| shared::word(&text))
    }

    fn malformed(&self, field: usize, expected: impl Into<String>) -> MalformedRequest {
        MalformedRequest {
            file: String::new(),
            request_id: Some(self.request_id.clone()),
            line: self.line,
            field: self.names[field],
            expected: expected.into(),
            raw: Vec::new(),
        }
    }

    fn read<T>(
        &self,
        field: usize,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, MalformedRequest> {
        let Some(text) = self.present(field) else { return Ok(None) };
        parse(&text).map(Some).ok_or_else(|| self.malformed(field, expected))
    }

    fn flag(&self, field: usize) -> Result<bool, MalformedRequest> {
        Ok(self.read(field, "true, false, Y or N", flag)?.unwrap_or(false))
    }

    fn date(&self, field: usize) -> Result<Option<NaiveDate>, MalformedRequest> {
        self.read(field, DATE, date)
    }

    fn required_date(&self, field: usize) -> Result<NaiveDate, MalformedRequest> {
        self.date(field)?.ok_or_else(|| self.malformed(field, DATE))
    }

    fn word(&self, field: usize, words: &[&str]) -> Result<Option<Arc<str>>, MalformedRequest> {
        match self.present(field) {
            Some(text) if !words.contains(&&*text) => {
                Err(self.malformed(field, format!("one of {}", words.join(", "))))
            }
            text => Ok(text.map(|text| shared::word(&text))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::RequestedDocument;
    use super::super::fixture::*;
    use super::*;

    #[test]
    fn the_flat_form_is_read_field_by_field() {
        let request = read(&[
            ("request_id", " R-2026.0001_a "),
            ("regime", "pipa"),
            ("subject_ids", "rrno:900101-1234567; brno:123-45-67890;"),
            ("applicant", "corporation"),
            ("documents", "tax(a.1, a.10) ; family@basic;land"),
            ("recipient", "bank_a"),
            ("periodic", "Y"),
            ("cycle", "monthly"),
            ("until", "2027-01-31"),
            ("retention_days", "30"),
            ("requested_at", "20260131"),
            ("consented_documents", "tax;land"),
            ("verified", "true"),
            ("agent_confirmed", "n"),
            ("agent", "  "),
            ("format", "parquet"),
        ])
        .unwrap();
        assert_eq!(request.request_id, "R-2026.0001_a");
        let kinds: Vec<_> = request.subject_ids.iter().map(|id| &*id.kind).collect();
        assert_eq!(kinds, ["rrno", "brno"]);
        assert_eq!(&*request.subject_ids[1].value, "123-45-67890");
        assert_eq!(request.applicant, Applicant::Corporation);
        let document = |dataset: &str, items: Option<&[&str]>, view: Option<&str>| RequestedDocument {
            dataset: dataset.to_owned(),
            items: items.map(|items| items.iter().map(|item| (*item).to_owned()).collect()),
            view: view.map(str::to_owned),
        };
        let expected = [
            document("tax", Some(&["a.1", "a.10"]), None),
            document("family", None, Some("basic")),
            document("land", None, None),
        ];
        assert_eq!(*request.documents, expected);
        assert_eq!((request.until, request.retention_days), (Some(day("20270131")), Some(30)));
        assert_eq!(request.requested_at, day("2026-01-31"));
        assert_eq!(request.consented_documents, Some(["tax", "land"].map(Box::from).into()));
        assert!(request.periodic && request.verified && !request.agent_confirmed);
        assert_eq!((request.agent, request.line), (None, 7));
    }

    #[test]
    fn what_is_left_out_takes_the_cautious_default() {
        let request = read_with("verified", "").unwrap();
        assert!(!request.verified && !request.periodic && !request.agent_confirmed);
        assert_eq!(request.applicant, Applicant::Person);
        assert_eq!(request.consented_documents, None);
        assert_eq!(read_with("consented_documents", ";").unwrap().consented_documents, Some(Arc::default()));
    }

    #[test]
    fn a_withdrawal_is_read_like_a_request() {
        let read = |pairs: &[(&str, &str)]| {
            let get = |name: &str| {
                assert!(WITHDRAWAL_FIELDS.contains(&name));
                pairs.iter().find(|(field, _)| *field == name).map(|(_, text)| Cow::Borrowed(*text))
            };
            Withdrawal::from_fields(&get, 3)
        };
        let withdrawal = read(&[("request_id", "r1"), ("withdrawn_at", "2026-01-02"), ("dataset", "tax")]).unwrap();
        assert_eq!((withdrawal.withdrawn_at, withdrawal.dataset.as_deref()), (day("20260102"), Some("tax")));
        assert_eq!(read(&[("request_id", "r1"), ("withdrawn_at", "20260102")]).unwrap().dataset, None);
        assert_eq!(read(&[("request_id", "r1")]).unwrap_err().field, "withdrawn_at");
        assert_eq!(read(&[("withdrawn_at", "20260102")]).unwrap_err().field, "request_id");
    }
}
