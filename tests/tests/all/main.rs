//! One binary for all tests that cross crates: each further one costs a link of the whole engine.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod architecture;
mod encrypt;
mod folder;
mod generated;
mod invariants;
mod ledger;
mod lineage;
mod metamorphic;
mod plans;
mod protected;
mod seal;
mod tampering;
mod withdrawals;
