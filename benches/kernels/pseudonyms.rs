//! Pseudonyms per second: one HMAC-SHA-256 per key, 13-digit keys.

use arrow::array::StringArray;
use criterion::{Criterion, Throughput};
use ieum_privacy::{KeyDomain, MasterKey, normalize, pseudonyms};

const ROWS: u64 = 10_000;

pub fn benches(criterion: &mut Criterion) {
    let text = format!("ieum-key/1 bench 1 {}", "5a".repeat(32));
    let master = MasterKey::from_hex_file_text(&text).expect("a well-formed key");
    let domain = master.derive(&KeyDomain::recipient("bench"));
    let keys: StringArray = (0..ROWS).map(|row| Some(format!("9912313{row:06}"))).collect();
    let mut group = criterion.benchmark_group("privacy");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("pseudonyms", |bencher| bencher.iter(|| pseudonyms(&keys, "person", &domain)));
    group.bench_function("normalize_rrno", |bencher| {
        let mut out = Vec::with_capacity(16);
        bencher.iter(|| {
            for key in keys.iter().flatten() {
                std::hint::black_box(normalize::normalize(normalize::IdentifierKind::Rrno, key.as_bytes(), &mut out));
            }
        });
    });
    group.finish();
}
