//! Files of other writers, and files that no writer would make.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use flate2::Compression;
use ieum_model::connector::Connector;
use ieum_model::dataset::Dataset;
use ieum_model::error::{Error, ErrorKind, Result};
use proptest::prelude::*;
use serde_json::Value;

use crate::contract::{COLUMNS, Read, dataset, folder, keeps_the_contract, keys_of_rejects, read};
use crate::export::TextExport;
use crate::sample::{self, Extent};
use crate::{Found, connect};

use super::reader::Avro;

fn written() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/exports/avro")
}

fn connector(root: &Path, dataset: &Dataset, chunk: usize) -> TextExport<Avro> {
    TextExport::<Avro>::try_new(root, dataset, chunk).unwrap()
}

#[test]
fn files_of_every_codec_keep_the_contract() {
    for codec in ["null", "deflate", "snappy", "zstandard"] {
        let dataset = dataset(&format!(
            "format='avro'\npath='rows.{codec}.avro'\ncolumns={{'person.rrno'='rrno','person.NM'='name'}}"
        ));
        for chunk in [1, 7, 1 << 20] {
            keeps_the_contract(&connector(&written(), &dataset, chunk), &written(), &dataset);
        }
        let columns = connector(&written(), &dataset, 64).columns(0).unwrap().unwrap();
        let columns: Vec<String> = columns.iter().map(crate::drift::written).collect();
        let money = "amount: decimal of 2 digits after the point";
        assert_eq!(columns, ["unwanted: map", "day: date", "person: record", money]);
    }
}

/// A dataset of `types.avro`.
fn types() -> Dataset {
    let items = [
        ("day", "date", false),
        ("millis", "dt", false),
        ("micros", "ym", false),
        ("local", "dt", false),
        ("money", "dec", false),
        ("whole", "amt", false),
        ("id", "str", false),
        ("open", "flag", false),
        ("ratio", "dec", false),
        ("share", "dec", false),
        ("kind", "code", false),
        ("parts", "int", true),
        ("city", "str", false),
        ("text", "str", false),
        ("at", "str", false),
    ];
    let item = |(code, kind, list): &(&str, &str, bool)| {
        format!("[items.{code}]\nname_ko='n'\ntype='{kind}'\nsensitivity='G'\nlist={list}\n")
    };
    let items: String = items.iter().map(item).collect();
    toml::from_str(&format!(
        "code='d'\nname_ko='d'\nholder='h'\ncategory='1'\nbasis='K'\nkey={{item='key',space='person'}}\n{items}\
         [export]\nformat='avro'\npath='types.avro'\ncolumns={{'homes.new.city'='city'}}"
    ))
    .unwrap()
}

#[test]
fn every_logical_type_is_read_as_its_writer_reads_it() {
    let expected = std::fs::read_to_string(written().join("types.json")).unwrap();
    let expected: Vec<Vec<Value>> = serde_json::from_str(&expected).unwrap();
    let dataset = types();
    let codes = [
        "key", "day", "millis", "micros", "local", "money", "whole", "id", "open", "ratio", "share", "kind", "parts",
        "city", "text", "at",
    ];
    let codes: Vec<String> = codes.iter().map(|code| (*code).to_owned()).collect();
    let Found::Export(export) = connect(&written(), &dataset, NaiveDate::default()).unwrap() else { panic!() };
    let found = sample::read(export.as_ref(), &dataset, &codes, Extent::Rows(10)).unwrap();
    assert_eq!((found.rejects.len(), found.rows.len()), (0, expected.len()), "{:?}", found.rejects);
    for (row, expected) in found.rows.iter().zip(&expected) {
        for ((code, cell), expected) in codes.iter().zip(row).zip(expected) {
            let expected = match expected {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                // A list without values is absent, as in every format.
                Value::Array(parts) if parts.is_empty() => None,
                Value::Array(parts) => {
                    let part = |part: &Value| part.as_str().unwrap_or_default().to_owned();
                    Some(format!("[{}]", parts.iter().map(part).collect::<Vec<_>>().join(", ")))
                }
                other => panic!("{other}"),
            };
            assert_eq!(*cell, expected, "{code}");
        }
    }
}

fn number(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    let mut out = Vec::new();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

fn string(text: &[u8]) -> Vec<u8> {
    [number(text.len() as i64), text.to_vec()].concat()
}

const MARK: &[u8] = b"0123456789abcdef";

/// A file: the fields of its rows, its codec, and its blocks, each the rows that it says it has, and its bytes as they stand there.
fn file(fields: &str, codec: &str, blocks: &[(i64, &[u8])]) -> Vec<u8> {
    let schema = format!(r#"{{"type":"record","name":"row","fields":[{fields}]}}"#);
    let head = [
        b"Obj\x01".to_vec(),
        number(2),
        string(b"avro.schema"),
        string(schema.as_bytes()),
        string(b"avro.codec"),
        string(codec.as_bytes()),
        number(0),
        MARK.to_vec(),
    ];
    let block = |(rows, bytes): &(i64, &[u8])| [number(*rows), string(bytes), MARK.to_vec()].concat();
    [head.concat(), blocks.iter().map(block).collect::<Vec<_>>().concat()].concat()
}

const FIELDS: &str = r#"{"name":"rrno","type":["null","string"]},{"name":"amount","type":"string"}"#;

fn row(key: &[u8], amount: &[u8]) -> Vec<u8> {
    [number(1), string(key), string(amount)].concat()
}

fn read_file(bytes: &[u8], more: &str, chunk: usize) -> Result<Read> {
    let (root, _path) = folder("a.avro", bytes);
    let dataset = dataset(&format!("format='avro'\npath='a.avro'\n{more}"));
    let export = connector(root.path(), &dataset, chunk);
    let verified = export.verify_control();
    let read = read(&export, &dataset, &["rrno", "amount"], None);
    if let (Err(verified), Err(read)) = (&verified, &read) {
        assert_eq!(verified.message, read.message);
    }
    verified.and(read)
}

#[test]
fn a_value_that_cannot_be_read_rejects_its_row_with_its_bytes() {
    let rows = [row(b"1", b"5"), row(b"2", b"x"), row(b"3", b"\xFF"), row(b"\xFF", b"7"), row(b"5", b"8")];
    let bytes = file(FIELDS, "null", &[(2, &rows[..2].concat()), (0, b""), (3, &rows[2..].concat())]);
    for chunk in [1, 7, 1 << 20] {
        let read = read_file(&bytes, "", chunk).unwrap();
        assert_eq!(read.rows, ["1|5", "5|8"]);
        let told: Vec<_> =
            read.rejects.iter().map(|reject| (reject.line, reject.rule, reject.column.as_deref())).collect();
        assert_eq!(told, [(2, "type", Some("amount")), (3, "encoding", Some("amount")), (4, "encoding", Some("rrno"))]);
        let whole = rows.concat();
        for reject in &read.rejects {
            let at = usize::try_from(reject.byte_offset).unwrap();
            assert_eq!(whole[at..at + reject.raw.len()], reject.raw[..]);
        }
    }
    let (root, _path) = folder("a.avro", &bytes);
    let mut dataset = dataset("format='avro'\npath='a.avro'");
    dataset.items.retain(|code, _| code == "amount");
    let connector = connector(root.path(), &dataset, 64);
    assert_eq!(keys_of_rejects(&connector, &dataset, Some(&["2", "3"])), ["2", "3", ""]);
    // What was rejected can be read once the catalog says what it is.
    let rows: Vec<_> = read(&connector, &dataset, &["rrno", "amount"], None).unwrap().rejects;
    let kept = |reject: &ieum_model::connector::Reject| crate::replay::KeptRow {
        line: reject.line,
        byte_offset: reject.byte_offset,
        bytes: reject.raw.clone(),
        shapeless: None,
    };
    let rows: Vec<_> = rows.iter().map(kept).collect();
    let mut mended = dataset.clone();
    mended.items.get_mut("amount").unwrap().item_type = ieum_model::dataset::ItemType::Str;
    for (dataset, kept) in [(&dataset, 0), (&mended, 1)] {
        let counts = crate::replayed(root.path(), dataset, NaiveDate::default(), "a.avro", &rows).unwrap();
        assert_eq!((counts.read, counts.kept, counts.rejected), (3, kept, 3 - kept));
    }
}

fn fails(bytes: &[u8], more: &str) -> Error {
    let error = read_file(bytes, more, 1 << 20).unwrap_err();
    assert!(error.kind == ErrorKind::Contract && error.hint.is_some(), "{error}");
    assert!(error.context.iter().any(|(field, _)| *field == "export"), "{error}");
    error
}

#[test]
fn a_file_that_is_none_or_lies_about_its_blocks_is_an_error() {
    let rows = [row(b"1", b"5"), row(b"2", b"6")].concat();
    let check = |bytes: &[u8], message: &str| assert_eq!(fails(bytes, "").message, message);
    let block = "file is damaged: a block does not hold its rows";
    check(b"rrno\n1\n", "not an Avro file");
    check(b"", "not an Avro file");
    check(&file(FIELDS, "null", &[(1, &rows)]), block);
    check(&file(FIELDS, "null", &[(3, &rows)]), "file is cut off: it ends before the rows of its last block");
    check(&file(FIELDS, "null", &[(3, &rows), (2, &rows)]), block);
    check(&file(FIELDS, "null", &[(i64::MAX, &rows), (1, &rows)]), block);
    check(&file(FIELDS, "null", &[(-1, &rows)]), "file is damaged: a block is none");
    check(&file(FIELDS, "null", &[(2, &rows[..rows.len() - 1])]), block);
    // An absurd length of a text, and a branch that the union does not have.
    check(&file(FIELDS, "null", &[(1, &[number(1), number(i64::MAX)].concat())]), block);
    check(&file(FIELDS, "null", &[(1, &[number(1), number(-5)].concat())]), block);
    check(&file(FIELDS, "null", &[(1, &number(2))]), block);
    let whole = file(FIELDS, "null", &[(2, &rows)]);
    let mut other = whole.clone();
    *other.last_mut().unwrap() ^= 1;
    check(&other, "file is damaged: a block is none");
    check(&file(FIELDS, "xz", &[(2, &rows)]), "blocks of the file are packed by `xz`");
    check(&file("", "null", &[(1 << 40, b"")]), "the schema of the file has rows that hold nothing");
    for codec in ["deflate", "snappy", "zstandard"] {
        check(&file(FIELDS, codec, &[(2, b"\xFF\xFF\xFF")]), "file is damaged: a block is none");
    }
    // Where the file ends with a block it may have been cut off, but nobody can know.
    let head = whole.len() - (rows.len() + 2 + MARK.len());
    for length in (0..whole.len()).filter(|length| *length != head) {
        assert!(read_file(&whole[..length], "", 64).is_err(), "{length}");
    }
    assert_eq!(read_file(&whole[..head], "", 64).unwrap().counts.read, 0);
    assert_eq!(read_file(&whole, "", 64).unwrap().rows, ["1|5", "2|6"]);
}

#[test]
fn a_bomb_is_an_error_that_names_its_limit() {
    let rows = row(b"1", b"5").repeat(14 << 20);
    assert!(rows.len() > 64 << 20);
    let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut deflate, &rows).unwrap();
    let deflate = deflate.finish().unwrap();
    let zstandard = zstd::encode_all(&rows[..], 1).unwrap();
    // A block of nothing that claims to be 4 GiB.
    let snappy = b"\xFF\xFF\xFF\xFF\x0F\0\0\0\0\0";
    for (codec, packed) in [("deflate", &deflate[..]), ("zstandard", &zstandard), ("snappy", snappy)] {
        let message = fails(&file(FIELDS, codec, &[(14 << 20, packed)]), "").message;
        assert_eq!(message, "a block of the file is larger than 64 MiB", "{codec}");
    }
    let half = zstd::encode_all(&rows[..rows.len() / 2], 1).unwrap();
    let count = 7 << 20;
    let error = fails(&file(FIELDS, "zstandard", &[(count, &half), (count, &half), (count, &half)]), "");
    assert!(error.message.contains("from each compressed one"), "{error}");
    assert!(error.context.contains(&("limit", "expansion".to_owned())));
    // What a file says of its length is not made room for.
    let claims = [file(FIELDS, "null", &[]), number(1), number(60 << 20), vec![0; 9]].concat();
    assert_eq!(fails(&claims, "").message, "file is cut off within its header or a block");
    let claims = [file(FIELDS, "null", &[]), number(1), number(i64::MAX), vec![0; 9]].concat();
    assert_eq!(fails(&claims, "").message, "a block of the file is larger than 64 MiB");
    let list = r#"{"name":"rrno","type":["null",{"type":"array","items":"long"}]},{"name":"amount","type":"string"}"#;
    let absurd = file(list, "null", &[(1, &[number(1), number(i64::MAX), vec![0; 9]].concat())]);
    assert_eq!(fails(&absurd, "").message, "file is damaged: a block does not hold its rows");
    let absurd = file(list, "null", &[(1, &[number(1), number(i64::MIN), vec![0; 9]].concat())]);
    assert_eq!(fails(&absurd, "").message, "file is damaged: a block does not hold its rows");
    // A row that holds one of its own kind, and so on.
    let nested = format!(r#"{FIELDS},{{"name":"more","type":["null","row"]}}"#);
    let deep = |levels: usize| [row(b"1", b"5"), number(1)].concat().repeat(levels);
    let deep = |levels: usize| file(&nested, "null", &[(1, &[deep(levels), row(b"1", b"5"), number(0)].concat())]);
    let error = fails(&deep(200_000), "");
    assert_eq!(error.message, "a row is nested deeper than the limit");
    assert_eq!(read_file(&deep(60), "", 64).unwrap().rows, ["1|5"]);
}

#[test]
fn a_column_that_the_file_does_not_have_is_told_with_the_nearest_name() {
    let (root, _path) = folder("a.avro", &file(FIELDS, "null", &[]));
    let check = |columns: &str, wanted: &str, message: &str, hint: &str| {
        let dataset = dataset(&format!("format='avro'\npath='a.avro'\n{columns}"));
        let error = read(&connector(root.path(), &dataset, 64), &dataset, &["rrno", wanted], None).unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Contract, message));
        assert!(error.hint.as_ref().unwrap().contains(hint), "{error:?}");
    };
    check("", "name", "column `name` is missing", "map its path");
    check("columns={'amuont'='amount'}", "amount", "column `amuont` (`amount`) is missing", "`amount`");
    check("columns={'amount.won'='amount'}", "amount", "column `amount.won` (`amount`) is missing", "");
    let dataset = dataset("format='avro'\npath='rows.null.avro'\ncolumns={'person.rrno'='rrno','person'='name'}");
    let error = read(&connector(&written(), &dataset, 64), &dataset, &["rrno", "name"], None).unwrap_err();
    assert_eq!(error.message, "column `person` (`name`) is a record or a map");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the bytes are: the same rows and rejects however the file is split, or the same error; a probe keeps what
    /// filtering afterwards keeps.
    #[test]
    fn dirty_files_are_accounted_for(
        dirt in prop::collection::vec((0..4000_usize, any::<u8>()), 0..4),
        chunk in 1..60_usize,
        codec in prop::sample::select(vec!["null", "deflate", "snappy", "zstandard"]),
    ) {
        let mut bytes = std::fs::read(written().join(format!("rows.{codec}.avro"))).unwrap();
        for (at, byte) in dirt {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let (root, _path) = folder("a.avro", &bytes);
        let dataset = dataset("format='avro'\npath='a.avro'\ncolumns={'person.rrno'='rrno','person.NM'='name'}");
        let reading = |chunk: usize, keys: Option<&[&str]>| {
            read(&connector(root.path(), &dataset, chunk), &dataset, &COLUMNS, keys)
        };
        match (reading(1 << 20, None), reading(chunk, None)) {
            (Ok(whole), Ok(split)) => {
                prop_assert_eq!(&whole.rows, &split.rows);
                prop_assert_eq!(&whole.rejects, &split.rejects);
                let probed = reading(chunk, Some(&["900202"])).unwrap();
                let is_wanted = |row: &&String| row.split('|').next().unwrap().trim() == "900202";
                prop_assert_eq!(&probed.rows, &whole.rows.iter().filter(is_wanted).cloned().collect::<Vec<_>>());
                prop_assert_eq!(probed.counts.read, whole.counts.read);
            }
            (Err(whole), Err(split)) => {
                prop_assert_eq!(whole.kind, ErrorKind::Contract);
                prop_assert_eq!(whole.message, split.message);
            }
            _ => prop_assert!(false, "the window decides"),
        }
    }
}
