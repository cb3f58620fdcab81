//! Empty: the benches are `main.rs`, run with `cargo bench --workspace --bench kernels`.
