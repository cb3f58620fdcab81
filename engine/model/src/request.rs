//! A request as received, its withdrawal, and how often a periodic one is due.

use std::borrow::Cow;
use std::fmt;

use chrono::{Datelike, NaiveDate};

use crate::service::Applicant;

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
    "agent",
    "agent_confirmed",
    "auth_method",
    "verified",
    "third_person_reason",
    "format",
];

/// Names of the fields a withdrawal may have, as [`Withdrawal::from_fields`] asks for them.
pub const WITHDRAWAL_FIELDS: &[&str] = &["request_id", "withdrawn_at", "dataset"];

/// The words for how often a periodic request is due.
pub const CYCLES: &[&str] = &["daily", "weekly", "monthly", "quarterly", "yearly"];

/// The words for how a bundle is written.
pub const FORMATS: &[&str] = &["json", "parquet"];

/// An identifier of the data subject. Its value never appears in debug output.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectId {
    /// Kind: `rrno`, `frno`, `ci`, `brno`, `crno`, `patient`, …
    pub kind: String,
    /// The identifier as received.
    pub value: String,
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
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Unique name; safe as a file name, see [`is_request_id`].
    pub request_id: String,
    /// The statute the request is made under.
    pub regime: String,
    /// Who the data is about.
    pub subject_ids: Vec<SubjectId>,
    /// Who applies; a person unless told otherwise.
    pub applicant: Applicant,
    /// Bundle service; a request names a service or documents, not both.
    pub service: Option<String>,
    /// Documents asked for one by one.
    pub documents: Vec<RequestedDocument>,
    /// Code of the recipient; empty means the service's recipient.
    pub recipient: String,
    /// Kind of recipient the request claims.
    pub recipient_type: Option<String>,
    /// Code of the holder.
    pub holder: Option<String>,
    /// Purpose of use; empty means the service's purpose.
    pub purpose: String,
    /// Whether the data is to be sent again and again.
    pub periodic: bool,
    /// How often, one of [`CYCLES`].
    pub cycle: Option<String>,
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
    pub consented_documents: Option<Vec<String>>,
    /// Agent or legal representative.
    pub agent: Option<String>,
    /// Whether the agent's authority is confirmed.
    pub agent_confirmed: bool,
    /// How the identity was proved.
    pub auth_method: Option<String>,
    /// Whether the identity is confirmed.
    pub verified: bool,
    /// Why third-person items (class `T`) may be delivered.
    pub third_person_reason: Option<String>,
    /// How the bundle is written, one of [`FORMATS`].
    pub format: Option<String>,
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

/// A request or withdrawal that cannot be read. Never carries the text that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedRequest {
    /// The request's name, where that much could be read.
    pub request_id: Option<String>,
    /// Where in the request file.
    pub line: u64,
    /// The field that breaks the contract.
    pub field: &'static str,
    /// What the field should hold.
    pub expected: String,
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
}

/// Whether `text` can name a request: 1 to 64 letters, digits, `.`, `_`, `-`, and no `.` in front, so that it is a safe file name.
pub fn is_request_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

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
            regime: fields.text(place!(FIELDS, "regime")).unwrap_or_default(),
            subject_ids: fields
                .read(place!(FIELDS, "subject_ids"), "`kind:value` pairs separated by `;`", subject_ids)?
                .unwrap_or_default(),
            applicant: fields
                .read(place!(FIELDS, "applicant"), "`person` or `corporation`", applicant)?
                .unwrap_or(Applicant::Person),
            service: fields.text(place!(FIELDS, "service")),
            documents: fields.read(place!(FIELDS, "documents"), DOCUMENTS, documents)?.unwrap_or_default(),
            recipient: fields.text(place!(FIELDS, "recipient")).unwrap_or_default(),
            recipient_type: fields.text(place!(FIELDS, "recipient_type")),
            holder: fields.text(place!(FIELDS, "holder")),
            purpose: fields.text(place!(FIELDS, "purpose")).unwrap_or_default(),
            periodic: fields.flag(place!(FIELDS, "periodic"))?,
            cycle: fields.word(place!(FIELDS, "cycle"), CYCLES)?,
            until: fields.date(place!(FIELDS, "until"))?,
            retention_days: fields
                .read(place!(FIELDS, "retention_days"), "a whole number of days", |text| text.parse().ok())?,
            requested_at: fields.required_date(place!(FIELDS, "requested_at"))?,
            valid_from: fields.date(place!(FIELDS, "valid_from"))?,
            valid_until: fields.date(place!(FIELDS, "valid_until"))?,
            consented_documents: fields
                .present(place!(FIELDS, "consented_documents"))
                .map(|text| list(&text, ';').map(str::to_owned).collect()),
            agent: fields.text(place!(FIELDS, "agent")),
            agent_confirmed: fields.flag(place!(FIELDS, "agent_confirmed"))?,
            auth_method: fields.text(place!(FIELDS, "auth_method")),
            verified: fields.flag(place!(FIELDS, "verified"))?,
            third_person_reason: fields.text(place!(FIELDS, "third_person_reason")),
            format: fields.word(place!(FIELDS, "format"), FORMATS)?,
            request_id: fields.request_id,
            line,
        })
    }

    /// Whether the request is to be answered on that date. One that is not periodic always is.
    ///
    /// Cycles are counted on the calendar from `requested_at`: monthly on the 31st falls on the last day of a shorter month.
    pub fn is_due(&self, on: NaiveDate) -> bool {
        if !self.periodic {
            return true;
        }
        let from = self.requested_at;
        if on < from || self.until.is_some_and(|until| on > until) {
            return false;
        }
        match self.cycle.as_deref() {
            Some("daily") => true,
            Some("weekly") => (on - from).num_days() % 7 == 0,
            Some("monthly") => falls_on(from, on, 1),
            Some("quarterly") => falls_on(from, on, 3),
            Some("yearly") => falls_on(from, on, 12),
            _ => false,
        }
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

/// Whether `on` lies a multiple of `months` after `from`, on the same day or on the last one of a shorter month.
fn falls_on(from: NaiveDate, on: NaiveDate, months: i32) -> bool {
    let apart = (on.year() - from.year()) * 12 + on.month0() as i32 - from.month0() as i32;
    let ends_its_month = on.succ_opt().is_none_or(|next| next.month() != on.month());
    apart % months == 0 && (on.day() == from.day() || (on.day() < from.day() && ends_its_month))
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
            request_id: None,
            line,
            field: "request_id",
            expected: "1 to 64 letters, digits, `.`, `_` or `-`, not starting with `.`".to_owned(),
        })?;
        Ok(Self { names, get, line, request_id })
    }

    fn present(&self, field: usize) -> Option<Cow<'a, str>> {
        present((self.get)(field))
    }

    fn text(&self, field: usize) -> Option<String> {
        self.present(field).map(Cow::into_owned)
    }

    fn malformed(&self, field: usize, expected: impl Into<String>) -> MalformedRequest {
        MalformedRequest {
            request_id: Some(self.request_id.clone()),
            line: self.line,
            field: self.names[field],
            expected: expected.into(),
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

    fn word(&self, field: usize, words: &[&str]) -> Result<Option<String>, MalformedRequest> {
        match self.present(field) {
            Some(text) if !words.contains(&&*text) => {
                Err(self.malformed(field, format!("one of {}", words.join(", "))))
            }
            text => Ok(text.map(Cow::into_owned)),
        }
    }
}

const DATE: &str = "a date, YYYY-MM-DD or YYYYMMDD";

const DOCUMENTS: &str = "`dataset`, `dataset@view` or `dataset(item,item)`, separated by `;`";

fn present(text: Option<Cow<'_, str>>) -> Option<Cow<'_, str>> {
    let text = match text? {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    };
    (!text.is_empty()).then_some(text)
}

fn list(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator).map(str::trim).filter(|part| !part.is_empty())
}

fn flag(text: &str) -> Option<bool> {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    if is("true") || is("y") {
        Some(true)
    } else if is("false") || is("n") {
        Some(false)
    } else {
        None
    }
}

fn date(text: &str) -> Option<NaiveDate> {
    let bytes = text.as_bytes();
    let (year, month, day) = match bytes.len() {
        8 => (&bytes[..4], &bytes[4..6], &bytes[6..]),
        10 if bytes[4] == b'-' && bytes[7] == b'-' => (&bytes[..4], &bytes[5..7], &bytes[8..]),
        _ => return None,
    };
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
    };
    NaiveDate::from_ymd_opt(number(year)? as i32, number(month)?, number(day)?)
}

fn applicant(text: &str) -> Option<Applicant> {
    match text {
        "person" => Some(Applicant::Person),
        "corporation" => Some(Applicant::Corporation),
        _ => None,
    }
}

fn subject_ids(text: &str) -> Option<Vec<SubjectId>> {
    list(text, ';').map(subject_id).collect()
}

fn subject_id(pair: &str) -> Option<SubjectId> {
    let (kind, value) = pair.split_once(':')?;
    let (kind, value) = (kind.trim(), value.trim());
    let named = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    (named && !value.is_empty()).then(|| SubjectId { kind: kind.to_owned(), value: value.to_owned() })
}

fn documents(text: &str) -> Option<Vec<RequestedDocument>> {
    list(text, ';').map(document).collect()
}

fn document(part: &str) -> Option<RequestedDocument> {
    let (dataset, items, view) = if let Some((dataset, rest)) = part.split_once('(') {
        let items: Option<Vec<String>> = rest.strip_suffix(')')?.split(',').map(name).collect();
        (dataset, Some(items?), None)
    } else if let Some((dataset, view)) = part.split_once('@') {
        (dataset, None, Some(name(view)?))
    } else {
        (part, None, None)
    };
    Some(RequestedDocument { dataset: name(dataset)?, items, view })
}

fn name(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && !text.contains(['(', ')', '@', ',', ';'])).then(|| text.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        date(text).unwrap()
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Request, MalformedRequest> {
        let get = |name: &str| {
            assert!(FIELDS.contains(&name), "{name} is asked for but not listed");
            pairs.iter().rev().find(|(field, _)| *field == name).map(|(_, text)| Cow::Borrowed(*text))
        };
        Request::from_fields(&get, 7)
    }

    fn read_with(field: &str, text: &str) -> Result<Request, MalformedRequest> {
        read(&[("request_id", "r1"), ("requested_at", "20260101"), (field, text)])
    }

    #[test]
    fn a_periodic_request_is_due_on_the_calendar() {
        let table = [
            ("daily", "2026-01-31", None, "2026-01-30", false),
            ("daily", "2026-01-31", None, "2026-01-31", true),
            ("daily", "2026-01-31", None, "2026-02-01", true),
            ("daily", "2026-01-31", Some("2026-02-01"), "2026-02-01", true),
            ("daily", "2026-01-31", Some("2026-02-01"), "2026-02-02", false),
            ("weekly", "2026-01-01", None, "2026-01-08", true),
            ("weekly", "2026-01-01", None, "2026-01-09", false),
            ("monthly", "2026-01-31", None, "2026-02-27", false),
            ("monthly", "2026-01-31", None, "2026-02-28", true),
            ("monthly", "2026-01-31", None, "2026-03-30", false),
            ("monthly", "2026-01-31", None, "2026-03-31", true),
            ("monthly", "2026-01-31", None, "2026-04-30", true),
            ("monthly", "2026-02-28", None, "2026-03-31", false),
            ("monthly", "2026-01-31", None, "2028-02-28", false),
            ("monthly", "2026-01-31", None, "2028-02-29", true),
            ("quarterly", "2025-11-30", None, "2026-02-28", true),
            ("quarterly", "2025-11-30", None, "2026-03-30", false),
            ("quarterly", "2025-11-30", None, "2026-05-30", true),
            ("yearly", "2024-02-29", None, "2025-02-28", true),
            ("yearly", "2024-02-29", None, "2028-02-28", false),
            ("yearly", "2024-02-29", None, "2028-02-29", true),
            ("yearly", "2026-01-01", None, "2026-02-01", false),
            ("hourly", "2026-01-01", None, "2026-01-01", false),
        ];
        for (cycle, from, until, on, due) in table {
            let mut request = read_with("periodic", "Y").unwrap();
            request.cycle = Some(cycle.to_owned());
            request.requested_at = day(from);
            request.until = until.map(day);
            assert_eq!(request.is_due(day(on)), due, "{cycle} from {from} until {until:?} on {on}");
        }
        assert!(read_with("periodic", "N").unwrap().is_due(day("2030-05-05")));
    }

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
        let kinds: Vec<_> = request.subject_ids.iter().map(|id| id.kind.as_str()).collect();
        assert_eq!(kinds, ["rrno", "brno"]);
        assert_eq!(request.subject_ids[1].value, "123-45-67890");
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
        assert_eq!(request.documents, expected);
        assert_eq!((request.until, request.retention_days), (Some(day("20270131")), Some(30)));
        assert_eq!(request.requested_at, day("2026-01-31"));
        assert_eq!(request.consented_documents, Some(vec!["tax".to_owned(), "land".to_owned()]));
        assert!(request.periodic && request.verified && !request.agent_confirmed);
        assert_eq!((request.agent, request.line), (None, 7));
    }

    #[test]
    fn what_is_left_out_takes_the_cautious_default() {
        let request = read_with("verified", "").unwrap();
        assert!(!request.verified && !request.periodic && !request.agent_confirmed);
        assert_eq!(request.applicant, Applicant::Person);
        assert_eq!(request.consented_documents, None);
        assert_eq!(read_with("consented_documents", ";").unwrap().consented_documents, Some(Vec::new()));
    }

    #[test]
    fn a_field_that_breaks_its_contract_is_named_without_its_value() {
        let table = [
            ("subject_ids", "9001011234567"),
            ("subject_ids", "rrno:"),
            ("subject_ids", ":9001011234567"),
            ("applicant", "dog"),
            ("documents", "tax(a"),
            ("documents", "tax()"),
            ("documents", "tax(a,)"),
            ("documents", "tax(a)@basic"),
            ("documents", "tax@"),
            ("documents", "@basic"),
            ("documents", "tax)"),
            ("periodic", "yes"),
            ("verified", "1"),
            ("cycle", "hourly"),
            ("until", "2026-02-30"),
            ("until", "2026-2-3"),
            ("until", "+2026010"),
            ("until", "2026-01-1일"),
            ("retention_days", "-1"),
            ("requested_at", "yesterday"),
            ("requested_at", ""),
            ("format", "xml"),
        ];
        for (field, text) in table {
            let malformed = read_with(field, text).unwrap_err();
            assert_eq!((malformed.field, malformed.line), (field, 7), "{text}");
            assert_eq!(malformed.request_id.as_deref(), Some("r1"));
            assert!(text.len() < 5 || !malformed.to_string().contains(text), "{text}");
        }
    }

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
