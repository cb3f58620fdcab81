//! Rows of a request file as named texts, from CSV, JSON lines or Parquet, a block at a time.

mod blocks;
mod csv;
mod json_lines;
mod parquet;

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use ieum_model::error::{Error, Result, nearest};
use ieum_model::request::{MalformedRequest, Texts};
use rayon::prelude::*;

use blocks::{BLOCK, Blocks};
use csv::Csv;
use json_lines::JsonLines;

/// What a row comes to, or why it could not be read.
pub type Parsed<T> = std::result::Result<T, MalformedRequest>;

/// Makes a value of a row: its texts by place among the known names, and its line (from 1) in a text file or record number
/// (from 1) otherwise.
pub type Parse<T> = fn(&Texts<'_>, u64) -> Parsed<T>;

/// Is given the rows of each block, in file order, while the next one is parsed.
pub type Take<'a, T> = &'a mut (dyn FnMut(Vec<Parsed<T>>) + Send);

/// Is given the bytes of the file, in file order, while they are parsed.
pub type See<'a> = &'a mut (dyn FnMut(&[u8]) + Send);

/// A file, opened.
pub struct Source {
    reader: Box<dyn Read + Send>,
    /// How many bytes it has.
    pub bytes: u64,
}

impl Source {
    /// Opens the file. What is not a file but can be read is read.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let about = file.metadata()?;
        if about.is_file() {
            return Ok(Self { reader: Box::new(file), bytes: about.len() });
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Self { bytes: bytes.len() as u64, reader: Box::new(Cursor::new(bytes)) })
    }
}

/// Reads every row of a file once, in file order. The format follows from the file's name.
///
/// # Errors
/// If the file cannot be read, is not what its name says as a whole, or has a column that is not in `known`.
pub fn read<T: Send>(
    path: &Path,
    source: &mut Source,
    known: &[&str],
    parse: Parse<T>,
    see: See<'_>,
    take: Take<'_, T>,
) -> Result<()> {
    let reader = &mut *source.reader;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => csv(Blocks::new(reader, BLOCK)?, known, parse, see, take),
        Some("jsonl" | "ndjson") => texts(&JsonLines { known, parse }, Blocks::new(reader, BLOCK)?, see, take),
        Some("parquet") => {
            let (seen, rows) = rayon::join(|| see_all(reader, see), || parquet::read(path, known, parse, take));
            rows.and(seen)
        }
        _ => Err(Error::config("the file is not .csv, .jsonl, .ndjson or .parquet")),
    }
}

fn csv<T: Send>(
    mut blocks: Blocks<'_>,
    known: &[&str],
    parse: Parse<T>,
    see: See<'_>,
    take: Take<'_, T>,
) -> Result<()> {
    let format = Csv::of_header(&mut blocks, known, parse)?;
    texts(&format, blocks, see, take)
}

fn see_all(reader: &mut (dyn Read + Send), see: See<'_>) -> Result<()> {
    let mut blocks = Blocks::new(reader, BLOCK)?;
    loop {
        see(blocks.unseen());
        blocks.all_seen();
        if blocks.ended() {
            return Ok(());
        }
        blocks.pass();
        blocks.read_on()?;
    }
}

/// A format whose rows are pieces of a text.
trait Format<T>: Sync {
    /// Cuts the text, which begins with `line`, into the rows that are whole in it; all are, if it is the last of the file.
    fn split<'t>(&self, text: &'t str, line: u64, last: bool) -> Split<'t>;

    /// Parses the row that begins with `line`.
    fn row(&self, line: u64, text: &str) -> Result<Parsed<T>>;
}

/// Rows of a text.
struct Split<'t> {
    /// Each with its line.
    rows: Vec<(u64, &'t str)>,
    /// Bytes of the text up to the end of the last row.
    taken: usize,
    /// The line that comes after it.
    line: u64,
}

/// Reads the rows of a text file: one block is parsed by all threads while what it was made of is seen, and the rows of the
/// one before are taken.
fn texts<T: Send>(format: &impl Format<T>, mut blocks: Blocks<'_>, see: See<'_>, take: Take<'_, T>) -> Result<()> {
    let mut whole = false;
    let block = || {
        if whole {
            return Ok(None);
        }
        let text = blocks.text()?;
        let split = format.split(text, blocks.line(), blocks.ended());
        // Collected before the errors are looked at: the first line with one is told, whichever was read first.
        let row = |(line, row): &(u64, &str)| {
            let parsed = format.row(*line, row)?;
            Ok(parsed
                .map_err(|malformed| MalformedRequest { raw: row.trim_end_matches(['\r', '\n']).into(), ..malformed }))
        };
        let parse = || split.rows.par_iter().map(row).collect::<Vec<_>>();
        let unseen = blocks.unseen();
        let (rows, ()) = rayon::join(parse, || see(unseen));
        let (taken, line) = (split.taken, split.line);
        blocks.all_seen();
        blocks.taken(taken, line);
        if blocks.ended() {
            whole = true;
        } else {
            blocks.read_on()?;
        }
        rows.into_iter().collect::<Result<Vec<_>>>().map(Some)
    };
    in_turn(block, take)
}

/// Takes the rows of each block while the next one is made.
fn in_turn<T: Send>(mut block: impl FnMut() -> Result<Option<Vec<Parsed<T>>>> + Send, take: Take<'_, T>) -> Result<()> {
    let mut rows = Vec::new();
    loop {
        let (next, ()) = rayon::join(&mut block, || take(rows));
        match next? {
            Some(next) => rows = next,
            None => return Ok(()),
        }
    }
}

/// Whether all names are known. One that is not is told by its place: it may be a value, where a header is missing.
fn check_known<'a>(columns: impl IntoIterator<Item = &'a str>, known: &[&str]) -> Result<()> {
    let columns: Vec<&str> = columns.into_iter().collect();
    let Some(at) = columns.iter().position(|column| !known.contains(column)) else { return Ok(()) };
    let error = Error::config("a column has a name that is not known").at("column", at + 1);
    let none_known = !columns.iter().any(|column| known.contains(column));
    Err(match nearest(columns[at], known.iter().copied()) {
        _ if columns.iter().any(|column| column.contains('\r')) => {
            error.hint("are the line ends bare CR? End lines with LF or CRLF")
        }
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None if none_known => {
            error.hint(format!("no column has a known name: is the header row missing? Known are {}", known.join(", ")))
        }
        None => error.hint(format!("known are {}", known.join(", "))),
    })
}

/// Where each known name stands among the columns of a file, if it does.
fn places(columns: &[String], known: &[&str]) -> Vec<Option<usize>> {
    known.iter().map(|name| columns.iter().position(|column| column == name)).collect()
}

fn malformed(line: u64, expected: impl Into<String>) -> MalformedRequest {
    MalformedRequest {
        file: String::new(),
        request_id: None,
        line,
        field: "row",
        expected: expected.into(),
        raw: Vec::new(),
    }
}

/// `;` alone stands for a list that is given and empty.
fn joined(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { ";".to_owned() } else { parts.join(";") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// `line:a,b` of every row, `line!` of every malformed one.
    fn shown(rows: Result<Vec<Parsed<String>>>) -> Vec<String> {
        let row = |row| match row {
            Ok(row) => row,
            Err(MalformedRequest { line, .. }) => format!("{line}!"),
        };
        rows.unwrap().into_iter().map(row).collect()
    }

    #[allow(clippy::unnecessary_wraps)]
    fn show(get: &Texts<'_>, line: u64) -> Parsed<String> {
        Ok(format!("{line}:{:?},{:?}", get(0), get(1)))
    }

    /// Every row of a text that is read `block` bytes at a time; its bytes are seen once each, in order.
    fn read_in_blocks(name: &str, text: &[u8], block: usize) -> Result<Vec<Parsed<String>>> {
        let (mut rows, mut seen, mut reader) = (Vec::new(), Vec::new(), text);
        let mut see = |bytes: &[u8]| seen.extend_from_slice(bytes);
        let mut take = |more: Vec<Parsed<String>>| rows.extend(more);
        let blocks = Blocks::new(&mut reader, block)?;
        let known = &["a", "b"];
        match name {
            "csv" => csv(blocks, known, show, &mut see, &mut take)?,
            _ => texts(&JsonLines { known, parse: show }, blocks, &mut see, &mut take)?,
        }
        assert_eq!(seen, text);
        Ok(rows)
    }

    /// As [`read_in_blocks`], of the whole text at once.
    fn read_whole(name: &str, text: &str) -> Result<Vec<Parsed<String>>> {
        read_in_blocks(name, text.as_bytes(), text.len() + 1)
    }

    #[test]
    fn csv_is_read_as_rfc_4180_says_and_a_bad_row_is_only_counted() {
        let text = "a,b\r\n1,\"x\ny, \"\"z\"\"\"\r\n\r\nonly one\r\n2,\r\n\"q\"w,3\n3,\"open\n4,5";
        let rows = shown(read_whole("csv", text));
        let expected = [
            "2:Some(\"1\"),Some(\"x\\ny, \\\"z\\\"\")",
            "5!",
            "6:Some(\"2\"),Some(\"\")",
            "7!",
            "8!",
            "9:Some(\"4\"),Some(\"5\")",
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn json_values_become_their_flat_form() {
        let text = "{\"a\":[\"x\",\"y\"],\"b\":{\"rrno\":\"1\"}}\n\nnot json\n{\"a\":true,\"b\":[]}\n";
        let rows = shown(read_whole("jsonl", text));
        assert_eq!(rows, ["1:Some(\"x;y\"),Some(\"rrno:1\")", "3!", "4:Some(\"true\"),Some(\";\")"]);
    }

    #[test]
    fn an_object_with_an_unknown_field_is_malformed_and_told_by_the_nearest_name() {
        let text = "{\"recipent\":\"1\"}\r\n{\"rrno:991231\":1,\"request_id\":\"r-2\"}\n{\"recipient\":\"2\"}\n";
        let (mut rows, mut reader) = (Vec::new(), text.as_bytes());
        let format = JsonLines { known: &["recipient", "purpose"], parse: show };
        texts(&format, Blocks::new(&mut reader, BLOCK).unwrap(), &mut |_| (), &mut |more| rows.extend(more)).unwrap();
        let told: Vec<String> = rows.iter().filter_map(|row| row.as_ref().err()).map(ToString::to_string).collect();
        let expected = [
            "line 1: `row` must be an object of known fields only; did you mean `recipient`?",
            "line 2: `row` must be an object of known fields only",
        ];
        assert_eq!((rows.len(), told), (3, expected.map(str::to_owned).to_vec()));
        let [Err(first), Err(second), Ok(_)] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((first.request_id.as_deref(), first.raw.as_slice()), (None, &b"{\"recipent\":\"1\"}"[..]));
        assert_eq!(second.request_id.as_deref(), Some("r-2"));
        assert_eq!(second.raw, b"{\"rrno:991231\":1,\"request_id\":\"r-2\"}");
    }

    #[test]
    fn an_unknown_column_is_told_by_its_place_and_the_nearest_name() {
        let check = |mut text: &[u8], column: &str, hint: &str| {
            let blocks = Blocks::new(&mut text, BLOCK).unwrap();
            let error = csv(blocks, &["request_id", "recipient"], show, &mut |_| (), &mut |_| ()).unwrap_err();
            assert_eq!(error.message, "a column has a name that is not known");
            assert_eq!(error.context, [("column", column.to_owned())]);
            assert!(error.hint.as_deref().unwrap().contains(hint), "{error:?}");
            assert!(!error.told().contains("991231"), "{error:?}");
        };
        check(b"request_id,recipent\n", "2", "did you mean `recipient`?");
        check(b"request_id,991231\n", "2", "known are request_id, recipient");
        check(b"r1,rrno:991231-3000002\n", "1", "is the header row missing?");
        check(b"request_id,recipient\rr1,rrno:991231-3000002\r", "2", "bare CR");
    }

    /// Texts of a few pieces, which a quote, a line end or a character of several bytes can end anywhere.
    fn nasty(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(select(pieces), 0..24).prop_map(|pieces| pieces.concat())
    }

    const CSV: &[&str] = &[
        "a",
        "가",
        ",",
        ",",
        "\n",
        "\n",
        "\r\n",
        "\r",
        "\"",
        "\"\"",
        "1,2\n",
        "\"x\"",
        "\"x\ny\",2\n",
        "\n\n",
        "\u{feff}",
    ];
    const JSON: &[&str] = &["{\"a\":\"가\"}", "{\"b\":[1,2]}", "\n", "\n", "\r\n", "\r", " ", "no", "{\"c\":1}"];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn blocks_of_any_size_give_the_rows_of_the_whole(
            mark in select(vec!["", "\u{feff}"]),
            header in select(vec!["a,b\n", "\"a\",b\r\n", "\n\r\n\"b\",\"a\"\n", "a\n", ""]),
            rows in nasty(CSV),
            objects in nasty(JSON),
            block in 1usize..20,
        ) {
            for (name, text) in [("csv", format!("{mark}{header}{rows}")), ("jsonl", format!("{mark}{objects}"))] {
                let told = |rows: Result<Vec<Parsed<String>>>| rows.map_err(|error| error.told());
                prop_assert_eq!(told(read_in_blocks(name, text.as_bytes(), block)), told(read_whole(name, &text)));
            }
        }

        #[test]
        fn text_that_is_not_utf_8_is_told_by_its_line(
            before in prop::collection::vec(select(vec!["가,1\n", "\"x\n\",2\r\n", "\n"]), 0..6),
            wrong in select(vec![&b"\xff"[..], b"\xea\xb0\n", b"\xea"]),
            block in 1usize..20,
        ) {
            let before = format!("a,b\n{}", before.concat());
            let error = read_in_blocks("csv", &[before.as_bytes(), wrong].concat(), block).unwrap_err();
            let line = before.matches('\n').count() + 1;
            prop_assert_eq!(error.to_string(), Error::config("the file is not UTF-8").at("line", line).to_string());
        }
    }
}
