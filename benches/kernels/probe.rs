//! Key probe of every format through its connector, each beside its floor: reading the file's bytes, or decoding the key
//! column only for Parquet.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::Schema;
use criterion::{Criterion, Throughput};
use ieum_connectors::Found;
use ieum_core::scan::WantedKeys;
use ieum_model::connector::{Connector, KeyProbe, ReadCounts, Reject, RejectSink, ScanSpec};
use ieum_model::dataset::Dataset;
use ieum_model::error::{Error, Result};
use ieum_privacy::normalize::IdentifierKind;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::exports::{self, ROWS, Random, Table};

const BATCH_ROWS: usize = 8192;
/// Where the exports and the wanted keys are left for others to read; without it they go with the bench.
const KEPT: &str = "IEUM_BENCH_EXPORTS";

struct NoRejects;

impl RejectSink for NoRejects {
    fn reject(&self, reject: Reject) -> Result<()> {
        Err(Error::internal(reject.reason))
    }
}

/// What a night asks of the dataset: the key and three of its seven items, for every row with one of `wanted`.
pub fn spec(dataset: &Dataset, wanted: &[&String]) -> ScanSpec {
    let keys = wanted.iter().map(|key| Box::from(key.as_bytes()));
    let key = dataset.key.item.as_str();
    let fields: Vec<_> = [key, "year", "amount", "payer"].iter().map(|code| dataset.column_field(code)).collect();
    let kind = if key == "ci" { IdentifierKind::Ci } else { IdentifierKind::Rrno };
    ScanSpec {
        schema: Arc::new(Schema::new(fields)),
        key_column: key.to_owned(),
        probe: Some(Arc::new(WantedKeys::new(kind, keys)) as Arc<dyn KeyProbe>),
        rejects: Arc::new(NoRejects),
        batch_rows: BATCH_ROWS,
    }
}

pub fn read(connector: &dyn Connector, spec: &ScanSpec) -> ReadCounts {
    let mut reader = connector.open(0, spec).expect("the export opens");
    while let Some(batch) = reader.next_batch().expect("the export is sound") {
        black_box(batch);
    }
    reader.counts()
}

fn read_bytes(path: &Path, buffer: &mut [u8]) -> usize {
    let mut file = File::open(path).expect("the export opens");
    let mut all = 0;
    loop {
        match file.read(buffer).expect("the export can be read") {
            0 => return all,
            some => all += some,
        }
    }
}

fn decode_keys(path: &Path, key: &str) -> usize {
    let file = File::open(path).expect("the export opens");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
    let keys = ProjectionMask::columns(builder.parquet_schema(), [key]);
    let reader = builder.with_projection(keys).with_batch_size(BATCH_ROWS).build().expect("the key column");
    reader.map(|batch| black_box(batch.expect("the file is sound")).num_rows()).sum()
}

pub fn benches(criterion: &mut Criterion) {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let kept = std::env::var_os(KEPT).map(PathBuf::from);
    let folder = kept.as_deref().unwrap_or(temporary.path());
    fs::create_dir_all(folder).expect("a folder for the exports");
    let table = Table::new();
    table.write(folder);
    let catalog = exports::catalog();
    let mut random = Random(2);
    let per_mille: Vec<u64> = (0..ROWS).map(|_| random.below(1000)).collect();
    let wanted = |code: &str, share: u64| -> Vec<&String> {
        let keys = if code == "long_keys" { &table.long_keys } else { &table.keys };
        keys.iter().zip(&per_mille).filter(|(_, draw)| **draw < share * 10).map(|(key, _)| key).collect()
    };
    for (code, share) in [("csv_utf8", 1), ("long_keys", 10)] {
        let keys: String = wanted(code, share).iter().map(|key| format!("{key}\n")).collect();
        fs::write(folder.join(format!("{code}.wanted")), keys).expect("the wanted keys");
    }
    let mut buffer = vec![0; 256 << 10];
    for (code, shares) in [
        ("csv_utf8", &[1][..]),
        ("csv_cp949", &[1]),
        ("csv_utf16", &[1]),
        ("unload", &[1]),
        ("json_lines", &[1]),
        ("xml", &[1]),
        ("fixed_width", &[1]),
        ("records", &[1]),
        ("arrow", &[1]),
        ("parquet", &[1, 10]),
        ("long_keys", &[1, 10]),
    ] {
        let dataset = &catalog.datasets[code];
        let Ok(Found::Export(connector)) = ieum_connectors::connect(folder, dataset, chrono::NaiveDate::default())
        else {
            panic!("no export of {code}");
        };
        let path = folder.join(&connector.partitions()[0]);
        let mut group = criterion.benchmark_group(format!("probe/{code}"));
        group.throughput(Throughput::Bytes(fs::metadata(&path).expect("the export exists").len()));
        if path.extension().is_some_and(|extension| extension == "parquet") {
            group.bench_function("floor_key_column", |bencher| bencher.iter(|| decode_keys(&path, &dataset.key.item)));
        }
        group.bench_function("floor_bytes", |bencher| bencher.iter(|| read_bytes(&path, &mut buffer)));
        for share in shares {
            let wanted = wanted(code, *share);
            let spec = spec(dataset, &wanted);
            let counts = read(connector.as_ref(), &spec);
            assert_eq!((counts.read, counts.kept, counts.rejected), (ROWS as u64, wanted.len() as u64, 0), "{code}");
            group.bench_function(format!("hits_{share}_percent"), |bencher| {
                bencher.iter(|| read(connector.as_ref(), &spec));
            });
        }
        let all = ScanSpec { probe: None, ..spec(dataset, &[]) };
        assert_eq!(read(connector.as_ref(), &all).kept, ROWS as u64, "{code}");
        group.bench_function("every_row", |bencher| bencher.iter(|| read(connector.as_ref(), &all)));
        group.finish();
    }
}
