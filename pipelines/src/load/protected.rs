//! The list of protected persons: one identifier a line, `kind:value`, in a file that only its owner can read.

use std::path::Path;

use ieum_core::protected::Protected;
use ieum_model::error::{Error, ErrorKind, Result};
use ieum_model::request::is_kind;
use ieum_privacy::normalize::Grade;

use super::grade;
use super::keys::Secret;

/// Reads the list; blank lines and lines that begin with `#` say nothing.
///
/// # Errors
/// [`ErrorKind::Key`] if the file is missing or open to group or others, [`ErrorKind::Config`] if a line is no identifier:
/// one that is passed over would deliver what must not be delivered.
///
/// # Privacy
/// The text of the file is wiped; the error tells a line by its number.
pub fn read(path: &Path) -> Result<Protected> {
    let file = Secret::open(path, "write the list of protected persons, an empty one too, or take `protected` out")?;
    file.is_private()?;
    let mut list = Protected::default();
    for (line, text) in (1..).zip(file.text.lines().map(str::trim)) {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let named = text.split_once(':').map(|(kind, value)| (kind.trim(), value.trim()));
        let sound = named.filter(|(kind, value)| is_kind(kind) && grade(kind, value) != Grade::Error);
        if !sound.is_some_and(|(kind, value)| list.add(kind, value)) {
            return Err(Error::new(ErrorKind::Config, "a line of the list of protected persons is no identifier")
                .at("file", path.display())
                .at("line", line)
                .hint(
                    "write `kind:value`, such as `rrno:` and a number; a line that is passed over would protect nobody",
                ));
        }
    }
    Ok(list)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_list_is_private_and_every_line_of_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("protected.txt");
        let write = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read(&path)
        };
        let list = write("# by order of the court\n\n rrno : 991231-3000002 \nci:abc\n", 0o600);
        assert!(list.is_err(), "the second identifier is no CI");
        let list = write("# by order of the court\n\n rrno : 991231-3000002 \npatient:P1\n", 0o600).unwrap();
        assert!(list.has("rrno", "9912313000002") && list.has("patient", "P1"));
        for wrong in ["9912313000002", "rrno:99123130", "rrno:", ":1", "RRNO 9912313000002"] {
            let error = write(&format!("patient:P1\n{wrong}\n"), 0o600).unwrap_err();
            assert_eq!((error.kind, error.context[1].1.as_str()), (ErrorKind::Config, "2"), "{wrong}");
            assert!(!format!("{error:?} {}", error.told()).contains("991231"), "{wrong}");
        }
        let open = write("rrno:9912313000002\n", 0o640).unwrap_err();
        assert!(open.kind == ErrorKind::Key && open.told().contains("chmod 600") && !open.told().contains("991231"));
        fs::remove_file(&path).unwrap();
        assert_eq!(read(&path).unwrap_err().kind, ErrorKind::Key);
    }
}
