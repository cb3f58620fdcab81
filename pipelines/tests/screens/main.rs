//! What an operator sees when something is broken: exit code, stderr, stdout, and that no committed output lies.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../folders/mod.rs"]
mod folders;

mod broken;
mod canary;
mod consents;
mod exports;
mod keys;
mod protected;
mod requests;
mod sources;
mod stopped;
mod taken_back;
mod words;
