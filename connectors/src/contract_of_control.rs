//! How files prove that they are complete, drift and are fresh; and that nothing of a file is lost, whatever its bytes are.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use chrono::NaiveDate;
use ieum_model::connector::Connector;
use ieum_model::error::ErrorKind;
use proptest::prelude::*;

use crate::contract::{COLUMNS, LAYOUT, compress, cp949, dataset, disagrees_while_reading, folder, read, records};
use crate::contract_of_typed::{as_parquet, as_workbook};
use crate::csv::reader::CsvConnector;
use crate::fixed_width::reader::FixedWidthConnector;
use crate::{Found, connect};

#[test]
fn a_wrong_count_manifest_or_truncated_gz_breaks_the_contract() {
    let counted = dataset("format='csv'\npath='a.csv'\ncontrol={trailer='count'}");
    let (root, _path) = folder("a.csv", b"rrno\n1\n#TRAILER,2\n");
    let Found::Export(export) = connect(root.path(), &counted, NaiveDate::default()).unwrap() else {
        panic!("missing")
    };
    assert_eq!(export.verify_control().unwrap_err().kind, ErrorKind::ControlTotals);
    disagrees_while_reading(export.as_ref(), &counted);
    let (root, _path) = folder("a.csv", b"rrno\n1\n");
    disagrees_while_reading(&CsvConnector::try_new(root.path(), &counted, 8).unwrap(), &counted);
    let (root, path) = folder("a.csv", b"rrno\n1\n");
    let manifested = dataset("format='csv'\npath='a*'\ncontrol={manifest='sha256'}");
    let connector = CsvConnector::try_new(root.path(), &manifested, 8).unwrap();
    assert!(!connector.checks_totals_while_reading(), "a digest is not checked while reading");
    assert_eq!(connector.verify_control().unwrap_err().kind, ErrorKind::ControlTotals);
    std::fs::write(path.with_extension("csv.sha256"), format!("{}  a.csv\n", "0".repeat(64))).unwrap();
    assert!(connector.verify_control().is_err());
    let gz = compress("a.gz", "rrno\n123\n".repeat(999).as_bytes());
    let (root, _path) = folder("a.gz", &gz[..gz.len() - 9]);
    let connector = CsvConnector::try_new(root.path(), &manifested, 1 << 20).unwrap();
    let error = read(&connector, &manifested, &["rrno"], None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Contract);
    assert!(matches!(connect(root.path(), &counted, NaiveDate::default()).unwrap(), Found::Missing));
}

#[test]
fn a_file_that_breaks_its_contract_says_what_to_do() {
    let check = |export: &str, bytes: &[u8], message: &str| {
        let dataset = dataset(export);
        let (root, path) = folder("a.dat", bytes);
        if message == "manifest does not hold a SHA-256 digest" {
            std::fs::write(path.with_extension("dat.sha256"), "0123  a.dat\n").unwrap();
        }
        let Found::Export(export) = connect(root.path(), &dataset, NaiveDate::default()).unwrap() else { panic!() };
        let read = read(export.as_ref(), &dataset, &["rrno"], None);
        let error = export.verify_control().and(read).unwrap_err();
        assert!(error.message.starts_with(message), "{error}");
        assert!(
            error.hint.is_some() && error.context.iter().any(|(field, _)| ["export", "file"].contains(field)),
            "{error}"
        );
    };
    let csv = |more: &str| format!("format='csv'\npath='a.dat'\n{more}");
    check(&csv(""), b"", "file has no header row");
    check(&csv(""), b"\xFF\xFEr\0", "file starts with the byte order mark of UTF-16");
    check(&csv("encoding='cp949'"), b"\xEF\xBB\xBFrrno\n", "file starts with the byte order mark of UTF-8");
    check(&csv(""), b"name\nx\n", "column `rrno` is missing");
    check(&csv("columns={'number'='rrno'}"), b"name\nx\n", "column `number` (`rrno`) is missing");
    check(&csv(""), b"rrno,rrno\nx,x\n", "column `rrno` stands there twice");
    check(&csv("control={trailer='count'}"), b"rrno\n1\n#TRAILER,1\n2\n", "rows follow the trailer");
    check(&csv("control={manifest='sha256'}"), b"rrno\n1\n", "manifest is missing");
    check(&csv("control={manifest='sha256'}"), b"rrno\n1\n", "manifest does not hold a SHA-256 digest");
    let whole = records("\n", 3, "-000000000000001227");
    check(LAYOUT, &whole[..whole.len() - 81], "trailer record is missing");
    check(LAYOUT, &whole[81..], "file does not start with a header record");
    check(LAYOUT, &[&whole[..78], &whole[79..]].concat(), "header record is shorter");
    check(&LAYOUT.replace("bytes=20", "bytes=90"), &whole, "header declares records of 80 bytes, the layout needs 127");
    check("format='parquet'\npath='a.dat'\ncolumns={'number'='rrno'}", &as_parquet(false), "the export has no column");
}

#[test]
fn a_file_without_its_completion_marker_is_not_delivered_yet() {
    let marked = dataset("format='csv'\npath='a*'\ncontrol={marker='.fin'}");
    let found = |root: &Path| connect(root, &marked, NaiveDate::default()).unwrap();
    for marker in ["a.csv.gz.fin", "a.csv.fin", "a.fin"] {
        let (root, path) = folder("a.csv.gz", &compress("a.csv.gz", b"rrno\n1\n"));
        assert!(matches!(found(root.path()), Found::Unfinished(error) if error.hint.is_some()));
        std::fs::write(path.with_file_name(marker), b"").unwrap();
        let Found::Export(export) = found(root.path()) else { panic!("{marker}") };
        assert_eq!(export.partitions(), ["a.csv.gz"], "a marker is no export");
        std::fs::write(path.with_file_name("a2.csv"), b"rrno\n2\n").unwrap();
        assert!(matches!(found(root.path()), Found::Unfinished(_)), "every file needs one");
    }
}

#[test]
fn a_file_of_other_columns_than_those_written_down_has_drifted() {
    let workbook = as_workbook(true, false);
    let files: [(&str, &str, Vec<u8>, &str, &str); 3] = [
        ("a.csv", "format='csv'", b"rrno,name\n1,2\n".to_vec(), "'rrno','name'", "'rrno','nmae','day'"),
        (
            "a.parquet",
            "format='parquet'",
            as_parquet(true),
            "'unwanted','day: date32','주민','NM','amount: int64'",
            "'day: utf8'",
        ),
        (
            "a.xlsx",
            "format='xlsx'\nsheet={name='1월',header_row=3,header_rows=2}",
            workbook,
            "'주민','구분/amount','구분/day','NM'",
            "'주민'",
        ),
    ];
    for (name, format, bytes, same, other) in files {
        let (root, _path) = folder(name, &bytes);
        let found = |contract: &str| {
            let dataset = dataset(&format!("path='{name}'\n{format}\ncontract=[{contract}]"));
            connect(root.path(), &dataset, NaiveDate::default()).unwrap()
        };
        assert!(matches!(found(same), Found::Export(_)), "{name}");
        let Found::Drifted(error) = found(other) else { panic!("{name}") };
        assert!(error.kind == ErrorKind::Contract && error.hint.is_some(), "{error}");
        assert!(error.context.iter().any(|(field, _)| *field == "column"), "{error}");
    }
}

#[test]
fn the_headers_of_fixed_width_files_tell_whether_they_are_fresh() {
    let mut dataset = dataset(&LAYOUT.replace("a.dat", "*.dat"));
    dataset.validity_days = Some(30);
    let (root, path) = folder("a.dat", &records("\n", 3, "-000000000000001227"));
    let found = |day: u32| connect(root.path(), &dataset, NaiveDate::from_ymd_opt(2026, 11, day).unwrap()).unwrap();
    assert!(matches!(found(30), Found::Export(_)));
    let base = NaiveDate::from_ymd_opt(2026, 10, 31);
    // The other file is one day younger: the oldest one counts.
    let younger =
        String::from_utf8_lossy(&records("\n", 0, "+000000000000000000")[..81]).replace("20261031", "20261101");
    std::fs::write(path.with_file_name("b.dat"), younger + &format!("{:80}\n", "330000000000+000000000000000000"))
        .unwrap();
    let later = connect(root.path(), &dataset, NaiveDate::from_ymd_opt(2026, 12, 1).unwrap()).unwrap();
    assert!(matches!(later, Found::Stale { date, validity_days: 30 } if Some(date) == base));
    // A header without a day proves nothing, and one of another dataset neither.
    for (from, to) in [("20261031", "        "), ("11d ", "11e ")] {
        let text = cp949(&encoding_rs::EUC_KR.decode(&records("\n", 3, "-000000000000001227")).0.replacen(from, to, 1));
        std::fs::write(&path, text).unwrap();
        let Found::Export(export) = found(30) else { panic!("not found") };
        disagrees_while_reading(export.as_ref(), &dataset);
    }
}

#[test]
fn real_files_are_read_or_rejected_row_by_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/korean");
    let check = |file: &str, columns: &[&str], read_rows: u64, kept: u64| {
        let dataset = dataset(&format!("format='csv'\nencoding='cp949'\npath='{file}'"));
        let connector = CsvConnector::try_new(&root, &dataset, 1 << 20).unwrap();
        let read = read(&connector, &dataset, columns, None).unwrap();
        assert_eq!((read.counts.read, read.counts.kept), (read_rows, kept));
        assert!(read.rejects.iter().all(|reject| reject.rule == "ragged" && !reject.raw.is_empty()));
    };
    check("제주시_무더위쉼터현황_20150931.csv", &["쉼터명칭", "위치"], 40, 40);
    check("전국도서관표준데이터.csv", &["도서관명", "시도명"], 1756, 386);
}

proptest! {
    #[test]
    fn dirty_csv_is_accounted_for(
        bytes in proptest::collection::vec(prop_oneof![Just(b','), Just(b'"'), Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
        chunk in 1_usize..50,
    ) {
        let bytes = [b"1,a,2,20240101\n", &bytes[..]].concat();
        let (root, _path) = folder("a.csv", &bytes);
        let dataset = dataset("format='csv'\nencoding='cp949'\nheader=false\norder=['rrno','name','amount','day']\npath='a.csv'");
        let whole = CsvConnector::try_new(root.path(), &dataset, 1 << 20).unwrap();
        let split = CsvConnector::try_new(root.path(), &dataset, chunk).unwrap();
        let whole = read(&whole, &dataset, &COLUMNS, None).unwrap();
        let split = read(&split, &dataset, &COLUMNS, None).unwrap();
        prop_assert_eq!(whole.rows, split.rows);
        for reject in &whole.rejects {
            let at = usize::try_from(reject.byte_offset).unwrap();
            prop_assert_eq!(&bytes[at..at + reject.raw.len()], &reject.raw[..]);
        }
        prop_assert_eq!(whole.rejects, split.rejects);
    }

    /// Long enough to be passed over in bulk: counts, hits and rejects are those of the same rows read one by one, and
    /// what is turned away is summed.
    #[test]
    fn rows_passed_over_leave_no_trace(
        dirt in proptest::collection::vec((0_usize..4000, prop_oneof![Just(b'"'), Just(b'\n'), Just(b'\r'), Just(b','), any::<u8>()]), 0..8),
        ending in prop_oneof![Just("\n"), Just("\r\n")],
    ) {
        let mut bytes: Vec<u8> =
            (0..150).flat_map(|row| format!("{row},\"a, {row}\",2,20240101{ending}").into_bytes()).collect();
        let length = bytes.len();
        for (at, byte) in dirt {
            bytes[at % length] = byte;
        }
        let (root, _path) = folder("a.csv", &bytes);
        let dataset = dataset("format='csv'\nencoding='cp949'\nheader=false\norder=['rrno','name','amount','day']\npath='a.csv'");
        let keys = Some(&["7", "80", "81", "149"][..]);
        let bulk = CsvConnector::try_new(root.path(), &dataset, 1 << 20).unwrap();
        let bulk = read(&bulk, &dataset, &COLUMNS, keys).unwrap();
        for chunk in [1, 100] {
            let plain = CsvConnector::try_new(root.path(), &dataset, chunk).unwrap();
            let plain = read(&plain, &dataset, &COLUMNS, keys).unwrap();
            prop_assert_eq!(&bulk.rows, &plain.rows);
            prop_assert_eq!(&bulk.rejects, &plain.rejects);
            prop_assert_eq!(bulk.counts, plain.counts);
        }
    }

    #[test]
    fn dirty_records_are_accounted_for(
        dirt in proptest::collection::vec((80_usize..400, any::<u8>()), 0..20),
        ending in prop_oneof![Just("\n"), Just("\r\n"), Just("")],
    ) {
        let mut bytes = records(ending, 3, "-000000000000001227");
        for (at, byte) in dirt {
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
        }
        let (root, _path) = folder("a.dat", &bytes);
        let dataset = dataset(LAYOUT);
        let connector = FixedWidthConnector::try_new(root.path(), &dataset, 64).unwrap();
        let whole = FixedWidthConnector::try_new(root.path(), &dataset, 1 << 20).unwrap();
        let verified = connector.verify_control().err().map(|error| (error.kind, error.message));
        for keys in [None, Some(&["900202"][..])] {
            match (read(&connector, &dataset, &COLUMNS, keys), read(&whole, &dataset, &COLUMNS, keys)) {
                (Ok(read), Ok(whole)) => {
                    prop_assert_eq!(&verified, &None);
                    prop_assert_eq!((read.rows, read.rejects, read.counts), (whole.rows, whole.rejects, whole.counts));
                }
                (Err(error), Err(_)) => prop_assert_eq!(&verified, &Some((error.kind, error.message))),
                _ => prop_assert!(false, "the window decides"),
            }
        }
    }
}
