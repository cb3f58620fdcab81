//! A workbook of 100,000 rows and eight columns: all of it, and with the key probe at one row in a hundred.

use criterion::{Criterion, Throughput};
use ieum_connectors::Found;
use ieum_model::connector::ScanSpec;

use crate::exports::{self, Table};
use crate::probe::{read, spec};

const ROWS: usize = 100_000;

pub fn benches(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let table = Table::new();
    table.workbook(&folder.path().join("workbook.xlsx"), ROWS);
    let export = "[export]\nformat = \"xlsx\"\npath = \"workbook.xlsx\"\n";
    let catalog = exports::catalog_of([("workbook", format!("{}\n{export}", exports::dataset("workbook")))]);
    let dataset = &catalog.datasets["workbook"];
    let found = ieum_connectors::connect(folder.path(), dataset, chrono::NaiveDate::default());
    let Found::Export(connector) = found.expect("the export is found") else { panic!("no workbook") };
    let wanted: Vec<&String> = table.keys.iter().take(ROWS).step_by(100).collect();
    let probed = spec(dataset, &wanted);
    let all = ScanSpec { probe: None, ..probed.clone() };
    let mut group = criterion.benchmark_group("workbook");
    group.sample_size(10).throughput(Throughput::Elements(ROWS as u64));
    for (name, spec, kept) in [("all", &all, ROWS), ("probe 1%", &probed, wanted.len())] {
        assert_eq!(read(connector.as_ref(), spec).kept, kept as u64);
        group.bench_function(name, |bencher| bencher.iter(|| read(connector.as_ref(), spec)));
    }
    group.finish();
}
