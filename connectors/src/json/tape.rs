//! A JSON text as a tape: its values in their order, each with its place in the text and where the next one begins.

use ieum_model::dataset::Encoding;

use crate::convert::Flaw;
use crate::encoding;
use crate::nested::find::Tree;
use crate::nested::values::Values;

const BROKEN: Flaw = Flaw { rule: "json", reason: "expected one JSON object after RFC 8259" };
const NOT_ENCODED: Flaw = Flaw { rule: "encoding", reason: "expected text in the encoding of the export" };
const HALF: Flaw = Flaw { rule: "encoding", reason: "expected no half of a surrogate pair" };
const NESTED: Flaw = Flaw { rule: "type", reason: "expected a value, found an object" };
const DEEP: Flaw =
    Flaw { rule: "nesting", reason: "expected a row no deeper than the limit; raise `limits = { depth = … }`" };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Object,
    Array,
    /// A string; the flag says whether it holds a backslash. The place is that of what is between the quotes.
    Text(bool),
    /// A number, `true` or `false`.
    Word,
    Null,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    kind: Kind,
    start: usize,
    end: usize,
    /// The node after this one and all it holds.
    next: usize,
}

/// The values of a row; the members of an object are its names and values by turns.
#[derive(Debug, Default)]
pub struct Tape {
    text: Vec<u8>,
    nodes: Vec<Node>,
    encoding: Encoding,
}

impl Tape {
    /// Reads an object no deeper than `depth`.
    ///
    /// # Errors
    /// The flaw of a text that is none.
    pub fn read(&mut self, text: &[u8], encoding: Encoding, depth: usize) -> Result<(), Flaw> {
        self.text.clear();
        self.text.extend_from_slice(text);
        self.nodes.clear();
        self.encoding = encoding;
        let mut reading = Reading { text, at: 0, nodes: &mut self.nodes };
        reading.skip_blank();
        if text.get(reading.at) != Some(&b'{') {
            return Err(BROKEN);
        }
        reading.value(depth)?;
        reading.skip_blank();
        if reading.at == text.len() { Ok(()) } else { Err(BROKEN) }
    }

    fn bytes(&self, node: Node) -> &[u8] {
        &self.text[node.start..node.end]
    }

    fn is_named(&self, node: Node, name: &str) -> bool {
        let bytes = self.bytes(node);
        if node.kind == Kind::Text(false) && bytes.is_ascii() {
            return bytes == name.as_bytes();
        }
        let mut values = Values::default();
        self.push_text(node, &mut values).is_ok() && values.iter().next() == Some(Some(name))
    }

    fn push_text(&self, node: Node, out: &mut Values) -> Result<(), Flaw> {
        let mut scratch = String::new();
        let text = encoding::decode(self.encoding, self.bytes(node), &mut scratch).ok_or(NOT_ENCODED)?;
        if node.kind != Kind::Text(true) {
            out.push(text);
            return Ok(());
        }
        let mut read = Ok(());
        out.push_with(|out| read = unescape(text, out));
        read
    }

    /// Appends the node, or what it holds if it is an array.
    fn push_elements(&self, at: usize, out: &mut Vec<usize>) {
        let node = self.nodes[at];
        if node.kind != Kind::Array {
            out.push(at);
            return;
        }
        let mut element = at + 1;
        while element < node.next {
            self.push_elements(element, out);
            element = self.nodes[element].next;
        }
    }
}

impl Tree for Tape {
    fn named(&self, at: usize, name: &str, out: &mut Vec<usize>) {
        let node = self.nodes[at];
        if node.kind != Kind::Object {
            return;
        }
        let mut member = at + 1;
        while member < node.next {
            let value = member + 1;
            if self.is_named(self.nodes[member], name) {
                self.push_elements(value, out);
            }
            member = self.nodes[value].next;
        }
    }

    fn value(&self, at: usize, out: &mut Values) -> Result<(), Flaw> {
        let node = self.nodes[at];
        match node.kind {
            Kind::Null => out.push_null(),
            Kind::Text(_) => return self.push_text(node, out),
            // Digits and words are ASCII in every encoding.
            Kind::Word => out.push(std::str::from_utf8(self.bytes(node)).map_err(|_| BROKEN)?),
            Kind::Object | Kind::Array => return Err(NESTED),
        }
        Ok(())
    }
}

/// Appends what a string with escapes stands for.
fn unescape(text: &str, out: &mut String) -> Result<(), Flaw> {
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at + 1).ok_or(BROKEN)?;
        rest = rest.get(at + 2..).ok_or(BROKEN)?;
        out.push(match escape {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => character(&mut rest)?,
            _ => return Err(BROKEN),
        });
    }
    out.push_str(rest);
    Ok(())
}

/// The character of four hexadecimal digits, or of the two times four of a surrogate pair.
fn character(rest: &mut &str) -> Result<char, Flaw> {
    let unit = |text: &str| {
        let digits =
            text.get(..4).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())).ok_or(BROKEN)?;
        u16::from_str_radix(digits, 16).map_err(|_| BROKEN)
    };
    let mut units = vec![unit(rest)?];
    *rest = &rest[4..];
    if (0xD800..0xDC00).contains(&units[0])
        && let Some(second) = rest.strip_prefix("\\u")
    {
        units.push(unit(second)?);
        *rest = &second[4..];
    }
    let mut read = char::decode_utf16(units);
    match (read.next(), read.next()) {
        (Some(Ok(character)), None) => Ok(character),
        _ => Err(HALF),
    }
}

struct Reading<'a> {
    text: &'a [u8],
    at: usize,
    nodes: &'a mut Vec<Node>,
}

impl Reading<'_> {
    fn skip_blank(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.skip_blank();
        let is_there = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn value(&mut self, depth: usize) -> Result<(), Flaw> {
        self.skip_blank();
        match self.text.get(self.at) {
            Some(b'{') => self.members(depth),
            Some(b'[') => self.elements(depth),
            Some(b'"') => self.string(),
            _ => self.word(),
        }
    }

    fn open(&mut self, kind: Kind, depth: usize) -> Result<usize, Flaw> {
        if depth == 0 {
            return Err(DEEP);
        }
        let node = self.nodes.len();
        self.nodes.push(Node { kind, start: self.at, end: self.at, next: node });
        self.at += 1;
        Ok(node)
    }

    fn close(&mut self, node: usize) {
        (self.nodes[node].end, self.nodes[node].next) = (self.at, self.nodes.len());
    }

    fn members(&mut self, depth: usize) -> Result<(), Flaw> {
        let node = self.open(Kind::Object, depth)?;
        if !self.take(b'}') {
            loop {
                self.skip_blank();
                if self.text.get(self.at) != Some(&b'"') {
                    return Err(BROKEN);
                }
                self.string()?;
                if !self.take(b':') {
                    return Err(BROKEN);
                }
                self.value(depth - 1)?;
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(BROKEN);
                }
            }
        }
        self.close(node);
        Ok(())
    }

    fn elements(&mut self, depth: usize) -> Result<(), Flaw> {
        let node = self.open(Kind::Array, depth)?;
        if !self.take(b']') {
            loop {
                self.value(depth - 1)?;
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err(BROKEN);
                }
            }
        }
        self.close(node);
        Ok(())
    }

    fn push(&mut self, kind: Kind, start: usize, end: usize) {
        let next = self.nodes.len() + 1;
        self.nodes.push(Node { kind, start, end, next });
    }

    fn string(&mut self) -> Result<(), Flaw> {
        let start = self.at + 1;
        let (mut at, mut escaped) = (start, false);
        loop {
            at += memchr::memchr2(b'"', b'\\', self.text.get(at..).ok_or(BROKEN)?).ok_or(BROKEN)?;
            if self.text[at] == b'"' {
                break;
            }
            (at, escaped) = (at + 2, true);
        }
        if self.text[start..at].iter().any(|byte| *byte < 0x20) {
            return Err(BROKEN);
        }
        self.push(Kind::Text(escaped), start, at);
        self.at = at + 1;
        Ok(())
    }

    fn word(&mut self) -> Result<(), Flaw> {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"+-.".contains(byte));
        let word = &rest[..length.unwrap_or(rest.len())];
        let kind = match word {
            b"null" => Kind::Null,
            b"true" | b"false" => Kind::Word,
            _ if is_number(word) => Kind::Word,
            _ => return Err(BROKEN),
        };
        let (start, end) = (self.at, self.at + word.len());
        self.push(kind, start, end);
        self.at = end;
        Ok(())
    }
}

/// Whether a word is a number of RFC 8259, section 6.
fn is_number(word: &[u8]) -> bool {
    let digits = |word: &[u8]| word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let word = word.strip_prefix(b"-").unwrap_or(word);
    let whole = digits(word);
    if whole == 0 || (whole > 1 && word[0] == b'0') {
        return false;
    }
    let mut rest = &word[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = digits(fraction);
        if length == 0 {
            return false;
        }
        rest = &fraction[length..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent);
        return !exponent.is_empty() && digits(exponent) == exponent.len();
    }
    rest.is_empty()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ieum_model::path::Paths;
    use proptest::prelude::*;

    use super::*;
    use crate::nested::find::Finder;

    fn find(text: &[u8], encoding: Encoding, path: &str) -> Result<Vec<Option<String>>, Flaw> {
        let (mut tape, mut values) = (Tape::default(), Values::default());
        tape.read(text, encoding, 8)?;
        Finder::default().find(&tape, &Paths::parse(path, '.').unwrap(), &mut values)?;
        Ok(values.iter().map(|value| value.map(str::to_owned)).collect())
    }

    const ROW: &str = r#"{"id":"1","code":{"coding":[{"system":"http://snomed.info/sct","code":"9"},
        {"system":"http://loinc.org","code":"8-7","n":1.50}],"text":null},
        "name":[{"given":["가","나\u0041\ud834\udd1e"]},{"given":["다"]}],"deep":[[1,[2]],3],"onset":"2024-02-29T00:00:00Z",
        "identifier":[{"type":{"coding":[{"code":"MR"}]},"value":"m"},{"value":"other"}],"flag":true,"e":{},"l":[]}"#;

    #[test]
    fn a_path_finds_what_it_says() {
        let check = |path: &str, expected: &[&str]| {
            let found: Vec<String> = find(ROW.as_bytes(), Encoding::Utf8, path)
                .unwrap()
                .into_iter()
                .map(|value| value.unwrap_or("-".into()))
                .collect();
            assert_eq!(found, expected, "{path}");
        };
        check("id", &["1"]);
        check("code.coding.code", &["9", "8-7"]);
        check("code.coding[system=http://loinc.org].code", &["8-7"]);
        check("code.coding[1].n", &["1.50"]);
        check("code.text", &["-"]);
        check("name.given", &["가", "나A𝄞", "다"]);
        check("name[0].given", &["가", "나A𝄞"]);
        check("name.given[0]", &["가"]);
        check("name.given.join('/')", &["가/나A𝄞/다"]);
        check("deep", &["1", "2", "3"]);
        check("identifier[type.coding.code=MR].value", &["m"]);
        check("flag", &["true"]);
        check("absent|onset.toDate()", &["2024-02-29"]);
        check("absent", &[]);
        check("id.more", &[]);
        check("l", &[]);
        assert_eq!(find(ROW.as_bytes(), Encoding::Utf8, "e"), Err(NESTED));
    }

    #[test]
    fn what_is_no_json_is_rejected() {
        for text in [
            "",
            "{",
            "[1]",
            "1",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":+1}",
            "{\"a\":1e}",
            "{\"a\":nul}",
            "{\"a\":\"\n\"}",
            "{\"a\":1}}",
            "{\"a\":1}{\"a\":2}",
            "{\"a\" 1}",
            "{\"a\":[1 2]}",
            "{\"a\":\"x",
        ] {
            assert_eq!(find(text.as_bytes(), Encoding::Utf8, "a"), Err(BROKEN), "{text}");
        }
        assert_eq!(find(b"{\"a\":\"\\x\"}", Encoding::Utf8, "a"), Err(BROKEN));
        assert_eq!(find(b"{\"a\":\"\\ud800\"}", Encoding::Utf8, "a"), Err(HALF));
        assert_eq!(find(b"{\"a\":\"\\ud800\\u0041\"}", Encoding::Utf8, "a"), Err(HALF));
        assert_eq!(find(b"{\"a\":\"\xFF\",\"b\":\"1\"}", Encoding::Utf8, "a"), Err(NOT_ENCODED));
        assert_eq!(find(b"{\"a\":\"\xFF\",\"b\":\"1\"}", Encoding::Utf8, "b"), Ok(vec![Some("1".into())]));
        let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(find(deep(8).as_bytes(), Encoding::Utf8, "a"), Err(DEEP));
        assert_eq!(find(deep(7).as_bytes(), Encoding::Utf8, "a"), Ok(vec![]));
    }

    #[test]
    fn other_encodings_are_read_too() {
        let (bytes, ..) = encoding_rs::EUC_KR.encode("{\"이름\":\"뷁\"}");
        assert_eq!(find(&bytes, Encoding::Cp949, "이름"), Ok(vec![Some("뷁".into())]));
    }

    proptest! {
        /// Whatever serde_json reads as an object is read, and nothing else; `a` is what it says.
        #[test]
        fn serde_json_agrees(text in "\\{(\"a\"|\"b\")?:?[-0-9.eE+truefalsn\"\\\\u\\[\\]{},: ]{0,12}\\}?") {
            let theirs: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&text).ok();
            let mut tape = Tape::default();
            let read = tape.read(text.as_bytes(), Encoding::Utf8, 32);
            // Escapes are looked at where a value is asked for, and numbers may be larger than a machine's.
            if let Some(theirs) = theirs {
                prop_assert_eq!(read, Ok(()));
                let mut values = Values::default();
                let found = Finder::default().find(&tape, &Paths::parse("b", '.').unwrap(), &mut values);
                match theirs.get("b") {
                    Some(serde_json::Value::String(text)) if !text.trim().is_empty() => {
                        prop_assert_eq!((found, values.iter().last()), (Ok(()), Some(Some(text.as_str()))));
                    }
                    Some(serde_json::Value::Bool(is)) => {
                        prop_assert_eq!((found, values.iter().last()), (Ok(()), Some(Some(if *is { "true" } else { "false" }))));
                    }
                    _ => {}
                }
            } else if !text.contains(['\\', 'e', 'E']) {
                prop_assert!(read.is_err());
            }
        }
    }
}
