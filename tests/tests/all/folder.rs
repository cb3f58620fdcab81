//! Bundles as folders: bags and data packages in the eyes of the Python packages that others read them with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ieum_core::manifest::{Manifest, sha256_hex};
use ieum_core::night::{self, BundleFormat, Layout};
use ieum_core::seal::{receipt_of, verify_bundle};
use ieum_core::verify::verify_signed;
use ieum_privacy::{Identity, Profile};
use ieum_tests::small_night::{self, FIRST, Making, SECOND};
use tempfile::TempDir;

/// The recipient's key file.
fn key(profile: Profile) -> String {
    Identity::generate(profile, "semas").unwrap().expose().to_string()
}

fn run(format: BundleFormat, encrypted: bool, key: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut exports = small_night::exports();
    // Cells that a table must quote, and one that is empty.
    let income = exports.get_mut("income/2026.csv").unwrap();
    income.push_str("9912313000002,2023,,\"가게, \"\"하나\"\"\"\n9912313000002,2022,5,\" 앞\"\n");
    small_night::write_exports(&folder.path().join("exports"), &exports).unwrap();
    let make = |id: &str, subject: &str, rest: (&str, &str)| {
        small_night::request(&[("request_id", id), ("subject_ids", &format!("rrno:{subject}")), rest]).unwrap()
    };
    let requests = vec![
        make("r1", FIRST, ("service", "fund")),
        make("R.2-a", SECOND, ("documents", "income(amount);vat(sales);income(year)")),
        make("r3", "980101-3000015", ("documents", "income(payer)")),
        make("r4", FIRST, ("documents", "income(payer);income(year)")),
    ];
    let recipient = Identity::from_text(key).unwrap().recipient();
    let making =
        Making { layout: Layout::Folder, format, encrypted, profile: recipient.profile(), ..Making::default() };
    let sources = small_night::catalog_sources_with_key(&recipient.text());
    let mut night = small_night::night(folder.path(), &sources, requests, &[], making).unwrap();
    night::run(&mut night, false).unwrap();
    folder
}

fn folders(night: &TempDir) -> Vec<PathBuf> {
    let folder = night.path().join("out/bundles/per_request/semas");
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// What `tests/independent/folders.py` says.
fn judge(folders: &[PathBuf]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let pythons = [root.join("target/independent/bin/python"), PathBuf::from("python3")];
    let has_both = |python: &&PathBuf| {
        let tried = Command::new(python).args(["-c", "import bagit, frictionless"]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    let python = pythons.iter().find(has_both).expect("sh tests/independent/setup.sh installs bagit and frictionless");
    let script = root.join("tests/independent/folders.py");
    Command::new(python).arg(script).args(folders).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap()
}

#[test]
fn bagit_and_frictionless_find_every_folder_valid_and_its_tables_equal_to_its_bundle() {
    for (format, bundle, tables) in
        [(BundleFormat::Json, "data/bundle.json", 5), (BundleFormat::Parquet, "data/bundle.parquet", 0)]
    {
        let night = run(format, false, &key(Profile::Default));
        let found = folders(&night);
        let told = judge(&found);
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let expected = format!("4 folders, {} resources, {tables} tables\n", 4 + 5);
        assert_eq!(String::from_utf8(told.stdout).unwrap(), expected);
        // The output as a whole is verified as any other, and the receipt is of the bundle in the folder.
        let public = small_night::signing_key(Profile::Default).unwrap().public().clone();
        let out = night.path().join("out");
        assert_eq!(verify_signed(&out, Some(&public)).unwrap().receipts, Some(4));
        let receipt = night.path().join("receipt.json");
        fs::write(&receipt, receipt_of(&out, "R.2-a").unwrap().text().unwrap()).unwrap();
        verify_bundle(&found[0].join(bundle), &receipt, &public).unwrap();
        // What was changed is found by each of them.
        let table = found[0].join("data/income.csv");
        let sound = fs::read_to_string(&table).unwrap();
        assert!(sound.starts_with("amount,year\r\n"), "{sound}");
        fs::write(&table, sound.replacen("20", "19", 1)).unwrap();
        assert!(String::from_utf8_lossy(&judge(&found).stderr).contains("BagValidationError"));
        assert!(verify_signed(&out, Some(&public)).unwrap_err().message.contains("differs from the manifest"));
    }
}

/// Files below a folder, by their path in it.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![folder.to_path_buf()]);
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => {
                    let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
                    found.insert(name, fs::read(&path).unwrap());
                }
            }
        }
    }
    found
}

/// Unpacks an archive with the system's tar.
fn unpack(archive: &[u8], into: &Path) {
    let mut command = Command::new("tar");
    let mut tar = command.args(["-xf", "-", "-C"]).arg(into).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut tar.stdin.take().unwrap(), archive).unwrap();
    assert!(tar.wait().unwrap().success());
}

#[test]
fn a_recipient_unpacks_the_folders_of_an_encrypted_night_with_stock_age_and_tar() {
    for format in [BundleFormat::Json, BundleFormat::Parquet] {
        for profile in [Profile::Default, Profile::Kr] {
            let key = key(profile);
            let identity = Identity::from_text(&key).unwrap();
            let [plain, night] = [false, true].map(|encrypted| run(format, encrypted, &key));
            let handed = tempfile::tempdir().unwrap();
            let key_file = handed.path().join("semas.key");
            fs::write(&key_file, &key).unwrap();
            let unpacked = handed.path().join("unpacked");
            fs::create_dir(&unpacked).unwrap();
            let sealed = folders(&night);
            assert_eq!(sealed.len(), 4, "one file a request, and nothing beside it");
            for file in &sealed {
                let archive = identity.open(&fs::read(file).unwrap()).unwrap();
                if profile == Profile::Default {
                    let stock = Command::new("age").arg("-d").arg("-i").arg(&key_file).arg(file).output().unwrap();
                    assert!(stock.stdout == archive, "{}", String::from_utf8_lossy(&stock.stderr));
                }
                unpack(&archive, &unpacked);
            }
            // What an unencrypted night writes, to the byte; a judge of folders finds it sound.
            assert!(tree(&unpacked) == tree(&plain.path().join("out/bundles/per_request/semas")));
            let mut bags: Vec<PathBuf> = fs::read_dir(&unpacked).unwrap().map(|entry| entry.unwrap().path()).collect();
            bags.sort();
            let told = judge(&bags);
            assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
            // The output verifies without the recipient's key, and the bundle in the archive with its receipt.
            let public = small_night::signing_key(profile).unwrap().public().clone();
            let out = night.path().join("out");
            assert_eq!(verify_signed(&out, Some(&public)).unwrap().receipts, Some(4));
            let receipt = handed.path().join("receipt.json");
            fs::write(&receipt, receipt_of(&out, "R.2-a").unwrap().text().unwrap()).unwrap();
            let bundle = if format == BundleFormat::Json { "data/bundle.json" } else { "data/bundle.parquet" };
            assert!(bags[0].ends_with("R.2-a"));
            verify_bundle(&bags[0].join(bundle), &receipt, &public).unwrap();
            let told = verify_bundle(&bags[0], &receipt, &public).unwrap_err();
            assert!(told.told().contains("this is a folder"), "{}", told.told());
            let archive = handed.path().join("R.2-a.tar");
            fs::write(&archive, identity.open(&fs::read(&sealed[0]).unwrap()).unwrap()).unwrap();
            let told = verify_bundle(&archive, &receipt, &public).unwrap_err();
            assert!(told.told().contains("unpack it with `tar -xf`"), "{}", told.told());
            // Nothing of a folder is told beside its envelope: no table, no sum, no size.
            let names = tree(&out).into_keys().filter(|path| path.starts_with("bundles/"));
            assert!(names.into_iter().all(|path| path.contains(".tar.")));
        }
    }
}

#[test]
fn an_encrypted_folder_that_was_changed_is_found_also_where_the_manifest_was_made_to_fit() {
    let night = run(BundleFormat::Json, true, &key(Profile::Default));
    let public = small_night::signing_key(Profile::Default).unwrap().public().clone();
    let out = night.path().join("out");
    let written = fs::read(out.join("manifest.json")).unwrap();
    let refused = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest: Manifest = serde_json::from_slice(&written).unwrap();
        change(&mut manifest);
        for file in &mut manifest.files {
            let bytes = fs::read(out.join(&file.path)).unwrap();
            (file.bytes, file.sha256) = (bytes.len() as u64, sha256_hex(&bytes));
        }
        manifest.run_digest = manifest.digest().unwrap();
        fs::write(out.join("manifest.json"), manifest.encode().unwrap()).unwrap();
        let told = verify_signed(&out, Some(&public)).map(drop).map_err(|error| error.message);
        fs::write(out.join("manifest.json"), &written).unwrap();
        told
    };
    assert_eq!(refused(&|_| ()), Ok(()));
    let check = |told: &str, change: &dyn Fn(&mut Manifest)| {
        let found = refused(change).unwrap_err();
        assert!(found.contains(told), "{found}, expected {told}");
    };
    fn first(manifest: &mut Manifest) -> &mut ieum_core::manifest::PlainText {
        manifest.files.iter_mut().find_map(|file| file.plain.as_mut()).unwrap()
    }
    check("the manifest states a bundle in a file", &|manifest| first(manifest).bundle = None);
    check("the archive is shorter than the bundle", &|manifest| {
        let plain = first(manifest);
        plain.bundle.as_mut().unwrap().bytes = plain.bytes;
    });
    check("the bundle is not the one that the receipt is for", &|manifest| {
        first(manifest).bundle.as_mut().unwrap().sha256 = "0".repeat(64);
    });
    check("the length of the encrypted file", &|manifest| first(manifest).bytes += 512);
    // One byte anywhere of one of the files.
    let file = &folders(&night)[2];
    let whole = fs::read(file).unwrap();
    for at in [0, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(file, bytes).unwrap();
        let told = verify_signed(&out, Some(&public)).unwrap_err();
        assert!(told.told().contains("differs from the manifest") && told.told().contains(".tar.age"));
    }
}
