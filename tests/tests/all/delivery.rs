//! An output goes to a store that fails, by thousands of schedules: it is there as a whole or it is not, and it has the same
//! bytes. Every schedule follows from its number; nothing waits.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use ieum_core::deliver::{Delivery, StoreState, collect, doctor, fetch, status};
use ieum_core::manifest::{MANIFEST, Manifest, OutputFile, sha256_hex};
use ieum_model::error::{ErrorKind, Result};
use ieum_tests::faulty_store::{Faults, FaultyStore};
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt};

const NAME: &str = "2026-11-22";
/// Longer than one part.
const LONG: usize = (8 << 20) + 100;

/// An output in a folder, and its manifest.
fn output(folder: &Path, run_id: &str, files: &[(&str, Vec<u8>)]) -> Manifest {
    let mut listed = Vec::new();
    for (path, bytes) in files {
        let file = folder.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, bytes).unwrap();
        listed.push(OutputFile {
            path: (*path).to_owned(),
            bytes: bytes.len() as u64,
            sha256: sha256_hex(bytes),
            plain: None,
        });
    }
    let mut manifest = Manifest {
        manifest: "ieum-manifest/1".into(),
        run_id: run_id.into(),
        as_of: NAME.into(),
        catalog_digest: "c".into(),
        requests_digest: "r".into(),
        key_id: "k".into(),
        key_epoch: 1,
        requests: Default::default(),
        outcomes: BTreeMap::new(),
        carried_on: 0,
        taken_back: Default::default(),
        sources: BTreeMap::new(),
        plans: BTreeMap::new(),
        seal: None,
        files: listed,
        run_digest: String::new(),
    };
    manifest.run_digest = manifest.digest().unwrap();
    manifest
}

fn small(tag: &str) -> Vec<(&'static str, Vec<u8>)> {
    let file = |name, lines: usize| (name, format!("{tag} {name}\n").repeat(lines).into_bytes());
    vec![
        file("bundles/per_request/a/1.json", 3),
        file("bundles/per_request/a/2.json", 50),
        file("bundles/per_request/b/3.json", 7),
        ("empty", Vec::new()),
        file("outcomes.parquet", 20),
    ]
}

fn delivery(store: &FaultyStore, owner: &str) -> Delivery {
    Delivery {
        store: Arc::new(store.clone()),
        prefix: StorePath::from("night/out"),
        told: "s3://bucket/night/out".into(),
        owner: owner.into(),
        lapses_after: Duration::from_secs(120),
        pause: Duration::ZERO,
    }
}

/// One attempt of a process.
fn attempt(delivery: &Delivery, folder: &Path, manifest: &Manifest, owner_file: Option<&Path>) -> Result<()> {
    let handover = delivery.begin(NAME, &manifest.run_id, owner_file)?;
    let done = handover.upload(folder, manifest).and_then(|()| handover.publish(manifest));
    match done {
        Ok(()) => handover.end(),
        Err(_) => handover.give_back(),
    }
    done
}

/// Everything below the place, by its name there.
fn objects(store: &FaultyStore) -> BTreeMap<String, Vec<u8>> {
    let store = store.seen(Faults::default(), 0);
    futures::executor::block_on(async {
        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        let mut objects = BTreeMap::new();
        for meta in listed {
            let bytes = store.get(&meta.location).await.unwrap().bytes().await.unwrap();
            objects.insert(meta.location.to_string(), bytes.to_vec());
        }
        objects
    })
}

/// The store holds the output and nothing else.
#[track_caller]
fn is_whole(store: &FaultyStore, folder: &Path, manifest: &Manifest, schedule: u64) {
    let mut expected = BTreeMap::new();
    for file in &manifest.files {
        expected.insert(format!("night/out/{NAME}/{}", file.path), fs::read(folder.join(&file.path)).unwrap());
    }
    expected.insert(format!("night/out/{NAME}/{MANIFEST}"), manifest.encode().unwrap());
    let found = objects(store);
    assert!(found.keys().eq(expected.keys()), "schedule {schedule}: {:?}", found.keys());
    assert!(found == expected, "schedule {schedule}: other bytes");
}

#[track_caller]
fn is_not_committed_or_whole(store: &FaultyStore, manifest: &Manifest, schedule: u64) {
    let found = objects(store);
    if found.get(&format!("night/out/{NAME}/{MANIFEST}")) != Some(&manifest.encode().unwrap()) {
        return;
    }
    for file in &manifest.files {
        let bytes = found.get(&format!("night/out/{NAME}/{}", file.path));
        assert_eq!(bytes.map(|bytes| sha256_hex(bytes)).as_ref(), Some(&file.sha256), "schedule {schedule}");
    }
}

/// How often each fault strikes in a schedule.
fn faults(schedule: u64) -> Faults {
    let part = |shift: u64, most: u64| (schedule.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) % most;
    Faults {
        refused: part(8, 200),
        landed: part(20, 200),
        torn: part(32, 150),
        lagging: part(44, 500),
        ignores_conditions: false,
        dies_after: None,
    }
}

#[test]
fn a_delivery_is_whole_or_absent_whatever_the_store_does() {
    const SCHEDULES: u64 = 3000;
    let folder = tempfile::tempdir().unwrap();
    let manifest = output(&folder.path().join("o"), "run-1", &small("x"));
    let out = folder.path().join("o");
    let (mut struck, mut attempts) = (0, 0);
    for schedule in 0..SCHEDULES {
        let store = FaultyStore::default();
        let owner = folder.path().join(format!("owner-{schedule}"));
        for number in 0.. {
            attempts += 1;
            let seed = schedule * 1000 + number;
            // The process may be cut off at any of its requests; later ones are cut off later, the last not at all.
            let dies_after = (schedule % 3 > 0 && number < 6).then_some(seed.wrapping_mul(7) % 40 + number * 8);
            let view = store.seen(Faults { dies_after, ..faults(schedule) }, seed);
            let done = attempt(&delivery(&view, &format!("p{number}")), &out, &manifest, Some(&owner));
            struck += view.counts().1;
            is_not_committed_or_whole(&store, &manifest, schedule);
            match done {
                Ok(()) => break,
                Err(error) => assert_eq!(error.kind, ErrorKind::Temporary, "schedule {schedule}: {error}"),
            }
            assert!(number < 60, "schedule {schedule} does not end");
        }
        // What a process that was cut off could not remove, the next look at the store does.
        store.passes(121);
        collect(&delivery(&store.seen(Faults::default(), 0), "gc")).unwrap();
        is_whole(&store, &out, &manifest, schedule);
        fs::remove_file(owner).unwrap();
    }
    assert!(struck > 10 * SCHEDULES && attempts > 2 * SCHEDULES, "{struck} faults in {attempts} attempts");
}

#[test]
fn of_two_processes_that_deliver_at_once_one_commits() {
    const SCHEDULES: u64 = 1500;
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("1"), folder.path().join("2"));
    let (first, second) = (output(&one, "run-1", &small("x")), output(&two, "run-2", &small("y")));
    let (mut locked, mut taken) = (0, 0);
    for schedule in 0..SCHEDULES {
        let store = FaultyStore::default();
        // The first is cut off somewhere; the second comes at once, then when the lock has lapsed.
        let dies_after = Some(schedule % 45);
        let view = store.seen(Faults { dies_after, ..faults(schedule) }, schedule);
        let begun = delivery(&view, "first").begin(NAME, "run-1", None);
        let ended = begun.and_then(|handover| {
            handover.upload(&one, &first)?;
            let other = delivery(&store.seen(faults(schedule), schedule + 1), "second");
            match attempt(&other, &two, &second, None) {
                Err(error) if error.kind == ErrorKind::Locked => locked += 1,
                done => {
                    let done = done.map_err(|error| error.kind);
                    assert_eq!(done, Err(ErrorKind::Temporary), "schedule {schedule}: nobody else has the lock");
                }
            }
            handover.publish(&first)
        });
        store.passes(121);
        let mut last = Ok(());
        for number in 0..60 {
            let view = store.seen(faults(schedule), schedule * 100 + number);
            last = attempt(&delivery(&view, "third"), &two, &second, None);
            if !last.as_ref().is_err_and(|error| error.kind == ErrorKind::Temporary) {
                break;
            }
        }
        store.passes(121);
        let committed = objects(&store).get(&format!("night/out/{NAME}/{MANIFEST}")).cloned().unwrap();
        collect(&delivery(&store.seen(Faults::default(), 0), "gc")).unwrap();
        if committed == first.encode().unwrap() {
            taken += 1;
            assert_eq!(last.unwrap_err().kind, ErrorKind::Config, "schedule {schedule}");
            is_whole(&store, &one, &first, schedule);
        } else {
            assert!(ended.is_err() && last.is_ok(), "schedule {schedule}: {ended:?}, {last:?}");
            is_whole(&store, &two, &second, schedule);
        }
    }
    assert!(locked > 100 && taken > 100 && taken < SCHEDULES - 100, "{locked} locked, {taken} taken");
}

#[test]
fn a_long_file_goes_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..LONG).map(|at| (at % 251) as u8).collect();
    let manifest = output(folder.path(), "run-1", &[("long", bytes), ("short", b"s".to_vec())]);
    for schedule in 0..12 {
        let store = FaultyStore::default();
        let done = (0..60).any(|number| {
            let view = store.seen(faults(schedule), schedule * 100 + number);
            attempt(&delivery(&view, "one"), folder.path(), &manifest, None).is_ok()
        });
        assert!(done, "schedule {schedule}");
        store.passes(121);
        collect(&delivery(&store.seen(Faults::default(), 0), "gc")).unwrap();
        is_whole(&store, folder.path(), &manifest, schedule);
    }
}

#[test]
fn a_store_that_ignores_conditions_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = output(folder.path(), "run-1", &small("x"));
    let store = FaultyStore::default().seen(Faults { ignores_conditions: true, ..Faults::default() }, 0);
    let error = attempt(&delivery(&store, "one"), folder.path(), &manifest, None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config, "{error}");
    assert!(error.message.starts_with("the store ignores conditions"), "{error}");
    assert!(objects(&store).is_empty(), "{:?}", objects(&store).keys());
}

#[test]
fn a_store_is_tried_out() {
    let wrong = |faults| {
        let store = FaultyStore::default().seen(faults, 0);
        let (findings, _) = doctor(&delivery(&store, "one")).unwrap();
        assert!(objects(&store).is_empty() && findings.len() == 8, "{findings:?}");
        findings.into_iter().filter(|finding| finding.wrong.is_some()).map(|finding| finding.what).collect::<Vec<_>>()
    };
    assert!(wrong(Faults::default()).is_empty());
    let ignored = wrong(Faults { ignores_conditions: true, ..Faults::default() });
    let expected =
        ["an object that stands is not created again", "of clients that create one", "an object is not replaced"];
    assert!(expected.iter().all(|what| ignored.iter().any(|found| found.starts_with(what))), "{ignored:?}");
    let dead = FaultyStore::default().seen(Faults { dies_after: Some(0), ..Faults::default() }, 0);
    assert_eq!(doctor(&delivery(&dead, "one")).unwrap_err().kind, ErrorKind::Temporary);
}

#[test]
fn what_stands_in_a_store_is_told_fetched_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (out, copy) = (folder.path().join("o"), folder.path().join("copy"));
    let manifest = output(&out, "run-1", &small("x"));
    let store = FaultyStore::default();
    let place = delivery(&store, "one");
    let state = || status(&place, chrono::DateTime::UNIX_EPOCH).unwrap();
    assert_eq!(state(), []);
    let handover = place.begin(NAME, "run-1", None).unwrap();
    handover.upload(&out, &manifest).unwrap();
    let runs = state();
    assert!(matches!(runs[0].state, StoreState::Arriving { files: 5, .. }) && runs[0].held, "{runs:?}");
    assert_eq!(
        fetch(&Delivery { prefix: place.prefix.clone().join(NAME), ..place.clone() }, &copy).unwrap_err().kind,
        ErrorKind::Integrity
    );
    // A lock that is held keeps everything; one that was given back nothing.
    let other = delivery(&store, "gc");
    assert_eq!((collect(&other).unwrap(), objects(&store).len()), (vec![], 6));
    assert_eq!(other.begin(NAME, "run-2", None).err().unwrap().kind, ErrorKind::Locked);
    handover.give_back();
    assert_eq!(collect(&other).unwrap().len(), 1);
    assert!(objects(&store).is_empty());

    attempt(&place, &out, &manifest, None).unwrap();
    let runs = state();
    assert!(matches!(&runs[0].state, StoreState::Committed { run_id, .. } if run_id == "run-1") && !runs[0].held);
    fetch(&Delivery { prefix: place.prefix.clone().join(NAME), ..place.clone() }, &copy).unwrap();
    for file in &manifest.files {
        assert_eq!(fs::read(copy.join(&file.path)).unwrap(), fs::read(out.join(&file.path)).unwrap());
    }
    assert_eq!(collect(&other).unwrap(), []);
    is_whole(&store, &out, &manifest, 0);
    place.settle(NAME, &out, &manifest).unwrap();
    let another = output(&folder.path().join("p"), "run-1", &small("z"));
    let error = attempt(&place, &folder.path().join("p"), &another, None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config, "{error}");
    is_whole(&store, &out, &manifest, 0);
}
