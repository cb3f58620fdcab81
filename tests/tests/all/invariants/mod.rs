//! The invariants of `engine/README.md`, by name.

mod accounting;
mod output;
mod people;
mod ran;
mod reading;
mod silence;
