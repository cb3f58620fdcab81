//! One binary for all tests that cross crates: each further one costs a link of the whole engine.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod architecture;
mod delivery;
mod encrypt;
mod folder;
mod generated;
mod invariants;
mod ledger;
mod lineage;
mod metamorphic;
mod plans;
mod protected;
mod real_exports;
mod seal;
mod shared_texts;
mod tampering;
mod withdrawals;
