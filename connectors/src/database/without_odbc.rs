//! What stands for `odbc` in a program without that feature: [`super::open`] refuses its URLs before anything is asked here.

use ieum_model::error::{Error, Result};

use super::{CsvOut, Server};

fn left_out<T>() -> Result<T> {
    Err(Error::internal("built without the feature `odbc`"))
}

pub(super) fn version(_: &Server) -> Result<String> {
    left_out()
}

pub(super) fn mark(_: &Server) -> Result<char> {
    left_out()
}

pub(super) fn is_there(_: &Server, _: &str) -> Result<bool> {
    left_out()
}

pub(super) fn columns(_: &Server, _: &str) -> Result<Vec<String>> {
    left_out()
}

pub(super) fn rows(_: &Server, _: &str, _: &[String], _: &mut CsvOut) -> Result<()> {
    left_out()
}
