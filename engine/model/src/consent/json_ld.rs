//! Consent records in JSON-LD with the Data Privacy Vocabulary (W3C DPVCG, "Consent Records and Receipts as per ISO/IEC TS
//! 27560:2023 using DPV", profile `dpv-27560#record`).
//!
//! Terms are known by what stands behind their prefix: `dpv:hasPurpose`, `hasPurpose` and the whole IRI are the same one. A
//! property that an object states twice has both values: nothing that was said is passed over.

use std::fmt;

use chrono::{DateTime, Days, FixedOffset, Months, NaiveDate, NaiveDateTime, NaiveTime};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::coverage::last_segment;
use super::{ConsentEvent, ConsentRecord, ConsentState, Process};

/// Korea Standard Time: dates of a run are those of its clock.
const HOURS_AHEAD_OF_UTC: i32 = 9;

/// A JSON value that keeps every property, stated twice or not.
enum Node {
    Text(String),
    Other,
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Text(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Text(number.to_string()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Object(entries))
    }
}

impl Node {
    /// The values of a property, lists taken apart.
    fn all<'a>(&'a self, term: &str) -> Box<dyn Iterator<Item = &'a Node> + 'a> {
        let Self::Object(entries) = self else { return Box::new(std::iter::empty()) };
        let of_term: Vec<&Node> =
            entries.iter().filter(|(name, _)| last_segment(name) == term).map(|(_, value)| value).collect();
        Box::new(of_term.into_iter().flat_map(Node::each))
    }

    /// The node, or those of a list.
    fn each(&self) -> Box<dyn Iterator<Item = &Node> + '_> {
        match self {
            Self::List(nodes) => Box::new(nodes.iter().flat_map(Node::each)),
            other => Box::new(std::iter::once(other)),
        }
    }

    /// What names the node: its text, else the first of these properties that has one.
    fn name(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.trim()).filter(|text| !text.is_empty()),
            Self::Object(_) => {
                ["@id", "@value", "identifier", "broader", "title", "value"].iter().find_map(|term| self.text(term))
            }
            _ => None,
        }
    }

    fn text<'a>(&'a self, term: &str) -> Option<&'a str> {
        self.all(term).find_map(|node| match node {
            Self::Text(text) => Some(text.trim()).filter(|text| !text.is_empty()),
            Self::Object(_) => node.text("@value").or_else(|| node.text("@id")),
            _ => None,
        })
    }

    fn names(&self, terms: &[&str]) -> Vec<String> {
        let named = terms.iter().flat_map(|term| self.all(term)).filter_map(Node::name);
        named.map(str::to_owned).collect()
    }

    fn is_a(&self, class: &str) -> bool {
        self.all("@type").chain(self.all("type")).filter_map(Node::name).any(|name| last_segment(name) == class)
    }
}

/// A record, or what is wrong with it.
type Record = Result<ConsentRecord, String>;

/// The records of a text.
///
/// # Errors
/// What is wrong with the text as a whole.
pub(super) fn records(text: &str) -> Result<Vec<Record>, String> {
    let not_json = |error: serde_json::Error| format!("line {}, column {}: not JSON", error.line(), error.column());
    let mut records = Vec::new();
    for node in serde_json::Deserializer::from_str(text.trim_start_matches('\u{feff}')).into_iter::<Node>() {
        for node in node.map_err(not_json)?.each() {
            let graph: Vec<&Node> = node.all("@graph").collect();
            if graph.is_empty() {
                records.push(record(node));
            } else {
                records.extend(graph.into_iter().filter(|node| node.is_a("ConsentRecord")).map(record));
            }
        }
    }
    Ok(records)
}

fn record(node: &Node) -> Record {
    if !node.is_a("ConsentRecord") {
        return Err("not a `dpv:ConsentRecord`".to_owned());
    }
    let mut ids: Vec<String> =
        ["identifier", "@id"].iter().filter_map(|term| node.text(term)).map(str::to_owned).collect();
    ids.dedup();
    if ids.is_empty() {
        return Err("it has neither `dct:identifier` nor `@id`".to_owned());
    }
    let mut events = node.all("hasConsentStatus").map(event).collect::<Result<Vec<_>, _>>()?;
    if events.is_empty() {
        return Err("it has no `dpv:hasConsentStatus`".to_owned());
    }
    events.sort_unstable();
    let processes = node.all("hasProcess").map(process).collect::<Result<Vec<_>, _>>()?;
    if processes.is_empty() {
        return Err("it has no `dpv:hasProcess`".to_owned());
    }
    Ok(ConsentRecord { ids, events, processes })
}

fn process(node: &Node) -> Result<Process, String> {
    let process = Process {
        purposes: node.names(&["hasPurpose", "hasService"]),
        recipients: node.names(&["hasRecipient"]),
        data: node.names(&["hasPersonalData"]),
        ..Process::default()
    };
    let lacks = [
        ("hasPurpose", process.purposes.is_empty()),
        ("hasRecipient", process.recipients.is_empty()),
        ("hasPersonalData", process.data.is_empty()),
    ];
    match lacks.into_iter().find(|(_, lacks)| *lacks) {
        Some((term, _)) => Err(format!("a `dpv:hasProcess` has no `dpv:{term}`")),
        None => Ok(process),
    }
}

/// The states that the vocabulary has a word for.
const STATES: [(&str, ConsentState); 10] = [
    ("ConsentGiven", ConsentState::Given),
    ("RenewedConsentGiven", ConsentState::Given),
    ("ConsentRequested", ConsentState::NotGiven),
    ("ConsentRequestDeferred", ConsentState::NotGiven),
    ("ConsentRefused", ConsentState::NotGiven),
    ("ConsentUnknown", ConsentState::NotGiven),
    ("ConsentExpired", ConsentState::Expired),
    ("ConsentInvalidated", ConsentState::Expired),
    ("ConsentRevoked", ConsentState::Withdrawn),
    ("ConsentWithdrawn", ConsentState::Withdrawn),
];

fn event(node: &Node) -> Result<ConsentEvent, String> {
    // The strictest of several words: an event may be of a kind of consent too.
    let state = STATES.iter().filter(|(word, _)| node.is_a(word)).map(|(_, state)| *state).max();
    let state = state.ok_or("a `dpv:hasConsentStatus` has no state that is known")?;
    let at = node.text("isIndicatedAtTime").and_then(instant);
    let at = at.ok_or("a `dpv:hasConsentStatus` has no `dpv:isIndicatedAtTime` that is a date or time")?;
    let until = node.all("hasDuration").map(|duration| end(duration, at)).collect::<Result<Vec<_>, _>>()?;
    Ok(ConsentEvent { at, state, until: until.into_iter().flatten().min() })
}

/// The end of a duration; `None` for one without end.
fn end(node: &Node, from: NaiveDateTime) -> Result<Option<NaiveDateTime>, String> {
    let value = match node {
        Node::Text(text) => Some(text.trim()),
        node => node.text("value").or_else(|| node.text("@value")),
    };
    let until = value.and_then(|text| instant(text).or_else(|| after(text, from)));
    match until {
        _ if node.is_a("EndlessDuration")
            || node.name().is_some_and(|name| last_segment(name) == "EndlessDuration") =>
        {
            Ok(None)
        }
        // Somebody has to say when an event has come, or how often it was used: we cannot.
        _ if node.is_a("UntilEventDuration") || node.is_a("FixedOccurrencesDuration") => {
            Err("a `dpv:hasDuration` ends with an event that nobody can check here".to_owned())
        }
        Some(until) => Ok(Some(until)),
        None => Err("a `dpv:hasDuration` is neither a time nor a duration such as P6M".to_owned()),
    }
}

/// A date, or a time of ISO 8601; with an offset, by the clock of Korea.
fn instant(text: &str) -> Option<NaiveDateTime> {
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Some(date.and_time(NaiveTime::MIN));
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.with_timezone(&FixedOffset::east_opt(HOURS_AHEAD_OF_UTC * 3600)?).naive_local());
    }
    text.parse::<NaiveDateTime>().ok()
}

/// The end of a duration of ISO 8601 in years, months, weeks and days, such as `P1Y6M`.
fn after(text: &str, from: NaiveDateTime) -> Option<NaiveDateTime> {
    let mut rest = text.strip_prefix('P').filter(|rest| !rest.is_empty())?;
    let (mut months, mut days) = (0u32, 0u64);
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u32 = rest[..unit_at].parse().ok()?;
        match rest.as_bytes()[unit_at] {
            b'Y' => months = months.checked_add(number.checked_mul(12)?)?,
            b'M' => months = months.checked_add(number)?,
            b'W' => days += u64::from(number) * 7,
            b'D' => days += u64::from(number),
            _ => return None,
        }
        rest = &rest[unit_at + 1..];
    }
    from.checked_add_months(Months::new(months))?.checked_add_days(Days::new(days))
}
