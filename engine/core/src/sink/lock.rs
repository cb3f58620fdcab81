//! One run at a time per output: a lock file beside it, held as long as the process lives.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind as IoErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use ieum_model::error::{Error, ErrorKind, Result};

use crate::from_io;

/// A look at the lock holds it for an instant: whoever wants it tries again.
const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Opens and locks a lock file; `None` where somebody holds it.
fn locked(options: &OpenOptions, path: &Path) -> std::io::Result<Option<File>> {
    loop {
        let file = options.open(path)?;
        if file.try_lock().is_err() {
            return Ok(None);
        }
        // Whoever held it may have removed it meanwhile: then it locks nothing.
        let same =
            |stands: &fs::Metadata, ours: &fs::Metadata| (stands.dev(), stands.ino()) == (ours.dev(), ours.ino());
        match fs::metadata(path) {
            Ok(stands) if same(&stands, &file.metadata()?) => return Ok(Some(file)),
            Err(error) if error.kind() != IoErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
}

/// Takes a lock, whose file is made where there is none.
///
/// # Errors
/// [`ErrorKind::Locked`] while somebody holds it.
pub(super) fn take(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    for _ in 0..ATTEMPTS {
        if let Some(lock) = locked(options, path).map_err(|error| from_io(&error, path))? {
            return Ok(lock);
        }
        std::thread::sleep(PAUSE);
    }
    Err(Error::new(ErrorKind::Locked, "another run writes to this output")
        .at("lock", path.display())
        .hint("wait for it to end"))
}

/// Takes a lock whose file stands there; `None` where there is none, or somebody holds it.
pub(super) fn take_left(path: &Path) -> Option<File> {
    locked(OpenOptions::new().write(true), path).ok().flatten()
}

/// Whether somebody holds a lock.
pub(super) fn is_held(path: &Path) -> bool {
    OpenOptions::new().read(true).open(path).is_ok_and(|file| file.try_lock_shared().is_err())
}
