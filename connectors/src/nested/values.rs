//! The values that were found of an item in a row.

use std::ops::Range;

use ieum_model::path::Ending;

use crate::convert::Flaw;

const REPEATED: Flaw =
    Flaw { rule: "repeated", reason: "expected one value; a path may end in `[0]` or `join`, an item be a list" };
/// Bytes of a date as ISO 8601 writes it.
const DATE: usize = "2024-02-29".len();

/// Texts one after the other, `None` for those that are null.
#[derive(Debug, Default)]
pub struct Values {
    text: String,
    spans: Vec<Option<Range<usize>>>,
}

impl Values {
    /// Forgets what was found.
    pub fn clear(&mut self) {
        self.text.clear();
        self.spans.clear();
    }

    /// Adds a value.
    pub fn push(&mut self, text: &str) {
        self.push_with(|out| out.push_str(text));
    }

    /// Adds the value that `write` appends.
    pub fn push_with(&mut self, write: impl FnOnce(&mut String)) {
        let start = self.text.len();
        write(&mut self.text);
        self.spans.push(Some(start..self.text.len()));
    }

    /// Adds a value that there is none.
    pub fn push_null(&mut self) {
        self.spans.push(None);
    }

    /// The values in their order; blank ones are null.
    pub fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        let text = |span: &Range<usize>| &self.text[span.clone()];
        self.spans.iter().map(move |span| span.as_ref().map(text).filter(|text| !text.trim_start().is_empty()))
    }

    /// Bytes of all values.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Whether there is a value that is not null.
    pub fn has_some(&self) -> bool {
        self.iter().any(|value| value.is_some())
    }

    /// The value, if there is one.
    ///
    /// # Errors
    /// When there are several that differ.
    pub fn only(&self) -> Result<Option<&str>, Flaw> {
        let mut values = self.iter().flatten();
        let first = values.next();
        if values.any(|value| Some(value) != first) { Err(REPEATED) } else { Ok(first) }
    }

    /// Makes of the values what the end of their path says.
    pub fn end(&mut self, ending: &Ending) {
        match ending {
            Ending::Value => {}
            Ending::Key(resource) => self.keep_parts(|text| reference_key(text, resource.as_deref())),
            Ending::Date => self.keep_parts(|text| Some(date(text))),
            Ending::Joined(between) => {
                let joined = self.iter().flatten().collect::<Vec<_>>().join(between);
                let is_any = self.has_some();
                self.clear();
                if is_any {
                    self.push(&joined);
                }
            }
        }
    }

    /// Narrows every value to a part of it, or leaves it out.
    fn keep_parts(&mut self, part: impl Fn(&str) -> Option<Range<usize>>) {
        let text = &self.text;
        self.spans.retain_mut(|span| match span {
            None => true,
            Some(range) => part(&text[range.clone()]).is_some_and(|part| {
                *range = range.start + part.start..range.start + part.end;
                true
            }),
        });
    }
}

/// The date of `2024-02-29T13:00:00+09:00`; any other text as it is.
fn date(text: &str) -> Range<usize> {
    let is_moment = text.as_bytes().get(DATE).is_some_and(|byte| matches!(byte, b'T' | b't' | b' '));
    0..if is_moment { DATE } else { text.len() }
}

/// The id in `Patient/123`, `https://host/fhir/Patient/123/_history/2` or `urn:uuid:…` (FHIR R4, 2.3.0.1): of one of the
/// `resource` type, if it is named. A reference that searches (`Patient?identifier=…`) or stands inside (`#p1`) has none.
fn reference_key(text: &str, resource: Option<&str>) -> Option<Range<usize>> {
    for scheme in ["urn:uuid:", "urn:oid:"] {
        if text.starts_with(scheme) {
            return Some(scheme.len()..text.len());
        }
    }
    let whole = text.find("/_history/").map_or(text, |at| &text[..at]);
    let (before, id) = whole.rsplit_once('/')?;
    let kind = before.rsplit('/').next().unwrap_or(before);
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    let is_kind = kind.starts_with(|first: char| first.is_ascii_uppercase())
        && kind.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && resource.is_none_or(|resource| resource == kind);
    (is_id && is_kind).then(|| before.len() + 1..whole.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_gives_its_key() {
        let check = |text: &str, resource: Option<&str>, expected: Option<&str>| {
            assert_eq!(reference_key(text, resource).map(|range| &text[range]), expected, "{text}");
        };
        check("Patient/123", Some("Patient"), Some("123"));
        check("Patient/123", None, Some("123"));
        check("Group/123", Some("Patient"), None);
        check("https://host/fhir/Patient/a-b.c/_history/2", Some("Patient"), Some("a-b.c"));
        check("urn:uuid:0f3d79d5-ee2c", Some("Patient"), Some("0f3d79d5-ee2c"));
        for none in ["Patient?identifier=a|b/c", "#p1", "Patient/", "patient/1", "123", ""] {
            check(none, None, None);
        }
    }

    #[test]
    fn the_end_of_a_path_makes_something_of_its_values() {
        let check = |texts: &[Option<&str>], ending: Ending, expected: &[Option<&str>]| {
            let mut values = Values::default();
            for text in texts {
                match text {
                    Some(text) => values.push(text),
                    None => values.push_null(),
                }
            }
            values.end(&ending);
            assert_eq!(values.iter().collect::<Vec<_>>(), expected);
        };
        check(&[Some("a"), None, Some("b")], Ending::Joined(" ".into()), &[Some("a b")]);
        check(&[None, Some(" ")], Ending::Joined(" ".into()), &[]);
        check(&[Some("2024-02-29T01:02:03Z"), Some("2024-02")], Ending::Date, &[Some("2024-02-29"), Some("2024-02")]);
        let patient = Ending::Key(Some("Patient".into()));
        check(&[Some("Group/1"), Some("Patient/2"), None], patient, &[Some("2"), None]);
        check(&[Some("x")], Ending::Value, &[Some("x")]);
    }

    #[test]
    fn one_place_takes_one_value() {
        let mut values = Values::default();
        assert_eq!(values.only(), Ok(None));
        values.push_null();
        values.push("a");
        values.push("a");
        assert_eq!(values.only(), Ok(Some("a")));
        values.push("b");
        assert_eq!(values.only(), Err(REPEATED));
    }
}
