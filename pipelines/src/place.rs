//! Files that others read while they are written anew: written aside and renamed, so that nobody meets half of one. They
//! are not synced: what a loss of power takes is made again.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use ieum_core::steps;
use ieum_model::error::{Error, ErrorKind, Result};

/// Puts a whole file at `path`; one that stands there is replaced at once.
///
/// # Errors
/// [`ErrorKind::Temporary`] when it cannot be written; what stood there stays.
pub fn whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut aside = path.file_name().unwrap_or_default().to_os_string();
    // Collectors that read every file of a folder know their own by the ending.
    aside.push(format!(".{}.partial", std::process::id()));
    let aside = path.with_file_name(aside);
    let written = (|| {
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        steps::reached("told.aside");
        fs::rename(&aside, path)
    })();
    written.map_err(|error| {
        let _ = fs::remove_file(&aside);
        Error::new(ErrorKind::Temporary, format!("the file cannot be written: {error}")).at("path", path.display())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        whole(&path, b"one").unwrap();
        whole(&path, b"two").unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read_dir(folder.path()).unwrap().count()), (b"two".to_vec(), 1));
        fs::create_dir(folder.path().join("taken")).unwrap();
        assert_eq!(whole(&folder.path().join("taken"), b"three").unwrap_err().kind, ErrorKind::Temporary);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
