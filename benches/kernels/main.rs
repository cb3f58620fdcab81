//! Criterion benches of the kernels, in one binary: each further one costs a link of the whole engine. See `README.md`.

mod bundle;
mod exports;
mod night;
mod permit;
mod probe;
mod pseudonyms;
mod workbook;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    kernels,
    probe::benches,
    workbook::benches,
    night::benches,
    permit::benches,
    bundle::benches,
    pseudonyms::benches
);
criterion_main!(kernels);
