//! Changes in files of records and of delimited text.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use chrono::NaiveDate;
use ieum_model::connector::Connector;
use ieum_model::dataset::Dataset;
use ieum_model::error::ErrorKind;

use crate::contract::{LAYOUT, Read, cp949, dataset, folder, read, read_with, records};
use crate::replay::{KeptRow, Replay};
use crate::staged::tests::Staged;
use crate::{Found, Located, connect, locate};

/// A file of changes: each a kind, a key and an amount.
fn changes(rows: &[(char, &str, &str)]) -> Vec<u8> {
    let header = format!("11{:30}{:7}2026110120261101000000{:05}{:010}", "d", "h", 80, rows.len());
    let record = |(at, (kind, key, amount)): (usize, &(char, &str, &str))| {
        format!("22{at:010}{kind}{key:6}{:20}{amount:>10}20240229", "")
    };
    let sum: i64 = rows.iter().filter_map(|(_, _, amount)| amount.parse::<i64>().ok()).sum();
    let trailer = format!("33{:010}{sum:+019}", rows.len());
    let records = std::iter::once(header).chain(rows.iter().enumerate().map(record)).chain([trailer]);
    cp949(&records.map(|record| format!("{record:80}\n")).collect::<String>())
}

fn open(root: &Path, dataset: &Dataset) -> Box<dyn Connector> {
    let on = NaiveDate::from_ymd_opt(2026, 11, 22).unwrap();
    match connect(root, dataset, on).unwrap() {
        Found::Export(export) => export,
        _ => panic!("not found"),
    }
}

fn sorted(mut read: Read) -> Read {
    read.rows.sort_unstable();
    read.rejects.sort_by_key(|reject| (reject.source.clone(), reject.line));
    read
}

fn told(read: &Read) -> Vec<String> {
    read.rejects.iter().map(|reject| format!("{}:{} {}", reject.source, reject.line, reject.rule)).collect()
}

/// Rows and rejects of a whole reading, and what a probe finds, in the export and in its sorted copy.
fn check(root: &Path, dataset: &Dataset, expected: &[&str], rejects: &[&str]) {
    let export = open(root, dataset);
    export.verify_control().unwrap();
    let staged = Staged::of(root, dataset);
    for connector in [export.as_ref(), staged.connector.as_ref()] {
        let all = sorted(read(connector, dataset, &["rrno", "amount"], None).unwrap());
        assert_eq!(all.rows, expected, "{:?}", all.rejects);
        assert_eq!(told(&all), rejects);
        let wanted = ["900202", "111111"];
        let some = sorted(read(connector, dataset, &["rrno", "amount"], Some(&wanted)).unwrap());
        let of_wanted: Vec<&&str> = expected.iter().filter(|row| wanted.contains(&&row[..6])).collect();
        assert_eq!(some.rows.iter().collect::<Vec<_>>(), of_wanted);
        assert_eq!(some.counts.read, all.counts.read);
        // What tells records apart need not be asked for.
        let mut amounts = read_with(connector, dataset, &["amount"], "amount", None).unwrap().rows;
        amounts.sort_unstable();
        let mut of_all: Vec<&str> = expected.iter().map(|row| row.split('|').nth(1).unwrap()).collect();
        of_all.sort_unstable();
        assert_eq!(amounts, of_all);
    }
}

#[test]
fn changes_of_records_are_merged_into_their_base() {
    let dataset = dataset(&format!("{LAYOUT}\ndeltas={{path='d*.dat',key=['rrno']}}"));
    let (root, path) = folder("a.dat", &records("\n", 3, "-000000000000001227"));
    let check = |expected: &[&str], rejects: &[&str]| check(root.path(), &dataset, expected, rejects);
    check(&["700303|7", "800101|-1234", "900202|-"], &[]);
    let first = changes(&[('U', "900202", "1"), ('I', "111111", "2"), ('U', "900202", "3"), ('D', "700303", "")]);
    std::fs::write(path.with_file_name("d1.dat"), first).unwrap();
    check(&["111111|2", "800101|-1234", "900202|3"], &[]);
    let second = changes(&[('D', "111111", ""), ('I', "700303", "9"), ('U', "900202", "4")]);
    std::fs::write(path.with_file_name("d2.dat"), second).unwrap();
    check(&["700303|9", "800101|-1234", "900202|4"], &[]);
    // The first line of a file is its header.
    let third = changes(&[('X', "900202", "5"), ('I', "800101", "6"), ('U', "222222", "7"), ('D', "111111", "")]);
    std::fs::write(path.with_file_name("d3.dat"), third).unwrap();
    let rejects = ["d3.dat:2 change", "d3.dat:3 change", "d3.dat:4 change", "d3.dat:5 change"];
    check(&["700303|9", "800101|-1234", "900202|4"], &rejects);
    let export = open(root.path(), &dataset);
    assert_eq!(export.partitions(), ["a.dat", "d1.dat", "d2.dat", "d3.dat"]);
    let read = read(export.as_ref(), &dataset, &["rrno"], Some(&["800101"])).unwrap();
    let ours: Vec<_> = read.rejects.iter().filter(|reject| reject.line == 3).collect();
    assert_eq!(ours.len(), 1);
    assert!(ours[0].reason.contains("not there yet") && ours[0].strays.keys == [b"800101".to_vec()], "{:?}", ours[0]);
}

#[test]
fn upserts_are_taken_as_they_are_meant_and_told() {
    let dataset = dataset(&format!("{LAYOUT}\nrepair=['upserts']\ndeltas={{path='d*.dat',key=['rrno']}}"));
    let (root, path) = folder("a.dat", &records("\n", 3, "-000000000000001227"));
    let rows = [('I', "800101", "6"), ('U', "222222", "7"), ('D', "111111", ""), ('X', "900202", "5")];
    std::fs::write(path.with_file_name("d.dat"), changes(&rows)).unwrap();
    check(root.path(), &dataset, &["222222|7", "700303|7", "800101|6", "900202|-"], &["d.dat:5 change"]);
    let read = read(open(root.path(), &dataset).as_ref(), &dataset, &["rrno"], None).unwrap();
    let notes: Vec<_> = read.repaired.iter().map(|note| (note.rule, note.line)).collect();
    assert_eq!(notes, [("upserts", 2), ("upserts", 3)]);
}

#[test]
fn changes_in_delimited_text_have_a_column_that_says_what_they_do() {
    let export = "format='csv'\nencoding='cp949'\npath='base/*_{date}.csv'\ncontract=['rrno','no','amount']\n\
                  deltas={path='base/*_{date}.delta',key=['rrno','no'],change='변동구분'}";
    let mut dataset = dataset(export);
    let item = dataset.items["name"].clone();
    dataset.items.insert("no".into(), item);
    let (root, _path) = folder("unused", b"");
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(root.path().join("base")).unwrap();
        std::fs::write(root.path().join("base").join(name), cp949(text)).unwrap();
    };
    write("d_20261101.csv", "rrno,no,amount\n800101,1,10\n800101,2,20\n900202,1,30\n\"111111\",1,40\n");
    write("d_20261031.delta", "변동구분,rrno,no,amount\nD,800101,1,10\n");
    write("d_20261102.delta", "변동구분,rrno,no,amount\nU,800101,2,21\nI,900202,2,31\n");
    write("d_20261103.delta", "변동구분,rrno,no,amount\nD,\"111111\",1,\nU,900202,2,32\n");
    write("d_20261123.delta", "변동구분,rrno,no,amount\nD,800101,1,10\n");
    // Neither what came before the base nor what comes after the night counts.
    let names = ["base/d_20261101.csv", "base/d_20261102.delta", "base/d_20261103.delta"];
    assert_eq!(open(root.path(), &dataset).partitions(), names);
    let all = read(open(root.path(), &dataset).as_ref(), &dataset, &["rrno", "no", "amount"], None).unwrap();
    assert_eq!(sorted(all).rows, ["800101|1|10", "800101|2|21", "900202|1|30", "900202|2|32"]);
    let hit = read(open(root.path(), &dataset).as_ref(), &dataset, &["rrno", "amount"], Some(&["800101"])).unwrap();
    assert_eq!(sorted(hit).rows, ["800101|10", "800101|21"]);
    // The dataset is as fresh as its last change.
    dataset.validity_days = Some(19);
    assert!(matches!(
        connect(root.path(), &dataset, NaiveDate::from_ymd_opt(2026, 11, 22).unwrap()).unwrap(),
        Found::Export(_)
    ));
    let error = crate::export::TextExport::<super::WithDeltas<crate::csv::reader::Csv>>::try_new(
        root.path(),
        &crate::contract::dataset(&export.replace("key=['rrno','no']", "key=[]")),
        64,
    );
    assert_eq!(error.err().map(|error| error.kind), Some(ErrorKind::Config));
}

#[test]
fn a_change_that_cannot_be_read_is_a_reject_and_its_record_no_longer_what_it_was() {
    let dataset = dataset("format='csv'\npath='a.csv'\ndeltas={path='d.csv',key=['rrno'],change='kind'}");
    let (root, path) = folder("a.csv", b"rrno,amount\n800101,1\n900202,2\n");
    let text = b"rrno,kind,amount\n800101,U,x\n900202,U,y\n900202,U,3\n";
    std::fs::write(path.with_file_name("d.csv"), text).unwrap();
    let read = read(open(root.path(), &dataset).as_ref(), &dataset, &["rrno", "amount"], None).unwrap();
    assert_eq!((&read.rows[..], &told(&read)[..]), (&["900202|3".to_owned()][..], &["d.csv:2 type".to_owned()][..]));
    // Kept out of its file, it is still the last of its record.
    let Located::Export(export) = locate(&root.path().into(), &dataset, NaiveDate::default()).unwrap() else {
        panic!()
    };
    let row = |line: u64, bytes: &[u8]| KeptRow { line, byte_offset: 0, bytes: bytes.to_vec(), shapeless: None };
    let mended = |export: &dyn Replay, row: KeptRow| {
        let columns = ["rrno".to_owned()];
        let spec = crate::sample::spec(&dataset, &columns, std::sync::Arc::new(crate::sample::Bin::default()));
        let counts = export.replay(1, &spec, &[row]).unwrap().counts;
        (counts.kept, counts.filtered)
    };
    assert_eq!(mended(export.as_ref(), row(2, b"800101,U,x")), (1, 0));
    assert_eq!(mended(export.as_ref(), row(3, b"900202,U,y")), (0, 1));
}
