//! Formats of text: the first byte of an input chooses the export, the second the chunk, the rest is the file.

use super::reading::{Outcome, text};

const ORDER: &str = "header=false\norder=['rrno','name','amount','day','rate','tags']";

/// The export that the first byte chooses, the chunk, and the file.
fn chosen<'b, const N: usize>(exports: [&str; N], bytes: &'b [u8]) -> Option<(String, usize, usize, &'b [u8])> {
    let [choice, chunk, file @ ..] = bytes else { return None };
    let choice = usize::from(*choice) % N;
    Some((exports[choice].replace("ORDER", ORDER), choice, usize::from(*chunk) + 1, file))
}

/// Lines that hold something, whatever the line end.
fn lines(bytes: &[u8], is_blank: impl Fn(&[u8]) -> bool) -> u64 {
    let (mut lines, mut rest) = (0, bytes);
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        lines += u64::from(!is_blank(&rest[..end]));
        let next = if rest[end..].starts_with(b"\r\n") { end + 2 } else { end + 1 };
        rest = rest.get(next..).unwrap_or_default();
    }
    lines
}

fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

/// The rows of a file that was read to its end.
fn met(outcome: Option<Outcome>) -> Option<u64> {
    let outcome = outcome.filter(|outcome| outcome.error.is_none())?;
    Some(outcome.counts.read)
}

/// Delimited text in every encoding and dialect.
pub fn csv(bytes: &[u8]) {
    const EXPORTS: [&str; 16] = [
        "encoding='utf-8'",
        "encoding='cp949'",
        "encoding='utf-16'",
        "encoding='windows-1252'",
        "encoding='utf-8'\nORDER\nquote=false",
        "encoding='utf-16le'\nORDER",
        "encoding='utf-8'\nrepair=['doubled_quotes']",
        "encoding='cp949'\nORDER\ndelimiter='|'\nlist_separator=';'\nquote=false\nescape='\\'\nnull='\\N'",
        "encoding='utf-8'\ncontrol={trailer='count'}",
        "encoding='cp949'\nORDER\ndelimiter='^'\nquote=false\nnull='\\N'\ncontrol={trailer='count'}",
        "encoding='cp949'\nrepair=['doubled_quotes']\nnull='\\N'",
        "encoding='utf-16be'\ndelimiter=';'\ncontrol={trailer='count'}\nrepair=['doubled_quotes']",
        "encoding='utf-8'\nORDER\ndelimiter=\"\\t\"\nquote=false\nescape='\\'",
        "encoding='utf-8'\nORDER\nnull='-'",
        "encoding='cp949'\ncolumns={'주민'='rrno'}",
        "encoding='utf-8'\nORDER\ndelimiter=' '",
    ];
    let Some((export, choice, chunk, file)) = chosen(EXPORTS, bytes) else { return };
    let outcome = text(&format!("format='csv'\npath='a.csv'\n{export}"), "a.csv", file, chunk);
    let Some(met) = met(outcome) else { return };
    match choice {
        4 => assert_eq!(met, lines(without_mark(file), <[u8]>::is_empty), "every line is a row"),
        9 => {
            let trailer = file.trim_ascii_end().rsplit(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
            assert!(trailer.starts_with(b"#TRAILER"), "a file that was read to its end has its trailer");
            let count = trailer.rsplit(|byte| *byte == b'^').next().unwrap_or_default().trim_ascii();
            assert_eq!(std::str::from_utf8(count).ok().and_then(|count| count.parse().ok()), Some(met));
        }
        _ => {}
    }
}

/// Records with header and trailer.
pub fn fixed_width(bytes: &[u8]) {
    const LAYOUT: &str = "layout=[{item='rrno',bytes=6},{item='name',bytes=20},{item='amount',bytes=10},\
                          {item='day',bytes=8},{item='rate',bytes=6},{item='tags',bytes=8}]";
    const EXPORTS: [&str; 4] = [
        "encoding='cp949'\ncontrol={trailer='count_and_sums'}",
        "encoding='utf-8'\ncontrol={trailer='count'}",
        "encoding='cp949'",
        "encoding='windows-1252'\ncontrol={trailer='count_and_sums'}",
    ];
    let Some((export, choice, chunk, file)) = chosen(EXPORTS, bytes) else { return };
    let outcome = text(&format!("format='fixed_width'\npath='a.dat'\n{LAYOUT}\n{export}"), "a.dat", file, chunk);
    let Some(met) = met(outcome) else { return };
    let head = if choice == 1 { without_mark(file) } else { file };
    let declared = std::str::from_utf8(&head[66..76]).ok().and_then(|count| count.parse().ok());
    assert_eq!(declared, Some(met), "a file that was read to its end has the records that its header counts");
}

/// Bare records: EBCDIC, packed and binary numbers.
pub fn records(bytes: &[u8]) {
    const NUMBERS: &str = "layout=[{item='rrno',bytes=6,kind='zoned'},{item='name',bytes=12},\
                           {item='amount',bytes=5,kind='packed'},{item='day',bytes=8},\
                           {item='rate',bytes=4,kind='binary',scale=2,signed=true},{item='tags',bytes=6}]";
    const PLACED: &str = "layout=[{item='rrno',bytes=4,kind='packed'},{item='name',at=5,bytes=10},\
                          {item='amount',bytes=9,kind='zoned'},{item='day',bytes=8,kind='zoned'},\
                          {item='rate',at=24,bytes=8,kind='packed',scale=3},{item='tags',bytes=4}]";
    const EXPORTS: [&str; 9] = [
        "encoding='cp037'\nNUMBERS",
        "encoding='cp500'\nNUMBERS\nframing='rdw'",
        "encoding='cp933'\nNUMBERS\nframing='fixed'\nrecord_bytes=50",
        "encoding='cp949'\nNUMBERS\nframing='lines'",
        "encoding='utf-8'\nPLACED\nframing='lines'",
        "encoding='cp037'\nPLACED\nframing='rdw'",
        "encoding='cp933'\nPLACED\nframing='fixed'",
        "encoding='windows-1252'\nPLACED\nframing='fixed'",
        "encoding='cp037'\nNUMBERS\nframing='lines'",
    ];
    let Some((export, choice, chunk, file)) = chosen(EXPORTS, bytes) else { return };
    let export = export.replace("NUMBERS", NUMBERS).replace("PLACED", PLACED);
    let outcome = text(&format!("format='records'\npath='a.dat'\n{export}"), "a.dat", file, chunk);
    let Some(met) = met(outcome) else { return };
    match choice {
        0 => assert_eq!(met, file.len().div_ceil(41) as u64, "every record is met, the last one too if it is cut off"),
        2 => assert_eq!(met, file.len().div_ceil(50) as u64, "every record is met, the last one too if it is cut off"),
        _ => {}
    }
}

/// An object a line, FHIR among them. Some inputs begin with a line that is the path of a column.
pub fn json_lines(bytes: &[u8]) {
    const FHIR: &str = "columns={'identifier[system=urn:rrno].value[0]'='rrno',\
                        \"name[0].text|name[0].given.join(' ')\"='name','onsetDateTime.toDate()|birthDate'='day',\
                        'valueQuantity.value'='rate','code.coding[system=urn:x].code'='tags'}";
    const REFERENCE: &str = "columns={'subject.getReferenceKey(Patient)'='rrno','a.b[c.d=e].f'='name'}";
    const EXPORTS: [&str; 5] =
        ["encoding='utf-8'", "encoding='cp949'", "encoding='utf-16'\nlimits={depth=5}", FHIR, REFERENCE];
    let [choice, chunk, rest @ ..] = bytes else { return };
    let (export, file) = match usize::from(*choice) % 6 {
        5 => {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            let Ok(path) = std::str::from_utf8(&rest[..end]) else { return };
            if ieum_model::path::Paths::parse(path, '.').is_err() || path.contains(|c: char| c.is_control()) {
                return;
            }
            (format!("columns={{{}='rrno'}}", quoted(path)), rest.get(end + 1..).unwrap_or_default())
        }
        choice => (EXPORTS[choice].to_owned(), rest),
    };
    let export = format!("format='json_lines'\npath='a.json'\n{export}");
    let outcome = text(&export, "a.json", file, usize::from(*chunk) + 1);
    if let Some(met) = met(outcome)
        && !export.contains("utf-16")
    {
        assert_eq!(met, lines(without_mark(file), |line| line.trim_ascii().is_empty()), "every line is a row");
    }
}

/// A text as a key of TOML.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A document with an array of objects.
pub fn json(bytes: &[u8]) {
    const EXPORTS: [&str; 4] = [
        "encoding='utf-8'",
        "encoding='utf-8'\nrows='response.body.items'",
        "encoding='cp949'\nlimits={depth=4}",
        "encoding='utf-16'\nrows='items'\ncolumns={'주민'='rrno','n[0]'='name'}",
    ];
    let Some((export, _, chunk, file)) = chosen(EXPORTS, bytes) else { return };
    text(&format!("format='json'\npath='a.json'\n{export}"), "a.json", file, chunk);
}

/// An element for every row.
pub fn xml(bytes: &[u8]) {
    const EXPORTS: [&str; 5] = [
        "encoding='utf-8'",
        "encoding='utf-8'\nrepair=['empty_elements']\ncolumns={'주민'='rrno','n'='name'}",
        "encoding='cp949'\nlimits={depth=4}\ncolumns={'t/t'='tags'}",
        "encoding='utf-16'",
        "encoding='utf-8'\ncolumns={'@k'='rrno','@n'='name','a/b[c=d]/e'='tags'}",
    ];
    let Some((export, _, chunk, file)) = chosen(EXPORTS, bytes) else { return };
    text(&format!("format='xml'\nrows='row'\npath='a.xml'\n{export}"), "a.xml", file, chunk);
}
