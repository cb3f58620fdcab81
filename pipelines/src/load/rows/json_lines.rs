//! A JSON object a line; lines and objects of objects become the flat form.

use std::borrow::Cow;

use ieum_model::error::{Result, nearest};
use ieum_model::request::{MalformedRequest, is_request_id};
use serde_json::Value;

use super::{Format, Parse, Parsed, Split, joined, malformed};

/// How the lines of a file are read.
pub struct JsonLines<'a, T> {
    /// Names that an object may have.
    pub known: &'a [&'a str],
    /// Makes a value of an object.
    pub parse: Parse<T>,
}

impl<T: Send> Format<T> for JsonLines<'_, T> {
    fn split<'t>(&self, text: &'t str, line: u64, last: bool) -> Split<'t> {
        let taken = if last { text.len() } else { text.rfind('\n').map_or(0, |end| end + 1) };
        let mut next = line;
        let mut rows = Vec::new();
        for content in text[..taken].lines() {
            if !content.trim().is_empty() {
                rows.push((next, content));
            }
            next += 1;
        }
        Split { rows, taken, line: next }
    }

    fn row(&self, line: u64, content: &str) -> Result<Parsed<T>> {
        let Ok(Value::Object(object)) = serde_json::from_str::<Value>(content) else {
            return Ok(Err(malformed(line, "a JSON object")));
        };
        if let Some(unknown) = object.keys().find(|name| !self.known.contains(&name.as_str())) {
            let near = nearest(unknown, self.known.iter().copied());
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let request_id = object.get("request_id").and_then(json_text).filter(|id| is_request_id(id));
            let expected = format!("an object of known fields only{near}");
            return Ok(Err(MalformedRequest { request_id, ..malformed(line, expected) }));
        }
        Ok((self.parse)(&|place| object.get(self.known[place]).and_then(json_text).map(Cow::Owned), line))
    }
}

/// The flat form of a JSON value: arrays joined by `;`, objects as `name:value` pairs.
fn json_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(values) => Some(joined(values.iter().filter_map(json_text))),
        Value::Object(values) => {
            Some(joined(values.iter().filter_map(|(name, value)| Some(format!("{name}:{}", json_text(value)?)))))
        }
        other => Some(other.to_string()),
    }
}
