//! A row of XML as a tree.

use std::ops::Range;

use ieum_model::dataset::Repair;
use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};

use crate::convert::Flaw;
use crate::nested::find::Tree;
use crate::nested::values::Values;

const BROKEN: Flaw = Flaw { rule: "xml", reason: "expected an element of XML 1.0 that is well-formed" };
const UNREPAIRED: Flaw = Flaw {
    rule: "xml",
    reason: "expected an element of XML 1.0 that is well-formed; with `repair = [\"empty_elements\"]` it can be read",
};
const ENTITY: Flaw = Flaw { rule: "xml", reason: "expected no entity but the five of XML" };
const NESTED: Flaw = Flaw { rule: "type", reason: "expected a value, found elements" };
const DEEP: Flaw =
    Flaw { rule: "nesting", reason: "expected a row no deeper than the limit; raise `limits = { depth = … }`" };

#[derive(Debug, Clone)]
struct Node {
    name: Range<usize>,
    text: Range<usize>,
    holds_elements: bool,
    /// The node after this one and all it holds.
    next: usize,
}

/// The elements of a row in their order, each followed by its attributes (whose names begin with `@`) and elements.
#[derive(Debug, Default)]
pub struct Elements {
    names: String,
    text: String,
    nodes: Vec<Node>,
    open: Vec<usize>,
}

impl Elements {
    /// Reads a row; one that is not well-formed with its fault repaired, if `repairs` allow it. Says whether it was.
    ///
    /// # Errors
    /// The flaw of a row that is none.
    pub fn read(&mut self, row: &str, depth: usize, repairs: bool) -> Result<Option<&'static str>, Flaw> {
        match self.read_with(row, depth, false) {
            Err(flaw) if flaw == BROKEN => match self.read_with(row, depth, true) {
                Ok(()) if repairs => Ok(Some(Repair::EmptyElements.name())),
                Ok(()) => Err(UNREPAIRED),
                Err(_) => Err(flaw),
            },
            read => read.map(|()| None),
        }
    }

    fn read_with(&mut self, row: &str, depth: usize, repairs: bool) -> Result<(), Flaw> {
        self.names.clear();
        self.text.clear();
        self.nodes.clear();
        self.open.clear();
        let mut reader = Reader::from_str(row);
        let config = reader.config_mut();
        // Names are compared here: an empty element may be meant for an end.
        (config.check_end_names, config.allow_unmatched_ends) = (false, true);
        loop {
            if self.open.is_empty() && !self.nodes.is_empty() {
                let rest = reader.buffer_position() as usize;
                return if row[rest..].trim_ascii().is_empty() { Ok(()) } else { Err(BROKEN) };
            }
            match reader.read_event().map_err(|_| BROKEN)? {
                Event::Start(tag) => {
                    if self.open.len() >= depth {
                        return Err(DEEP);
                    }
                    self.begin(&tag)?;
                }
                Event::Empty(tag) if repairs && self.is_meant_for_end(&tag) => self.finish(),
                Event::Empty(tag) => {
                    self.begin(&tag)?;
                    self.finish();
                }
                Event::End(tag) => {
                    let open = *self.open.last().ok_or(BROKEN)?;
                    if self.names[self.nodes[open].name.clone()] != *tag.name().into_inner() {
                        return Err(BROKEN);
                    }
                    self.finish();
                }
                Event::Text(text) => self.add(&text.xml10_content()),
                Event::CData(text) => self.add(&text.xml10_content()),
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref().map_err(|_| BROKEN)?;
                    let named = || match &*reference {
                        "lt" => Some('<'),
                        "gt" => Some('>'),
                        "amp" => Some('&'),
                        "apos" => Some('\''),
                        "quot" => Some('"'),
                        _ => None,
                    };
                    let character = character.or_else(named).ok_or(ENTITY)?;
                    self.add(character.encode_utf8(&mut [0; 4]));
                }
                Event::Comment(_) | Event::PI(_) => {}
                Event::Decl(_) | Event::DocType(_) | Event::Eof => return Err(BROKEN),
            }
        }
    }

    fn begin(&mut self, tag: &BytesStart<'_>) -> Result<(), Flaw> {
        if let Some(parent) = self.open.last() {
            self.nodes[*parent].holds_elements = true;
        }
        self.open.push(self.nodes.len());
        let name = tag.name();
        self.push("", name.into_inner(), "");
        for attribute in tag.attributes() {
            let attribute = attribute.map_err(|_| BROKEN)?;
            let value = unescape(&attribute.value).map_err(|_| ENTITY)?;
            self.push("@", attribute.key.into_inner(), &value);
        }
        // The element's own text follows that of its attributes.
        if let Some(node) = self.open.last().and_then(|open| self.nodes.get_mut(*open)) {
            node.text = self.text.len()..self.text.len();
        }
        Ok(())
    }

    fn push(&mut self, before: &str, name: &str, text: &str) {
        let (name_start, text_start) = (self.names.len(), self.text.len());
        self.names.push_str(before);
        self.names.push_str(name);
        self.text.push_str(text);
        self.nodes.push(Node {
            name: name_start..self.names.len(),
            text: text_start..self.text.len(),
            holds_elements: false,
            next: self.nodes.len() + 1,
        });
    }

    fn finish(&mut self) {
        if let Some(node) = self.open.pop() {
            self.nodes[node].next = self.nodes.len();
        }
    }

    /// Appends to the text of the element that is open; of one with elements none is asked for.
    fn add(&mut self, text: &str) {
        if let Some(node) =
            self.open.last().and_then(|open| self.nodes.get_mut(*open)).filter(|node| !node.holds_elements)
        {
            self.text.push_str(text);
            node.text.end = self.text.len();
        }
    }

    /// Whether an empty element stands for the end of one of its name that is open and holds nothing.
    fn is_meant_for_end(&self, tag: &BytesStart<'_>) -> bool {
        let Some(node) = self.open.last().map(|open| &self.nodes[*open]) else { return false };
        let is_named_so = self.names[node.name.clone()] == *tag.name().into_inner();
        let is_bare = tag.attributes_raw().trim_ascii().is_empty();
        is_named_so && is_bare && !node.holds_elements && self.text[node.text.clone()].trim_ascii().is_empty()
    }
}

/// Whether an element or attribute is called so; a prefix counts where one is written.
fn is_called(found: &str, name: &str) -> bool {
    let local = |found: &str| found.rsplit_once(':').is_some_and(|(_, local)| local == name.trim_start_matches('@'));
    found == name || (!name.contains(':') && found.starts_with('@') == name.starts_with('@') && local(found))
}

impl Tree for Elements {
    fn named(&self, at: usize, name: &str, out: &mut Vec<usize>) {
        let mut child = at + 1;
        while child < self.nodes[at].next {
            if is_called(&self.names[self.nodes[child].name.clone()], name) {
                out.push(child);
            }
            child = self.nodes[child].next;
        }
    }

    fn value(&self, at: usize, out: &mut Values) -> Result<(), Flaw> {
        let node = &self.nodes[at];
        if node.holds_elements {
            return Err(NESTED);
        }
        match self.text[node.text.clone()].trim_ascii() {
            "" => out.push_null(),
            text => out.push(text),
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ieum_model::path::Paths;

    use super::*;
    use crate::nested::find::Finder;

    fn find(row: &str, repairs: bool, path: &str) -> Result<(Vec<String>, bool), Flaw> {
        let (mut tree, mut values) = (Elements::default(), Values::default());
        let repaired = tree.read(row, 4, repairs)?;
        Finder::default().find(&tree, &Paths::parse(path, '/').unwrap(), &mut values)?;
        Ok((values.iter().map(|value| value.unwrap_or("-").to_owned()).collect(), repaired.is_some()))
    }

    fn check(row: &str, path: &str, expected: &[&str]) {
        let expected = expected.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(find(row, false, path), Ok((expected, false)), "{path} in {row}");
    }

    #[test]
    fn a_path_finds_what_it_says() {
        let row = "<r id=\"7 &amp; 8\"><a> x &lt;&#48;&#xAC00;<![CDATA[<b>&amp;]]> </a><b/><c><d n='1'>y</d><d n='2'>z</d></c>\
                   <n:e n:f='p'>q</n:e><g>1<!-- no -->2</g></r>";
        check(row, "@id", &["7 & 8"]);
        check(row, "a", &["x <0가<b>&amp;"]);
        check(row, "b", &["-"]);
        check(row, "c/d", &["y", "z"]);
        check(row, "c/d[@n=2]", &["z"]);
        check(row, "c/d/@n", &["1", "2"]);
        check(row, "e", &["q"]);
        check(row, "n:e/@f", &["p"]);
        check(row, "g", &["12"]);
        check(row, "absent|c/d[0]", &["y"]);
        assert_eq!(find(row, false, "c"), Err(NESTED));
    }

    #[test]
    fn an_empty_element_that_is_meant_for_an_end_is_repaired() {
        let row = "<r><빈칸><빈칸/><a>1</a><자료수(도서)> <자료수(도서)/></r>";
        assert_eq!(find(row, true, "a"), Ok((vec!["1".into()], true)));
        assert_eq!(find(row, true, "빈칸"), Ok((vec!["-".into()], true)));
        assert_eq!(find(row, false, "a"), Err(UNREPAIRED));
        // What is well-formed is meant as it stands there.
        assert_eq!(find("<r><a><a/></a></r>", true, "a/a"), Ok((vec!["-".into()], false)));
        for other in ["<r><a>1<a/></r>", "<r><a><b/></r>", "<r><a><a x='1'/></r>"] {
            assert_eq!(find(other, true, "a"), Err(BROKEN), "{other}");
        }
    }

    #[test]
    fn what_is_no_row_is_rejected() {
        for row in
            ["", "<r>", "<r></s>", "<r></r></r>", "<r></r><r/>", "<r a=1/>", "<r a='1' a='2'/>", "<r>&</r>", "text"]
        {
            assert_eq!(find(row, true, "a"), Err(BROKEN), "{row}");
        }
        assert_eq!(find("<r><a>&lol;</a></r>", true, "a"), Err(ENTITY));
        assert_eq!(find("<r><a><a><a><a></a></a></a></a></r>", true, "a"), Err(DEEP));
    }
}
