//! The folder in which an input lies as a file; with `TMPDIR` in memory no disk is touched.

use std::path::Path;

use tempfile::TempDir;

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("a folder for the input");
}

/// What `read` gives of a folder in which `bytes` lie as the file called `name`, and no other file.
pub fn with_file<T>(name: &str, bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    FOLDER.with(|folder| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("the folder can be written to");
        let read = read(folder.path());
        std::fs::remove_file(&path).expect("the input is a file");
        read
    })
}
