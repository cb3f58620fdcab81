//! The contract of formats whose rows are text: encodings, dialects, nested rows, archives; and what happens to dirt in them.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use chrono::NaiveDate;
use ieum_model::connector::Connector;
use ieum_model::dataset::{Dataset, Encoding};
use ieum_model::error::ErrorKind;
use proptest::prelude::*;

use crate::archive::tests::{tar, zip};
use crate::contract::{
    COLUMNS, EXPECTED, Read, compress, cp949, dataset, folder, keeps_the_contract, keys_of_rejects, read,
};
use crate::csv::reader::CsvConnector;
use crate::folder::tests::store_of;
use crate::json::{Document, Lines};
use crate::nested::reader::NestedConnector;
use crate::staged::tests::Staged;
use crate::xml::Elements;
use crate::{Found, connect, encoding};

/// The connector of a dataset's format, which reads so many bytes at a time.
fn connector(root: &Path, dataset: &Dataset, chunk: usize) -> Box<dyn Connector> {
    match dataset.export.as_ref().unwrap().format.to_string().as_str() {
        "csv" => Box::new(CsvConnector::try_new(root, dataset, chunk).unwrap()),
        "json_lines" => Box::new(NestedConnector::<Lines>::try_new(root, dataset, chunk).unwrap()),
        "json" => Box::new(NestedConnector::<Document>::try_new(root, dataset, chunk).unwrap()),
        "xml" => Box::new(NestedConnector::<Elements>::try_new(root, dataset, chunk).unwrap()),
        other => panic!("{other}"),
    }
}

fn encoded(text: &str, encoding: &str) -> Vec<u8> {
    let units = |mark: &str| format!("{mark}{text}").encode_utf16().collect::<Vec<_>>();
    match encoding {
        "cp949" => cp949(text),
        "windows-1252" => encoding::encode(Encoding::Windows1252, text).unwrap(),
        "utf-16le" => units("").into_iter().flat_map(u16::to_le_bytes).collect(),
        "utf-16be" => units("\u{feff}").into_iter().flat_map(u16::to_be_bytes).collect(),
        "utf-16" => units("\u{feff}").into_iter().flat_map(u16::to_le_bytes).collect(),
        "utf-8" => [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
        _ => text.as_bytes().to_vec(),
    }
}

/// The rows of the contract, written as `export` says, keep it in every encoding, compression and split.
fn check(export: &str, text: &str) {
    for (ending, encoding, name) in [
        ("\n", "utf8", "a.x"),
        ("\r\n", "utf-8", "a.x.gz"),
        ("\r", "cp949", "a.x.zst"),
        ("\n", "cp949", "a.x"),
        ("\r\n", "utf-16le", "a.x"),
        ("\n", "utf-16be", "a.x.gz"),
        ("\r", "utf-16", "a.x"),
    ] {
        for chunk in [1, 7, 1 << 20] {
            let bytes = encoded(&text.replace('\n', ending), encoding);
            let (root, _path) = folder(name, &compress(name, &bytes));
            let dataset = dataset(&format!("{export}\nencoding='{encoding}'\npath='a.x*'"));
            keeps_the_contract(connector(root.path(), &dataset, chunk).as_ref(), root.path(), &dataset);
        }
    }
}

const JSON: [&str; 3] = [
    r#"{"주민":"800101","person":{"NM":"뷁똠샾, \"갑\""},"amount":"-1,234","day":"2024-02-29"}"#,
    r#"{ "주민" : "900202", "person":{"NM":"\uc744"},"amount":null,"day":"00000000"}"#,
    r#"{"day":"9999.12.31","amount":7.0,"person":[{"NM":"병"}],"other":[1,{"x":"}"}],"\uc8fc\ubbfc":700303}"#,
];

#[test]
fn json_lines_keep_the_contract() {
    let export = "format='json_lines'\ncolumns={'주민'='rrno','person.NM'='name'}";
    check(export, &format!("{}\n{}\n\n{}\n", JSON[0], JSON[1], JSON[2]));
}

#[test]
fn a_json_document_keeps_the_contract() {
    let columns = "columns={'주민'='rrno','person.NM'='name'}";
    check(&format!("format='json'\n{columns}"), &format!("[{},\n{},\n {}]\n", JSON[0], JSON[1], JSON[2]));
    let text = format!("{{\"count\":3,\n\"body\":{{\"items\":[{},{},{}]}},\"x\":[]}}", JSON[0], JSON[1], JSON[2]);
    check(&format!("format='json'\nrows='body.items'\n{columns}"), &text);
}

const XML: &str = "<?xml version=\"1.0\"?>\n<list><head>1</head>\n<row no=\"1\"><주민>800101</주민><n>뷁똠샾, &quot;갑&#34;</n>\
    <amount>-1,234</amount><day>2024-02-29</day></row>\n<row><amount/><주민> 900202 </주민>\n<n><![CDATA[을]]></n><day>00000000</day>\
    </row><!-- <row/> --><row><n>병</n><day>9999.12.31</day><amount>007</amount><주민>700303</주민></row></list>\n";

#[test]
fn xml_keeps_the_contract() {
    let export = "format='xml'\nrows='row'\ncolumns={'주민'='rrno','n'='name'}";
    check(export, XML);
    let broken =
        XML.replace("<amount/>", "<빈칸><빈칸/><amount><amount/>").replace("<row no", "<row><x><x/></row><row no");
    check(&format!("{export}\nrepair=['empty_elements']"), &broken.replace("<row><x><x/></row>", ""));
    // An element for every row, its cells attributes.
    let text = "<l><r k='800101' n='뷁똠샾, \"갑\"' amount='-1,234' d='2024-02-29'/>\n<r k='900202' n='을' amount='' d='00000000'></r>\
                <r d='9999.12.31' amount='7' n='병' k='700303' /></l>";
    check("format='xml'\nrows='r'\ncolumns={'@k'='rrno','@n'='name','@amount'='amount','@d'='day'}", text);
}

#[test]
fn unload_files_keep_the_contract() {
    let order = "format='csv'\nheader=false\norder=['rrno','name','amount','day']\nquote=false";
    for delimiter in ["|", "\\t", "^"] {
        let text =
            "800101|뷁똠샾, \"갑\"|-1,234|2024-02-29\n900202|을|\\N|00000000\n\n700303|병|007|9999.12.31\n#TRAILER|3\n";
        let text = text.replace('|', if delimiter == "\\t" { "\t" } else { delimiter });
        let export = format!("{order}\ndelimiter=\"{delimiter}\"\nnull='\\N'\ncontrol={{trailer='count'}}");
        check(&export, &text);
        check(&format!("{export}\nescape='\\'"), &text);
    }
    // The header of a file without quotes, with blanks after its delimiters.
    let text = "주민, NM, amount, day\n800101, 뷁똠샾\\, \\\"갑\", -1\\,234, 2024-02-29\n900202,을,,\n700303,병,7,\n";
    check("format='csv'\nquote=false\nescape='\\'\ncolumns={'주민'='rrno'}", text);
}

#[test]
fn csv_keeps_the_contract_in_every_encoding() {
    let rows = "800101,\"뷁똠샾, \"\"갑\"\"\",\"-1,234\",2024-02-29\n900202,을,,00000000\n\n700303,병,007,9999.12.31\n";
    check("format='csv'\ncolumns={'주민'='rrno'}", &format!("주민,NM,amount,day\n{rows}"));
    // Every row but the last is written with doubled quotes.
    let rows = "800101,\"\"뷁똠샾, \"갑\"\"\",\"\"-1,234\"\",2024-02-29\n900202,\"\"을\"\",,00000000\n700303,병,007,9999.12.31\n";
    check("format='csv'\ncolumns={'주민'='rrno'}\nrepair=['doubled_quotes']", &format!("주민,NM,amount,day\n{rows}"));
}

#[test]
fn archives_keep_the_contract() {
    let csv = |rows: &str| cp949(&format!("rrno,name,amount,day\n{rows}"));
    let first = csv("800101,\"뷁똠샾, \"\"갑\"\"\",\"-1,234\",2024-02-29\n");
    let second = csv("900202,을,,00000000\n700303,병,007,9999.12.31\n");
    let names = [cp949("국세/01.csv"), cp949("국세/02.csv.gz"), b"readme.txt".to_vec()];
    let packed = compress("x.gz", &second);
    let zipped = zip(&[(0, &names[0], &first), (0, &names[1], &packed), (0, &names[2], b"no table")]);
    let tarred = tar(&[("국세/01.csv", &first), ("국세/02.csv.gz", &packed), ("readme.txt", b"no table")]);
    for (name, bytes) in [("a.zip", zipped), ("a.tar", tarred.clone()), ("a.tar.gz", compress("a.gz", &tarred))] {
        let (root, _path) = folder(name, &bytes);
        let export = format!("format='csv'\nencoding='cp949'\npath='{name}'\nentries='국세/*.csv*'");
        let dataset = dataset(&export);
        let Found::Export(found) = connect(root.path(), &dataset, NaiveDate::default()).unwrap() else { panic!() };
        assert_eq!(found.partitions(), [format!("{name}!/국세/01.csv"), format!("{name}!/국세/02.csv.gz")]);
        keeps_the_contract(found.as_ref(), root.path(), &dataset);
        let Found::Export(found) = connect(store_of(name, &bytes), &dataset, NaiveDate::default()).unwrap() else {
            panic!()
        };
        found.verify_control().unwrap();
        assert_eq!(read(found.as_ref(), &dataset, &COLUMNS, None).unwrap().rows, EXPECTED, "out of a store");
    }
}

/// Every row of a file: how many were read, those kept, and the rejects as `rule@offset`, whose bytes are those of the file.
fn outcome(root: &Path, dataset: &Dataset, bytes: &[u8]) -> (Read, Vec<String>) {
    let read = read(connector(root, dataset, 1 << 20).as_ref(), dataset, &COLUMNS, None).unwrap();
    for row in read.rejects.iter().chain(&read.repaired) {
        let at = usize::try_from(row.byte_offset).unwrap();
        assert_eq!(bytes[at..at + row.raw.len()], row.raw[..], "a row is told as it stands in the file");
    }
    let rejects = read.rejects.iter().map(|reject| format!("{}@{}", reject.rule, reject.byte_offset)).collect();
    (read, rejects)
}

#[test]
fn what_cannot_be_decoded_is_rejected_with_its_place() {
    let check = |encoding: &str, bytes: &[u8], expected: &[&str], kept: usize| {
        let (root, _path) = folder("a.csv", bytes);
        let dataset = dataset(&format!("format='csv'\nencoding='{encoding}'\npath='a.csv'"));
        let (read, rejects) = outcome(root.path(), &dataset, bytes);
        assert_eq!(
            (&rejects[..], read.rows.len()),
            (&expected.iter().map(|row| (*row).into()).collect::<Vec<String>>()[..], kept)
        );
    };
    let head = b"rrno,name,amount,day\n";
    check("windows-1252", &[head, &b"1,Jos\xE9,2,\n2,a\x81,2,\n3,\x80,2,\n"[..]].concat(), &["encoding@31"], 2);
    check("cp949", &[head, &b"1,\xB0\xA1,2,\n2,\xFF\xFF,2,\n3,a,2,\n"[..]].concat(), &["encoding@29"], 2);
    let units = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let half = [units("rrno,name,amount,day\n1,가𝄞,2,\n2,"), vec![0, 0xD8], units(",2,\n3,나,2,\n")].concat();
    check("utf-16le", &half, &["encoding@60"], 2);
    let odd = [units("\u{feff}rrno,name,amount,day\n1,가,2,\n2,나,2,"), vec![b'x']].concat();
    check("utf-16", &odd, &["encoding@58"], 1);
}

#[test]
fn a_utf_16_file_that_does_not_tell_its_order_is_told_what_to_write() {
    let (root, _path) = folder("a.csv", b"r\0r\0n\0o\0\n\0");
    let dataset = dataset("format='csv'\nencoding='utf-16'\npath='a.csv'");
    let error = read(connector(root.path(), &dataset, 8).as_ref(), &dataset, &["rrno"], None).unwrap_err();
    assert_eq!(error.message, "file does not start with the byte order mark of UTF-16");
    assert!(error.hint.unwrap().contains("utf-16le"));
}

#[test]
fn broken_rows_of_json_and_xml_are_rejected_and_the_next_ones_read() {
    let check = |export: &str, text: &str, kept: &[&str], expected: &[&str]| {
        let (root, _path) = folder("a.x", text.as_bytes());
        let dataset = dataset(&format!("{export}\npath='a.x'"));
        let (read, rejects) = outcome(root.path(), &dataset, text.as_bytes());
        let keys: Vec<&str> = read.rows.iter().map(|row| row.split('|').next().unwrap()).collect();
        assert_eq!((keys, rejects), (kept.to_vec(), expected.iter().map(|row| (*row).to_owned()).collect()), "{text}");
    };
    let lines = "format='json_lines'";
    check(
        lines,
        "{\"rrno\":1}\n{\"rrno\":2\n{\"rrno\":3}{\"rrno\":4}\n[]\n{\"rrno\":5}\n",
        &["1", "5"],
        &["json@11", "json@21", "json@42"],
    );
    check(lines, "{\"rrno\":\"1\",\"amount\":\"x\"}\n{\"rrno\":2,\"amount\":[1,2]}\n", &[], &["type@0", "repeated@26"]);
    check(
        lines,
        "{\"rrno\":1,\"x\":\"\\ud800\",\"name\":\"\\ud800\"}\n{\"rrno\":{}}\n",
        &[],
        &["encoding@0", "type@40"],
    );
    check("format='json'", "[{\"rrno\":1},{\"rrno\":2,{\"rrno\":3}]", &["1", "3"], &["json@12"]);
    check("format='json'\nlimits={depth=2}", "[{\"rrno\":1},{\"rrno\":[[2]]}]", &["1"], &["nesting@12"]);
    let xml = "format='xml'\nrows='r'";
    let text = "<l><r><rrno>1</rrno></r><r><rrno>2</r><r><rrno>3<r><rrno>4</rrno></r>x<r><rrno>&e;</rrno></r></l>";
    check(xml, text, &["1", "4"], &["xml@24", "xml@38", "xml@69", "xml@70"]);
}

#[test]
fn a_row_without_its_key_is_no_row_of_nobody() {
    let (root, _path) = folder("a.x", b"{\"rrno\":\"\"}\n{\"rno\":\"800101\"}\n{\"rrno\":null}\n{\"x\":\"800101\"}\n");
    let dataset = dataset("format='json_lines'\npath='a.x'");
    let (plain, staged) = (connector(root.path(), &dataset, 64), Staged::of(root.path(), &dataset));
    for connector in [plain.as_ref(), staged.connector.as_ref()] {
        let read = read(connector, &dataset, &["rrno"], Some(&["800101"])).unwrap();
        let rules: Vec<&str> = read.rejects.iter().map(|reject| reject.rule).collect();
        assert_eq!((rules, read.counts.filtered), (vec!["missing", "missing"], 2));
        assert!(read.rejects.iter().all(|reject| reject.strays.keys == [b"800101".to_vec()]), "{:?}", read.rejects);
    }
}

#[test]
fn a_rejected_nested_row_tells_its_key() {
    let keys = Some(&["800101", "900202"][..]);
    let text = "{\"rrno\":\"800101\",\"amount\":\"x\"}\n{\"rrno\":\"900202\"\n{\"rrno\":\"700303\",\"amount\":\"x\"}\n";
    let (root, _path) = folder("a.x", text.as_bytes());
    let lines = dataset("format='json_lines'\npath='a.x'");
    assert_eq!(keys_of_rejects(connector(root.path(), &lines, 64).as_ref(), &lines, keys), ["800101", "900202"]);
    let text = "<l><r><rrno>800101</rrno><amount>x</amount></r><r><rrno>900202</r><r><rrno>700303</rrno></r></l>";
    let (root, _path) = folder("a.x", text.as_bytes());
    let xml = dataset("format='xml'\nrows='r'\npath='a.x'");
    assert_eq!(keys_of_rejects(connector(root.path(), &xml, 64).as_ref(), &xml, keys), ["800101", "900202"]);
}

#[test]
fn a_file_that_is_cut_off_or_something_else_is_an_error() {
    let check = |export: &str, text: &str, message: &str| {
        let (root, _path) = folder("a.x", text.as_bytes());
        let dataset = dataset(&format!("{export}\npath='a.x'"));
        let connector = connector(root.path(), &dataset, 8);
        for error in
            [read(connector.as_ref(), &dataset, &["rrno"], None).unwrap_err(), connector.verify_control().unwrap_err()]
        {
            assert!(error.kind == ErrorKind::Contract && error.message.starts_with(message), "{error}");
            assert!(error.hint.is_some());
        }
    };
    check("format='json'", "[{\"rrno\":1}", "file is cut off: it ends before the `]` of the array");
    check("format='json'", "{\"rrno\":1}\n{\"rrno\":1}\n", "file does not hold an array where `rows` says");
    check("format='json_lines'", "", "file is empty");
    check(
        "format='xml'\nrows='r'",
        "<l><r><rrno>1</rrno></r>",
        "file is cut off: it ends before the end of its first element",
    );
    check("format='xml'\nrows='r'", "rrno\n1\n", "file is cut off: it ends before its first element");
    let bomb = "<!DOCTYPE l [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;&a;'>]><l><r><rrno>&b;</rrno></r></l>";
    check("format='xml'\nrows='r'", bomb, "file declares entities of its own, which are never expanded");
}

#[test]
fn a_bomb_is_an_error_that_names_its_limit() {
    let check = |name: &str, bytes: &[u8], export: &str, limit: &str, limits: [&str; 2]| {
        let (root, _path) = folder(name, bytes);
        let read_with = |limits: &str| {
            let dataset = dataset(&format!("{export}\npath='{name}'\n{limits}"));
            read(connector(root.path(), &dataset, 1 << 20).as_ref(), &dataset, &["rrno"], None)
        };
        let error = read_with(limits[0]).unwrap_err();
        assert!(error.kind == ErrorKind::Contract && error.context.contains(&("limit", limit.to_owned())), "{error}");
        assert!(error.hint.as_ref().unwrap().contains(&format!("limits = {{ {limit} = ")), "{error}");
        assert!(read_with(limits[1]).is_ok());
    };
    let rows = format!("rrno,x\n{}", format!("1,{}\n", "x".repeat(1 << 20)).repeat(66));
    let raised = ["", "limits={expansion=1000000}"];
    check("a.csv.zst", &compress("a.zst", rows.as_bytes()), "format='csv'", "expansion", raised);
    let long = format!("{{\"rrno\":\"1\",\"x\":\"{}\"}}\n", "x".repeat(3 << 20));
    check("a.json", long.as_bytes(), "format='json_lines'", "row_mib", ["limits={row_mib=2}", ""]);
}

/// Whatever the bytes are: the same rows and rejects however the file is split, each reject told as it stands there, and a
/// probe keeps what filtering afterwards keeps.
fn is_accounted_for(bytes: &[u8], export: &str, chunk: usize) -> Result<(), TestCaseError> {
    let (root, _path) = folder("a.x", bytes);
    let dataset = dataset(&format!("{export}\npath='a.x'"));
    let reading = |chunk: usize, keys: Option<&[&str]>| {
        read(connector(root.path(), &dataset, chunk).as_ref(), &dataset, &COLUMNS, keys)
    };
    let (whole, split) = match (reading(1 << 20, None), reading(chunk, None)) {
        (Ok(whole), Ok(split)) => (whole, split),
        (Err(whole), Err(split)) => {
            prop_assert_eq!(whole.message, split.message);
            return Ok(());
        }
        _ => return Err(TestCaseError::fail("the window decides")),
    };
    prop_assert_eq!(&whole.rows, &split.rows);
    prop_assert_eq!(&whole.rejects, &split.rejects);
    prop_assert_eq!(&whole.repaired, &split.repaired);
    for row in whole.rejects.iter().chain(&whole.repaired) {
        let at = usize::try_from(row.byte_offset).unwrap();
        prop_assert_eq!(&bytes[at..at + row.raw.len()], &row.raw[..]);
    }
    let probed = reading(chunk, Some(&["900202", "7"])).unwrap();
    let is_wanted = |row: &&String| ["900202", "7"].contains(&row.split('|').next().unwrap().trim());
    prop_assert_eq!(&probed.rows, &whole.rows.iter().filter(is_wanted).cloned().collect::<Vec<_>>());
    prop_assert_eq!(probed.counts.read, whole.counts.read);
    prop_assert!(probed.repaired.iter().all(|note| whole.repaired.contains(note)));
    Ok(())
}

fn dirty(text: &[u8], dirt: &[(usize, Option<u8>)]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    for (at, byte) in dirt {
        let at = at % bytes.len();
        match byte {
            Some(byte) => bytes[at] = *byte,
            None => drop(bytes.remove(at)),
        }
    }
    bytes
}

fn dirt(marks: &'static [u8]) -> impl Strategy<Value = Vec<(usize, Option<u8>)>> {
    let byte =
        prop_oneof![3 => prop::sample::select(marks).prop_map(Some), 1 => any::<u8>().prop_map(Some), 1 => Just(None)];
    prop::collection::vec((0..4000_usize, byte), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn dirty_json_is_accounted_for(dirt in dirt(b"\"{}[],:\\\n7"), chunk in 1..60_usize, utf_16: bool) {
        let columns = "columns={'주민'='rrno','person.NM'='name'}";
        let lines = format!("{}\n{}\n{}\n{{\"주민\":7}}\n", JSON[0], JSON[1], JSON[2]);
        let document = format!("[{},{},{},\n{{\"주민\":7}}]", JSON[0], JSON[1], JSON[2]);
        let encoding = if utf_16 { "utf-16le" } else { "cp949" };
        for (format, text) in [("json_lines", lines), ("json", document)] {
            let bytes = dirty(&encoded(&text, encoding), &dirt);
            is_accounted_for(&bytes, &format!("format='{format}'\nencoding='{encoding}'\n{columns}"), chunk)?;
        }
    }

    #[test]
    fn dirty_xml_is_accounted_for(dirt in dirt(b"<>/!-=\"'& 7r"), chunk in 1..60_usize, broken: bool) {
        let text = if broken { XML.replace("<amount/>", "<amount><amount/>") } else { XML.to_owned() };
        let bytes = dirty(text.as_bytes(), &dirt);
        is_accounted_for(&bytes, "format='xml'\nrows='row'\nrepair=['empty_elements']\ncolumns={'주민'='rrno','n'='name'}", chunk)?;
    }

    #[test]
    fn dirty_unload_files_are_accounted_for(dirt in dirt(b"||\\\\\n\r\"N7"), chunk in 1..60_usize, escaped: bool, utf_16: bool) {
        let text = "800101|뷁\\||-1,234|2024-02-29\n900202|\\N|\\N|\\N\n7|\\\n|007|\n\\N|a|1|\n".repeat(4);
        let encoding = if utf_16 { "utf-16be" } else { "utf-8" };
        let escape = if escaped { "escape='\\'" } else { "" };
        let export = format!(
            "format='csv'\nencoding='{encoding}'\nheader=false\norder=['rrno','name','amount','day']\nquote=false\n\
             delimiter='|'\nnull='\\N'\n{escape}"
        );
        is_accounted_for(&dirty(&encoded(&text, encoding), &dirt), &export, chunk)?;
    }

    #[test]
    fn dirty_doubled_quotes_are_accounted_for(dirt in dirt(b"\"\",\n7"), chunk in 1..60_usize) {
        let text = "800101,\"\"a, b\"\",1,\n900202,\"c, d\",\"\"1,234\"\",\n7,\"\"x\"\",,\n5,,,\n".repeat(4);
        let export = "format='csv'\nheader=false\norder=['rrno','name','amount','day']\nrepair=['doubled_quotes']";
        is_accounted_for(&dirty(text.as_bytes(), &dirt), export, chunk)?;
    }
}

#[test]
fn repaired_rows_are_noted_as_they_stand_in_the_file() {
    let text = "rrno,name,amount,day\n1,\"\"a, b\"\",1,\n2,c,2,\n3,\"\"d\"\",3,\n";
    let (root, _path) = folder("a.csv", text.as_bytes());
    let check = |repair: &str, kept: usize, notes: &[(&str, u64, u64)], rejects: &[&str]| {
        let dataset = dataset(&format!("format='csv'\npath='a.csv'\n{repair}"));
        let (read, rejected) = outcome(root.path(), &dataset, text.as_bytes());
        let found: Vec<_> = read.repaired.iter().map(|note| (note.rule, note.line, note.byte_offset)).collect();
        assert_eq!(
            (read.rows.len(), &found[..], &rejected[..]),
            (kept, notes, &rejects.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>()[..])
        );
    };
    check("", 1, &[], &["ragged@21", "quote@42"]);
    let rule = "doubled_quotes";
    check("repair=['doubled_quotes']", 3, &[(rule, 2, 21), (rule, 4, 42)], &[]);
    assert_eq!(EXPECTED.len(), 3);
}
