//! rekey: the names that a recipient knows people by, from an older epoch of the key to the newest one.
//!
//! It is made inside the trusted zone, from the requests of a night: the identifiers name both sides, and no pseudonym can
//! be turned back. Registers of changed numbers are read as in a night, so that both numbers of a person lead to the
//! present name.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ieum_model::error::{Error, ErrorKind, Result};
use ieum_privacy::{KeyDomain, MasterKey, encode};

use crate::course;
use crate::input::Night;
use crate::journal::Progress;
use crate::rejects::Rejects;
use crate::spill::Spill;
use crate::stage::Stage;
use crate::waves;

/// A name of the older epoch, and that of the newest one.
pub type Renamed = (String, String);

/// The names of the subjects of a recipient's requests, by `old` and by the night's own key: sorted, each pair once. A
/// refused request names nobody: nothing is delivered for it under any name.
///
/// `aside` is a path at which rows that do not fit into memory may wait; the files are gone in the end.
///
/// # Errors
/// [`ErrorKind::Temporary`] where a register of changed numbers is missing, because a name may then be another in the next
/// night; whatever stops a night.
///
/// # Privacy
/// Sees the identifiers of the requests; gives out pseudonyms only. Whoever has the pairs can link two epochs: they are for
/// this recipient alone.
pub fn rekey(night: &Night, old: &MasterKey, recipient: &str, aside: &Path) -> Result<Vec<Renamed>> {
    let courses = read(night, aside)?;
    if !courses.registers_missing(night).is_empty() {
        return Err(Error::new(
            ErrorKind::Temporary,
            "a register of changed numbers is missing: a name may be another soon",
        )
        .hint("run again when its holder has delivered"));
    }
    let domain = KeyDomain::recipient(recipient);
    let (old, new) = (old.derive(&domain), night.master.derive(&domain));
    let name = |key: &ieum_privacy::DomainKey, (space, value): (&str, &str)| {
        encode(&key.pseudonym(space, value.as_bytes())).iter().copied().map(char::from).collect::<String>()
    };
    let mut renamed = BTreeSet::new();
    for request in &night.checked.requests {
        if &*request.recipient != recipient || request.refusal.is_some() {
            continue;
        }
        let Some(present) = courses.subject(request.ordinal) else { continue };
        let former = courses.keys.subject(request.ordinal).filter(|(space, _)| *space == present.0);
        for known in former.into_iter().chain([present]) {
            renamed.insert((name(&old, known), name(&new, present)));
        }
    }
    Ok(renamed.into_iter().collect())
}

/// The night's courses when everything is read.
fn read(night: &Night, aside: &Path) -> Result<course::Courses> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(night.settings.threads)
        .build()
        .map_err(|error| Error::new(ErrorKind::Temporary, format!("threads cannot be started: {error}")))?;
    let mut courses = course::courses(night);
    let held = usize::try_from(night.settings.memory_bytes / crate::night::STAGE_SHARE).unwrap_or(usize::MAX);
    let folder = Aside::make(aside)?;
    let stage = Stage::new(Spill::new(folder.0.join("rows")), held);
    let rejects = Arc::new(Rejects::new(Spill::new(folder.0.join("rejects")), held));
    waves::gather(night, &mut courses, &stage, &rejects, &Progress::untold(folder.0), &runtime)?;
    Ok(courses)
}

/// A folder of its owner's that goes away again.
struct Aside<'a>(&'a Path);

impl<'a> Aside<'a> {
    fn make(path: &'a Path) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new().mode(0o700).create(path);
        made.map_err(|error| crate::from_io(&error, path))?;
        Ok(Self(path))
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0);
    }
}
