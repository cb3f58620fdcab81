//! Encoding of bundles: 1000 requests of 5 documents with 3 records of 7 items each, as JSON lines and as a batch for
//! Parquet.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};
use chrono::NaiveDate;
use criterion::{Criterion, Throughput};
use ieum_core::bundle::parquet::FileSchema;
use ieum_core::bundle::{Answer, Bundle, Document, DocumentRows, RunHead, json};
use ieum_model::catalog::Catalog;
use ieum_model::check::{self, CheckedLine, CheckedRequest, IdGrade};
use ieum_model::outcome::Outcome;
use ieum_tests::small_night;

use crate::exports;

const REQUESTS: u32 = 1000;
const DOCUMENTS: [&str; 5] = ["doc_a", "doc_b", "doc_c", "doc_d", "doc_e"];
const RECORDS: u32 = 3;
const ITEMS: usize = 7;

/// The staged rows of one dataset; every request is one line of it.
fn rows(catalog: &Catalog, code: &str) -> DocumentRows {
    let count = REQUESTS * RECORDS;
    let dataset = &catalog.datasets[code];
    let mut fields = vec![Field::new("__line", DataType::UInt32, false)];
    let mut columns: Vec<ArrayRef> = vec![Arc::new((0..count).map(|row| row / RECORDS).collect::<UInt32Array>())];
    for item in dataset.items.keys() {
        let field = dataset.column_field(item);
        columns.push(match field.data_type() {
            DataType::Int64 => Arc::new((0..count).map(|row| Some(i64::from(row) * 1000)).collect::<Int64Array>()),
            _ => Arc::new((0..count).map(|row| Some(format!("세종대로 {row}번길"))).collect::<StringArray>()),
        });
        fields.push(field);
    }
    DocumentRows::new(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of one length"))
}

fn requests(catalog: &Catalog) -> Vec<CheckedRequest> {
    let request = |number: u32| {
        let (id, documents) = (format!("r{number:05}"), DOCUMENTS.join(";"));
        let subject = format!("rrno:9912313{number:06}");
        let fields = [("request_id", id.as_str()), ("subject_ids", subject.as_str()), ("documents", &documents)];
        small_night::request(&fields).expect("a sound request")
    };
    let as_of = NaiveDate::from_ymd_opt(2026, 11, 22).expect("a date");
    let night = check::check(catalog, (0..REQUESTS).map(request).collect(), &[], &[], as_of, &|_, _| IdGrade::Ok);
    let asked = |request: &CheckedRequest| request.lines.iter().all(|line| line.items.len() == ITEMS);
    assert!(night.requests.iter().all(asked), "every request may have every item");
    night.requests
}

/// The bundle of a request, `line` of every dataset; its documents stand in the order of [`DOCUMENTS`].
fn bundle<'a>(request: &'a CheckedRequest, line: u32, rows: &'a [DocumentRows]) -> Bundle<'a> {
    let answer = Answer { outcome: Outcome::Provided, reason: None, records: RECORDS };
    let document = |(asked, rows): (&'a CheckedLine, &'a DocumentRows)| Document {
        name: (&*asked.document).into(),
        items: &asked.items,
        answer,
        rows: Some((rows, rows.range(line))),
    };
    let documents = request.lines.iter().zip(rows).map(document).collect();
    Bundle { request, subject: Some("5a".repeat(32)), documents }
}

pub fn benches(criterion: &mut Criterion) {
    let catalog = exports::catalog_of(DOCUMENTS.map(|code| (code, exports::dataset(code))));
    let rows = DOCUMENTS.map(|code| rows(&catalog, code));
    let requests = requests(&catalog);
    let bundles: Vec<Bundle<'_>> = (0..).zip(&requests).map(|(line, request)| bundle(request, line, &rows)).collect();
    let head = RunHead { as_of: "2026-11-22".into(), key_id: "bench".into(), key_epoch: 1 };
    let mut out = Vec::new();
    let mut encode = || {
        out.clear();
        bundles.iter().for_each(|bundle| json::write(&mut out, &head, bundle));
        out.len()
    };
    let mut group = criterion.benchmark_group("bundle");
    group.throughput(Throughput::Bytes(encode() as u64));
    group.bench_function("json", |bencher| bencher.iter(&mut encode));
    let schema = FileSchema::of(&catalog, &requests);
    let bundles: Vec<&Bundle<'_>> = bundles.iter().collect();
    group.throughput(Throughput::Elements(u64::from(REQUESTS)));
    group.bench_function("parquet_batch", |bencher| {
        bencher.iter(|| black_box(schema.batch(&head, &bundles).expect("bundles of the schema")));
    });
    group.finish();
}
