//! Rows of JSON: lines, or the elements of an array. Bytes only, no files.

use memchr::memchr2;

use crate::text::{Cut, Cutter, line_end, line_ends};

/// Cuts a file with an object a line.
#[derive(Debug, Clone, Copy)]
pub struct LineCutter;

impl Cutter for LineCutter {
    fn cut(&mut self, bytes: &[u8], at_end: bool) -> Cut {
        match line_end(bytes, at_end) {
            None => Cut::More,
            Some((end, next)) if bytes[..end].trim_ascii().is_empty() => Cut::Blank { next },
            Some((end, next)) => Cut::Row { end, next, lines: 1, quoted: false },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Before,
    Within,
    After,
}

/// Cuts a document with an array of objects.
///
/// An element that does not end where its brackets say is rejected up to where another one must begin, and cutting goes on
/// there: at a comma that a `{` follows among the members of an object, else behind the next `}` that both follow.
#[derive(Debug, Clone)]
pub struct ArrayCutter {
    /// Names down to the array.
    names: Vec<String>,
    state: State,
}

const BEGINS_OTHERWISE: Cut = Cut::Refused {
    message: "file does not hold an array where `rows` says",
    hint: "write in `rows` of the dataset's [export] the names down to the array, as in `response.body.items`; if each line \
           is an object, write `format = \"json_lines\"`",
};
const OPEN: &str = "expected the brackets and quotes of the element to be closed";

impl ArrayCutter {
    /// A cutter for the array that these names lead to; none for a document that is the array.
    pub fn new(names: Vec<String>) -> Self {
        Self { names, state: State::Before }
    }

    fn before(&mut self, bytes: &[u8], at_end: bool) -> Cut {
        let mut place = Place { bytes, at: 0 };
        match place.array(&self.names) {
            Some(true) => {
                self.state = State::Within;
                Cut::Gap { next: place.at }
            }
            None if !at_end => Cut::More,
            _ => BEGINS_OTHERWISE,
        }
    }

    /// Up to the next element before `limit`, else up to there.
    fn broken(bytes: &[u8], limit: usize) -> Cut {
        let end =
            misplaced(&bytes[..limit]).or_else(|| next_element(bytes).filter(|end| *end <= limit)).unwrap_or(limit);
        Cut::Broken { end, next: end, lines: line_ends(&bytes[..end]), rule: "json", reason: OPEN }
    }

    fn within(&mut self, bytes: &[u8], at_end: bool) -> Cut {
        let between = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
        let start = bytes.iter().position(|byte| !between(byte)).unwrap_or(bytes.len());
        if start > 0 {
            return Cut::Gap { next: start };
        }
        if bytes[0] == b']' {
            self.state = State::After;
            return Cut::Gap { next: 1 };
        }
        match value_end(bytes, 0) {
            // A bracket that closes nothing.
            End::At(0) => Self::broken(bytes, 1),
            End::At(end) => Cut::Row { end, next: end, lines: line_ends(&bytes[..end]), quoted: false },
            End::Later if !at_end => Cut::More,
            End::Later => Self::broken(bytes, bytes.len()),
            End::Never(at) => Self::broken(bytes, at),
        }
    }
}

impl Cutter for ArrayCutter {
    fn cut(&mut self, bytes: &[u8], at_end: bool) -> Cut {
        match self.state {
            State::Before => self.before(bytes, at_end),
            State::Within => self.within(bytes, at_end),
            State::After => Cut::Gap { next: bytes.len() },
        }
    }

    fn missing(&self) -> Option<&'static str> {
        (self.state != State::After).then_some("the `]` of the array")
    }
}

/// Where a value ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Here.
    At(usize),
    /// Behind the bytes.
    Later,
    /// Nowhere: the bracket here closes none.
    Never(usize),
}

/// End of the value that starts at `at`, by its brackets and quotes alone.
fn value_end(bytes: &[u8], mut at: usize) -> End {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    loop {
        let is_within = braces + brackets > 0;
        match bytes.get(at) {
            None => return End::Later,
            Some(b'"') => match string_end(bytes, at) {
                Some(end) => at = end,
                None => return End::Later,
            },
            Some(b'{') => (braces, at) = (braces + 1, at + 1),
            Some(b'[') => (brackets, at) = (brackets + 1, at + 1),
            Some(b'}' | b']' | b',') if !is_within => return End::At(at),
            Some(b'}') if braces > 0 => (braces, at) = (braces - 1, at + 1),
            Some(b']') if brackets > 0 => (brackets, at) = (brackets - 1, at + 1),
            Some(b'}' | b']') => return End::Never(at),
            Some(_) => at += 1,
        }
        if braces + brackets > 0 {
            // Nothing else matters within.
            let matters = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']');
            match bytes[at..].iter().position(matters) {
                Some(found) => at += found,
                None => return End::Later,
            }
        } else if is_within || bytes[at - 1] == b'"' {
            return End::At(at);
        }
    }
}

/// Place after the closing quote of the string that starts at `at`.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The first comma among the members of an object that a `{` follows: no member begins so.
fn misplaced(bytes: &[u8]) -> Option<usize> {
    let (mut open, mut at) = (Vec::new(), 0);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            bracket @ (b'{' | b'[') => open.push(*bracket),
            b'}' | b']' => drop(open.pop()),
            b',' if open.last() == Some(&b'{') && bytes[at + 1..].trim_ascii_start().starts_with(b"{") => {
                return Some(at);
            }
            _ => {}
        }
        at += 1;
    }
}

/// End of the first `}` that a comma and a `{` follow.
fn next_element(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'}', bytes).map(|at| at + 1).find(|end| {
        let mut after = bytes[*end..].iter().filter(|byte| !byte.is_ascii_whitespace());
        after.next() == Some(&b',') && after.next() == Some(&b'{')
    })
}

struct Place<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Place<'_> {
    fn peek(&mut self) -> Option<u8> {
        let rest = self.bytes.get(self.at..)?;
        self.at += rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        self.bytes.get(self.at).copied()
    }

    /// Moves behind the `[` of the array that `names` lead to; `false` where there is none, `None` where bytes are missing.
    fn array(&mut self, names: &[String]) -> Option<bool> {
        let [name, names @ ..] = names else {
            let is_array = self.peek()? == b'[';
            self.at += 1;
            return Some(is_array);
        };
        if self.peek()? != b'{' {
            return Some(false);
        }
        self.at += 1;
        loop {
            if self.peek()? != b'"' {
                return Some(false);
            }
            let (start, end) = (self.at, string_end(self.bytes, self.at)?);
            self.at = end;
            if self.peek()? != b':' {
                return Some(false);
            }
            self.at += 1;
            self.peek()?;
            if self.bytes[start + 1..end - 1] == *name.as_bytes() {
                return self.array(names);
            }
            self.at = match value_end(self.bytes, self.at) {
                End::At(end) => end,
                End::Later => return None,
                End::Never(_) => return Some(false),
            };
            if self.peek()? != b',' {
                return Some(false);
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nested::cutting;

    fn check(names: &[&str], text: &str, expected: &[&str], is_closed: bool) {
        let cutter = || ArrayCutter::new(names.iter().map(|name| (*name).to_owned()).collect());
        cutting::check(cutter, text, expected, (!is_closed).then_some("the `]` of the array"));
    }

    #[test]
    fn the_elements_of_an_array_are_rows() {
        check(
            &[],
            " [ {\"a\": \"}\\\"]\"} ,\n{\"b\":[{}]},3 , \"x,y\"] \n",
            &["{\"a\": \"}\\\"]\"}", "{\"b\":[{}]}", "3 ", "\"x,y\""],
            true,
        );
        check(&[], "[]", &[], true);
        check(
            &["r", "items"],
            "{\"n\":[1,{\"items\":[]}],\"r\":{\"x\":\"{\",\"items\":[{\"a\":1}]},\"z\":[{}]}",
            &["{\"a\":1}"],
            true,
        );
    }

    #[test]
    fn what_is_broken_is_cut_out_and_the_rest_goes_on() {
        check(&[], "[{\"a\":{\"b\":1},{\"c\":2},{\"d\":3}]", &["!{\"a\":{\"b\":1}", "{\"c\":2}", "{\"d\":3}"], true);
        check(&[], "[{\"a\":\"x},{\"c\":2}]", &["!{\"a\":\"x}", "{\"c\":2}"], true);
        check(&[], "[},{\"a\":1}}]", &["!}", "{\"a\":1}", "!}"], true);
        check(&[], "[{\"a\":1},{\"b\"", &["{\"a\":1}", "!{\"b\""], false);
        check(&[], "[{\"a\":1}", &["{\"a\":1}"], false);
    }

    #[test]
    fn an_array_that_is_not_there_is_told() {
        for (names, text) in
            [(vec![], "{}"), (vec!["a"], "[]"), (vec!["a"], "{\"b\":1}"), (vec!["a"], "{\"a\":{}}"), (vec![], "x")]
        {
            let mut cutter = ArrayCutter::new(names.into_iter().map(str::to_owned).collect());
            assert!(matches!(cutter.cut(text.as_bytes(), true), Cut::Refused { .. }), "{text}");
        }
    }
}
