//! A panic is our bug: it is told like any other error, by its place and without a value.

use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, PoisonError};

use ieum_model::error::{Error, Result};

/// What `work` does; a panic in it, on this thread or one that it waits for, is an internal error that names its place. A
/// panic that is caught on its way (a damaged file) is not told.
///
/// # Errors
/// Those of `work`.
pub fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let latest: Arc<Mutex<Option<String>>> = Arc::default();
    let place = Arc::clone(&latest);
    // The default hook prints the message of a panic, which can hold a value.
    panic::set_hook(Box::new(move |about| {
        *place.lock().unwrap_or_else(PoisonError::into_inner) = place_of(about);
    }));
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    drop(panic::take_hook());
    done.unwrap_or_else(|_| {
        let place = latest.lock().unwrap_or_else(PoisonError::into_inner).take();
        let error = Error::internal("a step stopped where it never should");
        let error = place.into_iter().fold(error, |error, place| error.at("place", place));
        Err(error.hint("report this with the place and the version (`ieum --version`); nothing was committed"))
    })
}

/// The crate, file and line of a panic, without the folder that it was built in.
fn place_of(about: &PanicHookInfo<'_>) -> Option<String> {
    let location = about.location()?;
    let parts: Vec<Component<'_>> = Path::new(location.file()).components().collect();
    let source = parts.iter().rposition(|part| part.as_os_str() == "src").unwrap_or(0);
    let file: std::path::PathBuf = parts[source.saturating_sub(1)..].iter().collect();
    Some(format!("{}:{}", file.display(), location.line()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ieum_model::error::ErrorKind;

    use super::*;

    #[test]
    fn a_panic_is_told_by_its_place_and_not_by_its_value() {
        let work = || -> Result<()> {
            rayon::join(|| (), || panic!("9912313000002"));
            Ok(())
        };
        let error = caught(work).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Internal);
        assert!(error.context[0].1.starts_with("pipelines/src/panics.rs:"), "{error:?}");
        assert!(!format!("{error:?}").contains("9912"), "{error:?}");
        assert_eq!(caught(|| Ok(1)).unwrap(), 1);
    }
}
