//! A damaged file is an error of its export, however the Parquet reader takes it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ieum_model::error::{Error, ErrorKind, Result};

/// What `read` reads of the file called `name`. The reader trusts the offsets and lengths that stand in a file, and panics
/// over some that a flipped bit makes; what it had begun is not used again.
pub(super) fn guarded<T>(name: &str, read: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Err(error)) if error.kind == ErrorKind::Internal => Err(damaged(name).at("met", error.message)),
        Ok(read) => read,
        Err(_) => Err(damaged(name)),
    }
}

fn damaged(name: &str) -> Error {
    Error::contract("the Parquet file is damaged").at("file", name).hint(
        "fetch the export again; a `.sha256` manifest (`control.manifest`) finds every damage before anything is read",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_the_file() {
        let lengths: &[usize] = &[];
        let error = guarded("a.parquet", || Ok(lengths[0])).unwrap_err();
        assert_eq!((error.kind, error.context), (ErrorKind::Contract, vec![("file", "a.parquet".to_owned())]));
        assert_eq!(guarded("a.parquet", || Ok(1)).unwrap(), 1);
    }
}
