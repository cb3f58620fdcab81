//! A whole night without its commit: 20k rows over three datasets, 2000 requests, bundles packed (a file per request
//! would be a bench of the file system). `one_shape` has no permit to evaluate
//! (every request may have every item that is read); with `seven_shapes` each item of `income` is a CASE over the shape.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use criterion::{Criterion, Throughput};
use ieum_core::night::{self, Layout};
use ieum_model::request::Request;
use ieum_tests::small_night::{self, Making};

const PEOPLE: usize = 4000;
const REQUESTS: usize = 2000;
/// Rows found for a request: three of income, one of each other dataset.
const FOUND: usize = 5;

/// What is asked of `income`; the requests take turns.
const ONE_SHAPE: [&str; 1] = ["year,amount,payer"];
const SEVEN_SHAPES: [&str; 7] =
    ["year,amount,payer", "year,amount", "year,payer", "amount,payer", "year", "amount", "payer"];

fn rrno(person: usize) -> String {
    format!("9912313{person:06}")
}

fn brno(person: usize) -> String {
    format!("99{person:08}")
}

/// Three years of income, a business and a tax period of each person: 20k rows.
fn exports() -> BTreeMap<&'static str, String> {
    let mut income = "주민등록번호,year,amount,payer\n".to_owned();
    let mut registration = "brno,rep_rrno,trade_name\n".to_owned();
    let mut vat = "brno,period,sales\n".to_owned();
    for person in 0..PEOPLE {
        let (rrno, brno) = (rrno(person), brno(person));
        for year in 2023..2026 {
            writeln!(income, "{rrno},{year},{person}000,가게 {person}").expect("text grows");
        }
        writeln!(registration, "{brno},{rrno},상사 {person}").expect("text grows");
        writeln!(vat, "{brno},2025-1,{person}00").expect("text grows");
    }
    BTreeMap::from([("income/2026.csv", income), ("registration/2026.csv", registration), ("vat/2026.csv", vat)])
}

fn requests(shapes: &[&str]) -> Vec<Request> {
    let request = |number: usize| {
        let id = format!("r{number:05}");
        let subject = format!("rrno:{}", rrno(number * 2));
        let documents =
            format!("income({});registration(brno,trade_name);vat(period,sales)", shapes[number % shapes.len()]);
        small_night::request(&[("request_id", &id), ("subject_ids", &subject), ("documents", &documents)])
    };
    (0..REQUESTS).map(|number| request(number).expect("a sound request")).collect()
}

pub fn benches(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let exports = exports();
    small_night::write_exports(&folder.path().join("exports"), &exports).expect("exports are written");
    let mut group = criterion.benchmark_group("night");
    group.throughput(Throughput::Bytes(exports.values().map(|text| text.len() as u64).sum()));
    let files: Vec<_> = exports.keys().map(|path| folder.path().join("exports").join(path)).collect();
    group.bench_function("floor_bytes", |bencher| {
        bencher.iter(|| files.iter().map(|path| fs::read(path).map_or(0, |bytes| bytes.len())).sum::<usize>());
    });
    for (name, shapes) in [("one_shape", &ONE_SHAPE[..]), ("seven_shapes", &SEVEN_SHAPES[..])] {
        let mut night = night(folder.path(), requests(shapes));
        let summary = night::run(&mut night, true).expect("a night");
        assert_eq!((summary.delivered, summary.rows_kept), (REQUESTS as u64, (REQUESTS * FOUND) as u64), "{name}");
        group.bench_function(name, |bencher| bencher.iter(|| night::run(&mut night, true).expect("a night")));
    }
    group.finish();
}

fn night(root: &Path, requests: Vec<Request>) -> night::Night {
    let making = Making { layout: Layout::Packed, sealed: false, ..Making::default() };
    small_night::night(root, &small_night::catalog_sources(), requests, &[], making).expect("a night")
}
