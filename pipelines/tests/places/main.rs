//! Exports in stores and databases, and outputs that are delivered to a store, on real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

#[path = "../folders/below.rs"]
mod below;
mod delivered;
mod door;
mod exports;
#[path = "../folders/mod.rs"]
mod folders;
mod servers;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Servers of one test at a time: they take memory, and ports beside those that they are told.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The binary, with the secrets that the places of the tests have.
fn ieum(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ieum"));
    command.args(arguments).current_dir(folder).env("LAKE_SECRET", "S");
    command
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn ends(command: &mut Command, code: i32) -> Output {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", told(&output));
    output
}
