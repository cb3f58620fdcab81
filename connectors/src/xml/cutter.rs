//! Rows of XML, by the name of their element. Bytes only, no files.

use memchr::{memchr, memchr3, memmem};

use crate::text::{Cut, Cutter, line_ends};

const OPEN: &str = "expected the row's element to end before the next one begins, and before the file ends";
const STRAY: &str = "expected nothing between the elements of rows";
const ORPHAN: &str = "expected the row's element to begin before it ends";
const ENTITIES: Cut = Cut::Refused {
    message: "file declares entities of its own, which are never expanded",
    hint: "ask the holder to write the text itself where it refers to one, and to leave `<!ENTITY` out",
};

/// Cuts the elements of one name.
#[derive(Debug, Clone)]
pub struct ElementCutter {
    /// `<name`
    begin: Vec<u8>,
    /// `</name`
    end: Vec<u8>,
    /// Whether a row stood before, and its parent did not end since.
    within: bool,
    /// Name of the first element, and whether it ended.
    root: Option<Vec<u8>>,
    is_closed: bool,
}

/// What a tag is.
enum Tag {
    RowBegins,
    RowEnds,
    /// A comment or processing instruction.
    Aside,
    Other,
}

impl ElementCutter {
    /// A cutter for elements of this name, as it stands in the file.
    pub fn new(name: &[u8]) -> Self {
        let (begin, end) = ([b"<", name].concat(), [b"</", name].concat());
        Self { begin, end, within: false, root: None, is_closed: false }
    }

    /// The tag at the start of `bytes` and its length; `None` where it does not end there.
    fn tag(&self, bytes: &[u8]) -> Option<(Tag, usize)> {
        let until =
            |needle: &[u8], from: usize| memmem::find(bytes.get(from..)?, needle).map(|at| from + at + needle.len());
        if bytes.starts_with(b"<!--") {
            return Some((Tag::Aside, until(b"-->", 4)?));
        }
        if bytes.starts_with(b"<![CDATA[") {
            return Some((Tag::Other, until(b"]]>", 9)?));
        }
        if bytes.starts_with(b"<?") {
            return Some((Tag::Aside, until(b"?>", 2)?));
        }
        if bytes.starts_with(b"<!") {
            return Some((Tag::Aside, declaration_end(bytes)?));
        }
        // Until its end it is not known what its name is.
        let end = tag_end(bytes)?;
        let is = |start: &[u8]| {
            bytes.starts_with(start) && bytes.get(start.len()).is_some_and(|byte| b" \t\r\n/>".contains(byte))
        };
        Some((
            if is(&self.begin) {
                Tag::RowBegins
            } else if is(&self.end) {
                Tag::RowEnds
            } else {
                Tag::Other
            },
            end,
        ))
    }

    fn broken(bytes: &[u8], next: usize, reason: &'static str) -> Cut {
        let end = bytes[..next].trim_ascii_end().len();
        Cut::Broken { end, next, lines: line_ends(&bytes[..next]), rule: "xml", reason }
    }

    /// What stands up to the next row. What is no stray is passed over piece by piece, so that a stray begins with its first
    /// byte however the file comes in sight.
    fn between(&mut self, bytes: &[u8], at_end: bool) -> Cut {
        let blank = bytes.len() - bytes.trim_ascii_start().len();
        if blank > 0 {
            return Cut::Gap { next: blank };
        }
        // Elements that are no rows, among rows.
        let (mut at, mut is_stray, mut depth) = (0, false, 0_usize);
        while let Some(found) = memchr(b'<', &bytes[at..]) {
            is_stray |= self.within && !bytes[at..at + found].trim_ascii().is_empty();
            at += found;
            if at > 0 && !is_stray {
                return Cut::Gap { next: at };
            }
            let Some((tag, length)) = self.tag(&bytes[at..]) else {
                return if at_end { self.unfinished(bytes, at) } else { Cut::More };
            };
            let text = &bytes[at..at + length];
            match tag {
                Tag::RowBegins if at == 0 => return self.row(bytes, at_end),
                Tag::RowBegins => return Self::broken(bytes, at, STRAY),
                Tag::RowEnds => {
                    self.within = true;
                    return Self::broken(bytes, at + length, ORPHAN);
                }
                Tag::Aside if memmem::find(text, b"<!ENTITY").is_some() => return ENTITIES,
                Tag::Aside if is_stray => {}
                Tag::Aside => return Cut::Gap { next: length },
                Tag::Other => {
                    let (is_end, is_empty) = (text.starts_with(b"</"), text.ends_with(b"/>"));
                    let ends_rows = is_end && (depth == 0 || self.root.as_deref() == Some(name_in(text)));
                    if !self.within || ends_rows {
                        if is_stray {
                            return Self::broken(bytes, at, STRAY);
                        }
                        self.within = false;
                        self.meet(text, is_end, is_empty);
                        return Cut::Gap { next: length };
                    }
                    is_stray = true;
                    depth = if is_end { depth - 1 } else { depth + usize::from(!is_empty) };
                }
            }
            at += length;
        }
        if self.within && (is_stray || at == 0) {
            return if at_end { Self::broken(bytes, bytes.len(), STRAY) } else { Cut::More };
        }
        Cut::Gap { next: bytes.len() }
    }

    /// Notes where the document's element begins and ends.
    fn meet(&mut self, tag: &[u8], is_end: bool, is_empty: bool) {
        let name = name_in(tag);
        match &self.root {
            None if !is_end => {
                self.root = Some(name.to_vec());
                self.is_closed = is_empty;
            }
            Some(root) if is_end && root == name => self.is_closed = true,
            _ => {}
        }
    }

    /// The rest of a file that ends in a tag: up to the next row, if one begins after all.
    fn unfinished(&self, bytes: &[u8], at: usize) -> Cut {
        let is_row = |place: &usize| matches!(self.tag(&bytes[*place..]), Some((Tag::RowBegins, _)));
        let next = memmem::find_iter(&bytes[at + 1..], &self.begin).map(|place| at + 1 + place).find(is_row);
        Self::broken(bytes, next.unwrap_or(bytes.len()), OPEN)
    }

    /// The row whose element begins `bytes`.
    fn row(&mut self, bytes: &[u8], at_end: bool) -> Cut {
        let Some((_, mut at)) = self.tag(bytes) else { return Cut::More };
        let whole = |end: usize| Cut::Row { end, next: end, lines: line_ends(&bytes[..end]), quoted: false };
        if bytes[..at].ends_with(b"/>") {
            self.within = true;
            return whole(at);
        }
        while let Some(found) = memchr(b'<', &bytes[at..]) {
            at += found;
            let Some((tag, length)) = self.tag(&bytes[at..]) else {
                if !at_end {
                    return Cut::More;
                }
                self.within = true;
                return self.unfinished(bytes, at);
            };
            match tag {
                Tag::RowBegins => {
                    self.within = true;
                    return Self::broken(bytes, at, OPEN);
                }
                Tag::RowEnds => {
                    self.within = true;
                    return whole(at + length);
                }
                Tag::Aside | Tag::Other => at += length,
            }
        }
        if at_end { Self::broken(bytes, bytes.len(), OPEN) } else { Cut::More }
    }
}

impl Cutter for ElementCutter {
    fn cut(&mut self, bytes: &[u8], at_end: bool) -> Cut {
        self.between(bytes, at_end)
    }

    fn missing(&self) -> Option<&'static str> {
        match (&self.root, self.is_closed) {
            (None, _) if !self.within => Some("its first element"),
            (Some(_), false) => Some("the end of its first element"),
            _ => None,
        }
    }
}

/// The name in a tag.
fn name_in(tag: &[u8]) -> &[u8] {
    let name = tag.strip_prefix(b"</").or(tag.strip_prefix(b"<")).unwrap_or(tag);
    let length = name.iter().position(|byte| b" \t\r\n/>".contains(byte)).unwrap_or(name.len());
    &name[..length]
}

/// End of a tag; a `>` in quotes is none.
fn tag_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr3(b'>', b'"', b'\'', bytes.get(at..)?)?;
        match bytes[at] {
            b'>' => return Some(at + 1),
            quote => {
                // In an end tag, and where no `=` stands before it, a quote is none.
                let is_value = bytes[..at].trim_ascii_end().last() == Some(&b'=');
                at += 1;
                if is_value {
                    at += memchr(quote, bytes.get(at..)?)? + 1;
                }
            }
        }
    }
}

/// End of `<!DOCTYPE …>`, which may hold declarations in brackets.
fn declaration_end(bytes: &[u8]) -> Option<usize> {
    let end = memchr(b'>', bytes)?;
    match memchr(b'[', &bytes[..end]) {
        None => Some(end + 1),
        Some(open) => {
            let close = memmem::find_iter(&bytes[open..], b"]").map(|at| open + at + 1);
            let mut ends = close.filter_map(|at| {
                let after = bytes[at..].trim_ascii_start();
                after.starts_with(b">").then(|| bytes.len() - after.len() + 1)
            });
            ends.next()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nested::cutting;

    fn check(text: &str, expected: &[&str], missing: Option<&str>) {
        cutting::check(|| ElementCutter::new(b"r"), text, expected, missing);
    }

    #[test]
    fn the_elements_of_a_name_are_rows() {
        check(
            "<?xml version='1.0'?><!-- <r>1</r> --><a><rs/><r x='>'>1<ra/></r >\n<r/>\n<!-- 2 --><r>\n<![CDATA[</r>]]></r></a>\n",
            &["<r x='>'>1<ra/></r >", "<r/>", "<r>\n<![CDATA[</r>]]></r>"],
            None,
        );
        check("<!DOCTYPE a [<!ELEMENT r (#PCDATA)> ] ><a><r>1</r></a>", &["<r>1</r>"], None);
        check("<a></a>", &[], None);
        check("<r>1</r><r>2</r>", &["<r>1</r>", "<r>2</r>"], None);
        check("<a><g><r>1</r></g><g><x>no row</x><r>2</r></g></a>", &["<r>1</r>", "<r>2</r>"], None);
    }

    #[test]
    fn what_is_broken_is_cut_out_and_the_rest_goes_on() {
        check("<a><r>1<r>2</r>3</r><r>4</r></a>", &["!<r>1", "<r>2</r>", "!3</r>", "<r>4</r>"], None);
        check("<a><r>1</r><q>2</q> <r>3</r></a>", &["<r>1</r>", "!<q>2</q>", "<r>3</r>"], None);
        check("<a><r>1</r>text</a>", &["<r>1</r>", "!text"], None);
        check("<a><r>1</r> <!-- x --> te<!-- y -->xt </a>", &["<r>1</r>", "!te<!-- y -->xt"], None);
        check("<a><r>1</r><q>2<r>3</r><q></a>", &["<r>1</r>", "!<q>2", "<r>3</r>", "!<q>"], None);
        check("<a><r>1</r><r>2<!-- x</r><r>3</r></a>", &["<r>1</r>", "!<r>2<!-- x</r>", "<r>3</r>"], None);
        let end = Some("the end of its first element");
        check("<a><r>1</r><r>2", &["<r>1</r>", "!<r>2"], end);
        check("<a><r>1</r>", &["<r>1</r>"], end);
        check("a,b\n1,2\n", &[], Some("its first element"));
    }

    #[test]
    fn entities_are_refused() {
        let text = b"<!DOCTYPE a [<!ENTITY l 'lol'><!ENTITY m '&l;&l;'>]><a><r>&m;</r></a>";
        assert!(matches!(ElementCutter::new(b"r").cut(text, true), Cut::Refused { .. }));
    }
}
