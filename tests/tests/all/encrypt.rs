//! Encrypted bundles: their recipient opens them, with stock tools too; the same inputs give the same bytes; and an output is
//! verified without anybody's private key.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ieum_core::encrypt::Encryption;
use ieum_core::manifest::{Manifest, OutputFile, sha256_hex};
use ieum_core::night::{self, BundleFormat, Layout};
use ieum_core::seal::{receipt_of, verify_bundle};
use ieum_core::verify::verify_signed;
use ieum_model::error::{ErrorKind, Result};
use ieum_privacy::{Identity, MasterKey, Profile};
use ieum_tests::small_night::{self, FIRST, Making, SECOND};
use tempfile::TempDir;

const PROFILES: [Profile; 2] = [Profile::Default, Profile::Kr];
const WAYS: [(Layout, BundleFormat); 4] = [
    (Layout::PerRequest, BundleFormat::Json),
    (Layout::PerRequest, BundleFormat::Parquet),
    (Layout::Packed, BundleFormat::Json),
    (Layout::Packed, BundleFormat::Parquet),
];

/// The recipient's key file.
fn key(profile: Profile) -> String {
    Identity::generate(profile, "semas-2026").unwrap().expose().to_string()
}

/// A sealed night to the holder of a key, encrypted or not.
fn run(key: &str, making: Making) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    small_night::write_exports(&folder.path().join("exports"), &small_night::exports()).unwrap();
    let make = |id: &str, subject: &str, rest: (&str, &str)| {
        small_night::request(&[("request_id", id), ("subject_ids", &format!("rrno:{subject}")), rest]).unwrap()
    };
    let requests = vec![
        make("r1", FIRST, ("service", "fund")),
        make("r2", SECOND, ("service", "fund")),
        make("r3", SECOND, ("documents", "income(amount);vat(sales)")),
        make("r4", FIRST, ("verified", "false")),
    ];
    let public = Identity::from_text(key).unwrap().recipient().text();
    let sources = small_night::catalog_sources_with_key(&public);
    let mut night = small_night::night(folder.path(), &sources, requests, &[], making).unwrap();
    night::run(&mut night, false).unwrap();
    folder
}

fn out(folder: &TempDir) -> PathBuf {
    folder.path().join("out")
}

fn manifest(folder: &TempDir) -> Manifest {
    serde_json::from_slice(&fs::read(out(folder).join("manifest.json")).unwrap()).unwrap()
}

fn encrypted(manifest: &Manifest) -> Vec<&OutputFile> {
    manifest.files.iter().filter(|file| file.plain.is_some()).collect()
}

/// What a stock tool prints, given something to read.
#[track_caller]
fn stock(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    let spawned = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child =
        spawned.unwrap_or_else(|error| panic!("{program}: {error}; `sh tests/independent/setup.sh` installs it"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn stock_age_opens_what_was_written_and_finds_what_an_unencrypted_night_has() {
    let key = key(Profile::Default);
    let identity = Identity::from_text(&key).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &key).unwrap();
    for (layout, format) in WAYS {
        let making = Making { layout, format, ..Making::default() };
        let plain = run(&key, making);
        let night = run(&key, Making { encrypted: true, ..making });
        let manifest = manifest(&night);
        let bundles = encrypted(&manifest);
        assert_eq!(bundles.len(), if layout == Layout::Packed { 2 } else { 3 });
        for bundle in bundles {
            let sealed = fs::read(out(&night).join(&bundle.path)).unwrap();
            let expected = fs::read(out(&plain).join(bundle.path.strip_suffix(".age").unwrap())).unwrap();
            assert_eq!(
                stock("age", &["-d", "-i", file.path().to_str().unwrap()], &sealed),
                expected,
                "{}",
                bundle.path
            );
            assert_eq!(identity.open(&sealed).unwrap(), expected);
            let stated = bundle.plain.as_ref().unwrap();
            assert_eq!((stated.bytes, &stated.sha256), (expected.len() as u64, &sha256_hex(&expected)));
            assert_eq!(sha256_hex(&sealed), bundle.sha256);
        }
        // Beside the bundles nothing differs, but for what lists them.
        for file in &manifest.files {
            if file.path.starts_with("receipts/") || file.path.ends_with("index.csv") || file.path.starts_with("seal") {
                let [one, other] = [&night, &plain].map(|folder| fs::read(out(folder).join(&file.path)).unwrap());
                assert_eq!(one, other, "{}", file.path);
            }
        }
    }
}

#[test]
fn what_stock_age_encrypted_to_several_recipients_is_opened() {
    let made = String::from_utf8(stock("age-keygen", &[], b"")).unwrap();
    let (theirs, ours) = (Identity::from_text(&made).unwrap(), Identity::from_text(&key(Profile::Default)).unwrap());
    let [one, other] = [&theirs, &ours].map(|identity| identity.recipient().text());
    assert!(made.contains(&one), "{made}");
    for length in [0, 1, 65_535, 65_536, 65_537, 200_000] {
        let plain: Vec<u8> = (0..length).map(|at| (at % 253) as u8).collect();
        let sealed = stock("age", &["-r", &one, "-r", &other], &plain);
        assert_eq!(theirs.open(&sealed).unwrap(), plain);
        assert_eq!(ours.open(&sealed).unwrap(), plain);
    }
}

#[test]
fn the_same_inputs_give_the_same_encrypted_bytes_whatever_threads_and_shards() {
    for profile in PROFILES {
        let key = key(profile);
        for (layout, format) in WAYS.into_iter().chain([(Layout::Folder, BundleFormat::Json)]) {
            let making = Making { layout, format, profile, encrypted: true, ..Making::default() };
            let one = manifest(&run(&key, making));
            for (threads, shard_requests) in [(1, 1), (3, 2)] {
                assert_eq!(manifest(&run(&key, Making { threads, shard_requests, ..making })), one);
            }
            assert_ne!(manifest(&run(&self::key(profile), making)).files, one.files);
        }
    }
}

#[test]
fn an_output_verifies_without_the_private_key_and_what_was_opened_with_its_receipt() {
    for profile in PROFILES {
        let key = key(profile);
        let identity = Identity::from_text(&key).unwrap();
        let public = small_night::signing_key(profile).unwrap().public().clone();
        for (layout, format) in WAYS {
            let night = run(&key, Making { layout, format, profile, encrypted: true, ..Making::default() });
            let report = verify_signed(&out(&night), Some(&public)).unwrap();
            assert_eq!((report.receipts, report.signed), (Some(4), true));
            let handed = tempfile::tempdir().unwrap();
            let [bundle, receipt] = ["bundle", "receipt"].map(|name| handed.path().join(name));
            for file in encrypted(&manifest(&night)) {
                let sealed = fs::read(out(&night).join(&file.path)).unwrap();
                fs::write(&bundle, identity.open(&sealed).unwrap()).unwrap();
                let receipts = match layout {
                    Layout::Packed => {
                        let plain = file.path.split('.').next().unwrap();
                        fs::read(out(&night).join(plain.replace("bundles/packed", "receipts") + ".ndjson")).unwrap()
                    }
                    Layout::PerRequest | Layout::Folder => {
                        let name = Path::new(&file.path).file_name().unwrap().to_str().unwrap();
                        let request = name.split('.').next().unwrap();
                        receipt_of(&out(&night), request).unwrap().text().unwrap().into_bytes()
                    }
                };
                fs::write(&receipt, receipts).unwrap();
                verify_bundle(&bundle, &receipt, &public).unwrap();
                fs::write(&bundle, sealed).unwrap();
                let told = verify_bundle(&bundle, &receipt, &public).unwrap_err();
                assert!(told.told().contains("ieum open"), "{told}");
            }
        }
    }
}

/// What verification says after `change`, with a manifest that was made to fit what stands.
fn verified_after(night: &TempDir, profile: Profile, change: impl Fn(&Path, &mut Manifest)) -> Result<(), String> {
    let out = out(night);
    let mut manifest = manifest(night);
    let copies: Vec<(PathBuf, Vec<u8>)> = manifest
        .files
        .iter()
        .map(|file| out.join(&file.path))
        .map(|path| {
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect();
    change(&out, &mut manifest);
    for file in &mut manifest.files {
        let bytes = fs::read(out.join(&file.path)).unwrap();
        (file.bytes, file.sha256) = (bytes.len() as u64, sha256_hex(&bytes));
    }
    manifest.run_digest = manifest.digest().unwrap();
    let whole = fs::read(out.join("manifest.json")).unwrap();
    fs::write(out.join("manifest.json"), manifest.encode().unwrap()).unwrap();
    let public = small_night::signing_key(profile).unwrap().public().clone();
    let told = verify_signed(&out, Some(&public)).map(drop).map_err(|error| error.message);
    copies.into_iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    fs::write(out.join("manifest.json"), whole).unwrap();
    told
}

#[test]
fn an_encrypted_output_whose_manifest_was_made_to_fit_is_refused() {
    for (layout, format) in WAYS {
        let making = Making { layout, format, encrypted: true, ..Making::default() };
        let night = run(&key(Profile::Default), making);
        let check = |expected: &str, change: &dyn Fn(&Path, &mut Manifest)| {
            let told = verified_after(&night, Profile::Default, change).unwrap_err();
            assert!(told.contains(expected), "{told}, expected {expected}");
        };
        let first = |manifest: &mut Manifest| manifest.files.iter().position(|file| file.plain.is_some()).unwrap();
        verified_after(&night, Profile::Default, |_, _| ()).unwrap();
        check("the length of the encrypted file", &|out, manifest| {
            let at = first(manifest);
            let path = out.join(&manifest.files[at].path);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[1..]).unwrap();
        });
        check("does not tell of the plain text", &|_, manifest| {
            let at = first(manifest);
            manifest.files[at].plain = None;
        });
        check("is not encrypted", &|_, manifest| {
            let at = first(manifest);
            let plain = manifest.files[at].plain.clone();
            manifest.files.iter_mut().find(|file| file.path == "seal.json").unwrap().plain = plain;
        });
        if layout == Layout::PerRequest {
            check("the bundle is not the one that the receipt is for", &|_, manifest| {
                let at = first(manifest);
                manifest.files[at].plain.as_mut().unwrap().sha256 = "0".repeat(64);
            });
        } else {
            let index = "bundles/packed/semas/fund.index.csv";
            let edit = |out: &Path, from: &str, to: &str| {
                let text = fs::read_to_string(out.join(index)).unwrap();
                assert!(text.contains(from), "{text}");
                fs::write(out.join(index), text.replacen(from, to, 1)).unwrap();
            };
            check("have no bundle", &|out, _| edit(out, "r2,", "r7,"));
            check("the index of the bundles does not agree", &|out, _| {
                edit(out, "r1,", "r0,");
                edit(out, "r2,", "r1,");
                edit(out, "r0,", "r2,");
            });
            check("the index does not agree with its file", &|out, _| edit(out, "r1,0", "r1,1"));
        }
    }
}

#[test]
fn a_recipient_without_a_fitting_key_is_told_before_the_night_begins() {
    let folder = tempfile::tempdir().unwrap();
    small_night::write_exports(&folder.path().join("exports"), &small_night::exports()).unwrap();
    let request = || small_night::request(&[("subject_ids", &format!("rrno:{FIRST}")), ("service", "fund")]).unwrap();
    let refused = [("subject_ids", "rrno:9912313000002"), ("service", "fund"), ("verified", "false")];
    let refused = small_night::request(&refused).unwrap();
    let told = |sources: &[_], requests, profile| {
        let making = Making { encrypted: true, profile, ..Making::default() };
        small_night::night(folder.path(), sources, requests, &[], making).map(drop)
    };
    let none = small_night::catalog_sources();
    let error = told(&none, vec![request()], Profile::Default).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Key);
    assert!(error.told().contains("no public key") && error.told().contains("recipient: semas"), "{}", error.told());
    for (key_of, night) in [(Profile::Default, Profile::Kr), (Profile::Kr, Profile::Default)] {
        let public = Identity::from_text(&key(key_of)).unwrap().recipient().text();
        let with = small_night::catalog_sources_with_key(&public);
        let error = told(&with, vec![request()], night).unwrap_err();
        assert!(error.message.contains(&format!("not one of profile `{}`", night.name())), "{error}");
        told(&with, vec![request()], key_of).unwrap();
    }
    let error = told(&small_night::catalog_sources_with_key("age1nothing"), vec![request()], Profile::Default);
    assert_eq!(error.unwrap_err().kind, ErrorKind::Key);
    // Who gets no bundle needs no key.
    told(&none, vec![refused], Profile::Default).unwrap();
    assert!(!folder.path().join("out").exists());
}

#[test]
fn openssl_verifies_the_seal_of_profile_kr() {
    let night = run(&key(Profile::Kr), Making { profile: Profile::Kr, ..Making::default() });
    let public = small_night::signing_key(Profile::Kr).unwrap().public().clone();
    let file = night.path().join("agency.pub");
    fs::write(&file, public.text()).unwrap();
    let [key, signature, seal] = [file, out(&night).join("seal.json.sig"), out(&night).join("seal.json")]
        .map(|path| path.to_str().unwrap().to_owned());
    let arguments = ["dgst", "-sha256", "-verify", &key, "-signature", &signature, &seal];
    assert_eq!(stock("openssl", &arguments, b""), b"Verified OK\n");
    // And so do we; a signature of another message is refused.
    assert_eq!(verify_signed(&out(&night), Some(&public)).unwrap().receipts, Some(4));
    let told = verified_after(&night, Profile::Kr, |out, _| {
        let other = small_night::signing_key(Profile::Kr).unwrap();
        let signature = other.signature_file(&other.sign(b"another").unwrap(), "").unwrap();
        fs::write(out.join("seal.json.sig"), signature.bytes).unwrap();
    });
    assert!(told.as_ref().is_err_and(|told| told.contains("the signature of the head does not hold")), "{told:?}");
    let other = small_night::signing_key(Profile::Default).unwrap().public().clone();
    assert!(verify_signed(&out(&night), Some(&other)).unwrap_err().message.contains("another public key"));
}

#[test]
fn minisign_verifies_the_seal_and_refuses_an_edited_one() {
    let night = run(&key(Profile::Default), Making::default());
    let public = small_night::signing_key(Profile::Default).unwrap().public().clone();
    let file = night.path().join("agency.pub");
    fs::write(&file, public.text()).unwrap();
    let [key, seal, signature] = [file.clone(), out(&night).join("seal.json"), out(&night).join("seal.json.minisig")]
        .map(|path| path.to_str().unwrap().to_owned());
    let verify = || Command::new("minisign").args(["-V", "-m", &seal, "-p", &key]).output().unwrap();
    let told = String::from_utf8(stock("minisign", &["-V", "-m", &seal, "-p", &key], b"")).unwrap();
    assert!(told.contains("Signature and comment signature verified"), "{told}");
    let trusted = fs::read_to_string(&signature).unwrap();
    let trusted = trusted.lines().find_map(|line| line.strip_prefix("trusted comment: ")).unwrap().to_owned();
    assert!(told.contains(&trusted), "{told}");
    // The public key as a line, as it is printed.
    let line = public.text().lines().nth(1).unwrap().to_owned();
    stock("minisign", &["-V", "-m", &seal, "-P", &line], b"");
    let refused = |path: &str, change: &dyn Fn(String) -> String| {
        let sound = fs::read_to_string(path).unwrap();
        let changed = change(sound.clone());
        assert_ne!(changed, sound);
        fs::write(path, changed).unwrap();
        let output = verify();
        fs::write(path, sound).unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(!String::from_utf8_lossy(&output.stdout).contains("verified"));
    };
    refused(&seal, &|text| text.replacen("2026-11-22", "2026-11-23", 1));
    refused(&seal, &|text| text + " ");
    refused(&signature, &|text| text.replacen(&trusted, &format!("{trusted}."), 1));
    refused(&signature, &|text| {
        let signed = text.lines().nth(1).unwrap().to_owned();
        let at = signed.len() / 2;
        let other = if &signed[at..=at] == "A" { "B" } else { "A" };
        text.replacen(&signed, &format!("{}{other}{}", &signed[..at], &signed[at + 1..]), 1)
    });
    // Nor does it take another key's.
    let other = ieum_privacy::SigningKey::generate(Profile::Default, "other").unwrap();
    fs::write(&file, ieum_privacy::SigningKey::from_text(other.expose()).unwrap().public().text()).unwrap();
    assert_eq!(verify().status.code(), Some(1));
}

#[test]
fn secrets_of_encryption_do_not_print() {
    let master = MasterKey::from_hex_file_text(&format!("ieum-key/1 a 1 {}", "5a".repeat(32))).unwrap();
    let encryption = Encryption::of(&Default::default(), &Default::default(), &master, Profile::Default).unwrap();
    assert_eq!(
        format!("{encryption:?} {:?}", master.envelopes()),
        "Encryption { profile: Default, .. } EnvelopeKey(<redacted>)"
    );
}
