//! Criterion benches of the kernels; run with `cargo bench -p ieum-benches`.
