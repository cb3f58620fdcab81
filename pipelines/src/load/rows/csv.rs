//! RFC 4180 with a header row; `\n` and `\r\n` end a record.

use std::borrow::Cow;

use ieum_model::error::{Error, Result};

use super::blocks::Blocks;
use super::{Format, Parse, Parsed, Split, check_known, malformed, places};

/// How the records of one file are read: its header.
pub struct Csv<T> {
    width: usize,
    places: Vec<Option<usize>>,
    parse: Parse<T>,
}

impl<T> Csv<T> {
    /// Takes the header from the text.
    ///
    /// # Errors
    /// If there is none, or it has a column that is not in `known` or stands twice.
    pub fn of_header(blocks: &mut Blocks<'_>, known: &[&str], parse: Parse<T>) -> Result<Self> {
        loop {
            let mut records = Records { rest: blocks.text()?, line: blocks.line(), last: blocks.ended() };
            let before = records.rest.len();
            if let Some((_, header)) = records.next() {
                let csv = Self::of(header, known, parse)?;
                let (taken, line) = (before - records.rest.len(), records.line);
                blocks.taken(taken, line);
                return Ok(csv);
            }
            if blocks.ended() {
                return Err(Error::config("the file is empty, expected a row of column names"));
            }
            blocks.read_on()?;
        }
    }

    fn of(header: &str, known: &[&str], parse: Parse<T>) -> Result<Self> {
        let header = fields(header, known.len())
            .map_err(|NotWellQuoted| Error::config("a quote in the header is not closed"))?;
        let header: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        check_known(header.iter().map(String::as_str), known)?;
        check_once(&header)?;
        Ok(Self { width: header.len(), places: places(&header, known), parse })
    }
}

fn check_once(header: &[String]) -> Result<()> {
    match header.iter().enumerate().find(|(at, name)| header[..*at].contains(name)) {
        Some((_, name)) => Err(Error::config(format!("column `{name}` stands twice in the header"))),
        None => Ok(()),
    }
}

impl<T: Send> Format<T> for Csv<T> {
    fn split<'t>(&self, text: &'t str, line: u64, last: bool) -> Split<'t> {
        let mut records = Records { rest: text, line, last };
        let rows = records.by_ref().collect();
        Split { rows, taken: text.len() - records.rest.len(), line: records.line }
    }

    fn row(&self, line: u64, record: &str) -> Result<Parsed<T>> {
        Ok(match fields(record, self.width) {
            Err(NotWellQuoted) => Err(malformed(line, "well quoted")),
            Ok(fields) if fields.len() != self.width => {
                Err(malformed(line, format!("{} fields, as the header has", self.width)))
            }
            Ok(fields) => (self.parse)(&|place| self.places[place].map(|at| Cow::Borrowed(&*fields[at])), line),
        })
    }
}

/// Whole records of a text, with the line each starts on; blank lines are skipped.
struct Records<'a> {
    rest: &'a str,
    line: u64,
    /// Whether the text is the last of its file, so that its end ends a record.
    last: bool,
}

impl<'a> Iterator for Records<'a> {
    type Item = (u64, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(rest) = self.rest.strip_prefix("\r\n").or_else(|| self.rest.strip_prefix('\n')) {
            (self.rest, self.line) = (rest, self.line + 1);
        }
        let bytes = self.whole_record()?;
        let (record, rest) = self.rest.split_at(bytes);
        let start = self.line;
        self.rest = rest;
        self.line += record.bytes().filter(|byte| *byte == b'\n').count() as u64;
        Some((start, record))
    }
}

impl Records<'_> {
    /// Bytes of the first record with its line end, if they are all here.
    fn whole_record(&self) -> Option<usize> {
        if self.rest.is_empty() {
            return None;
        }
        let line = self.rest.find('\n').map_or(self.rest, |end| &self.rest[..=end]);
        if !line.contains('"') {
            return (self.last || line.ends_with('\n')).then_some(line.len());
        }
        let mut record = Record { rest: self.rest, is_open: false };
        // What its fields are, and whether they are well quoted, is asked when it is parsed.
        let _ = record.fields(0);
        let ended = record.end_of_line();
        // More of the file may close the quote, or go on with the field.
        let whole = self.last || (ended && !record.is_open);
        whole.then(|| self.rest.len() - record.rest.len())
    }
}

#[derive(Debug)]
struct NotWellQuoted;

type Fields<'a> = std::result::Result<Vec<Cow<'a, str>>, NotWellQuoted>;

/// The fields of a record that probably has `width` of them.
fn fields(record: &str, width: usize) -> Fields<'_> {
    Record { rest: record, is_open: false }.fields(width)
}

/// A record, read field by field.
struct Record<'a> {
    rest: &'a str,
    /// Whether a quote is open where the text ends.
    is_open: bool,
}

impl<'a> Record<'a> {
    /// The fields up to the end of the record, which is left.
    fn fields(&mut self, width: usize) -> Fields<'a> {
        let mut fields = Vec::with_capacity(width);
        let mut quoted_well = true;
        loop {
            if self.rest.starts_with('"') {
                match self.quoted() {
                    Ok(field) => fields.push(field),
                    Err(NotWellQuoted) => quoted_well = false,
                }
            } else {
                fields.push(Cow::Borrowed(self.bare()));
            }
            match self.rest.strip_prefix(',') {
                Some(rest) => self.rest = rest,
                None if quoted_well => return Ok(fields),
                None => return Err(NotWellQuoted),
            }
        }
    }

    fn bare(&mut self) -> &'a str {
        let end = self.rest.bytes().position(|byte| matches!(byte, b',' | b'\n')).unwrap_or(self.rest.len());
        let (field, rest) = self.rest.split_at(end);
        self.rest = rest;
        let at_end_of_line = !rest.starts_with(',');
        field.strip_suffix('\r').filter(|_| at_end_of_line).unwrap_or(field)
    }

    /// A field in quotes; what follows the closing quote must end the field.
    fn quoted(&mut self) -> std::result::Result<Cow<'a, str>, NotWellQuoted> {
        let mut field = Cow::Borrowed("");
        self.rest = &self.rest[1..];
        loop {
            let Some(end) = self.rest.find('"') else {
                self.skip_line();
                return Err(NotWellQuoted);
            };
            let (part, rest) = (&self.rest[..end], &self.rest[end + 1..]);
            field += part;
            self.rest = rest;
            match rest.strip_prefix('"') {
                Some(after) => {
                    field += "\"";
                    self.rest = after;
                }
                None if rest.is_empty() || rest.starts_with([',', '\n']) || rest.starts_with("\r\n") => {
                    return Ok(field);
                }
                None => {
                    self.bare();
                    return Err(NotWellQuoted);
                }
            }
        }
    }

    /// Gives up a record whose quote is never closed: reading goes on with the next line.
    fn skip_line(&mut self) {
        self.is_open = true;
        self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]);
    }

    /// Passes the end of the line, if it is here.
    fn end_of_line(&mut self) -> bool {
        let rest = self.rest.strip_prefix('\r').unwrap_or(self.rest);
        match rest.strip_prefix('\n') {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}
