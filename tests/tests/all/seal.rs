//! The seal: receipts hold offline for what was delivered, and for nothing else.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ieum_core::manifest::{Manifest, sha256_hex};
use ieum_core::night::{self, BundleFormat, Layout};
use ieum_core::seal::{BundleDigest, Form, Receipt, ReceiptFile, Statement, receipt_of, verify_bundle, verify_refusal};
use ieum_core::verify::{verify, verify_signed};
use ieum_model::error::{ErrorKind, Result};
use ieum_privacy::{Profile, PublicKey, SigningKey};
use ieum_tests::small_night::{self, FIRST, Making, SECOND};
use tempfile::TempDir;

const LAYOUTS: [(Layout, BundleFormat); 6] = [
    (Layout::PerRequest, BundleFormat::Json),
    (Layout::PerRequest, BundleFormat::Parquet),
    (Layout::Packed, BundleFormat::Json),
    (Layout::Packed, BundleFormat::Parquet),
    (Layout::Folder, BundleFormat::Json),
    (Layout::Folder, BundleFormat::Parquet),
];

fn public() -> PublicKey {
    small_night::signing_key(Profile::Default).unwrap().public().clone()
}

/// A sealed night of a few requests; `purpose` tells one night from another.
fn sealed(layout: Layout, format: BundleFormat, purpose: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    small_night::write_exports(&folder.path().join("exports"), &small_night::exports()).unwrap();
    let make = |id: &str, subject: &str, rest: [(&str, &str); 2]| {
        let subject = format!("rrno:{subject}");
        let fields = [("request_id", id), ("subject_ids", &subject), ("purpose", purpose), rest[0], rest[1]];
        small_night::request(&fields).unwrap()
    };
    let until = ("valid_until", "2027-01-31");
    let requests = vec![
        make("r1", FIRST, [("service", "fund"), until]),
        make("r2", SECOND, [("service", "fund"), until]),
        make("r3", SECOND, [("documents", "income(amount);vat(sales)"), until]),
        make("r4", FIRST, [("documents", "income(payer)"), ("verified", "false")]),
        make("r5", FIRST, [("documents", "income(year);income(amount)"), until]),
    ];
    let making = Making { layout, format, ..Making::default() };
    let sources = small_night::catalog_sources();
    let mut night = small_night::night(folder.path(), &sources, requests, &[], making).unwrap();
    night::run(&mut night, false).unwrap();
    folder
}

fn out(folder: &TempDir) -> PathBuf {
    folder.path().join("out")
}

/// The file of receipts of a service.
fn receipts(folder: &TempDir, service: &str) -> Vec<u8> {
    fs::read(out(folder).join(format!("receipts/semas/{service}.ndjson"))).unwrap()
}

/// The receipt of a request, as it is handed out.
fn receipt(folder: &TempDir, request: &str) -> Vec<u8> {
    receipt_of(&out(folder), request).unwrap().text().unwrap().into_bytes()
}

fn bundle(folder: &TempDir, request: &str) -> Vec<u8> {
    fs::read(out(folder).join(format!("bundles/per_request/semas/{request}.json"))).unwrap()
}

/// What a third party finds who has these bytes and the public key.
fn holds(receipt: &[u8], bundle: &[u8], public: &PublicKey) -> Result<()> {
    Receipt::read(receipt)?.verify(&BundleDigest::of(Form::Json, bundle), public)
}

#[test]
fn a_receipt_holds_for_its_bundle_with_the_public_key_alone() {
    for (layout, format) in LAYOUTS {
        let folder = sealed(layout, format, "심사");
        let ending = match (layout, format) {
            (_, BundleFormat::Parquet) => "parquet",
            (Layout::Packed, BundleFormat::Json) => "ndjson",
            (Layout::PerRequest | Layout::Folder, BundleFormat::Json) => "json",
        };
        let alone = tempfile::tempdir().unwrap();
        let check = |path: &str, receipts: &[u8], bundles: u64| {
            fs::copy(out(&folder).join(path), alone.path().join("bundle")).unwrap();
            fs::write(alone.path().join("receipt"), receipts).unwrap();
            let verified =
                verify_bundle(&alone.path().join("bundle"), &alone.path().join("receipt"), &public()).unwrap();
            assert_eq!((verified.bundles, &*verified.recipient), (bundles, "semas"), "{path}");
        };
        for (service, requests) in [("fund", ["r1", "r2"]), ("documents", ["r3", "r5"])] {
            let file = receipts(&folder, service);
            match layout {
                Layout::Packed => check(&format!("bundles/packed/semas/{service}.{ending}"), &file, 2),
                Layout::PerRequest | Layout::Folder => {
                    for request in requests {
                        let name = if layout == Layout::Folder { "/data/bundle" } else { "" };
                        let path = format!("bundles/per_request/semas/{request}{name}.{ending}");
                        check(&path, &receipt(&folder, request), 1);
                        check(&path, &file, 1);
                    }
                }
            }
        }
        let verified = verify_signed(&out(&folder), Some(&public())).unwrap();
        assert_eq!((verified.receipts, verified.signed), (Some(5), true));
        assert_eq!(verify(&out(&folder)).unwrap().receipts, Some(5));
    }
}

#[test]
fn a_receipt_says_what_was_given_to_whom_for_what_and_on_which_basis() {
    let folder = sealed(Layout::PerRequest, BundleFormat::Json, "심사");
    let receipt: serde_json::Value = serde_json::from_slice(&receipt(&folder, "r2")).unwrap();
    let (statement, terms) = (&receipt["statement"], &receipt["terms"]);
    assert_eq!(statement["request_id"], "r2");
    assert_eq!(terms["recipient"], "semas");
    assert_eq!(terms["service"], "fund");
    assert_eq!(terms["purpose"], "심사");
    assert_eq!(terms["legal_basis"], "전자정부법 43조의2");
    let consent =
        serde_json::json!({ "regime": "egov43-2", "requested_at": "2026-11-20", "valid_until": "2027-01-31" });
    assert_eq!(statement["consent"], consent);
    let delivered: serde_json::Value = serde_json::from_slice(&bundle(&folder, "r2")).unwrap();
    assert_eq!(statement["subject"], delivered["subject"]);
    let manifest: Manifest = serde_json::from_slice(&fs::read(out(&folder).join("manifest.json")).unwrap()).unwrap();
    let (vat, given) = (&terms["documents"][2], &statement["answers"][2]);
    assert_eq!((&vat["document"], &vat["items"]), (&"vat".into(), &serde_json::json!(["period", "sales"])));
    assert_eq!((&given["outcome"], &given["records"]), (&"provided".into(), &3.into()));
    assert_eq!(vat["plan"], *manifest.plans["vat.brno"]);
    assert_eq!(statement["bundle"]["sha256"], *sha256_hex(&bundle(&folder, "r2")));
    let head = &receipt["file"]["head"];
    assert_eq!(head["run_id"], *manifest.run_id);
    assert_eq!(
        (&head["as_of"], &head["key_id"], &head["key_epoch"]),
        (&"2026-11-22".into(), &"small-night".into(), &1.into())
    );
    assert_eq!((&head["bundles"], &head["refused"], &head["tree_size"]), (&4.into(), &1.into(), &3.into()));
    assert_eq!(head["root"], *manifest.seal.unwrap().root);
    assert_eq!(head["public_key"], *public().number());
}

#[test]
fn a_request_that_was_refused_as_a_whole_has_a_receipt_that_says_why() {
    let folder = sealed(Layout::PerRequest, BundleFormat::Json, "심사");
    let text = receipt(&folder, "r4");
    let receipt: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let statement = &receipt["statement"];
    assert_eq!(statement["refusal"], serde_json::json!({ "outcome": "refused", "reason": "R06" }));
    assert_eq!((&statement["bundle"], &statement["subject"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    assert_eq!((&receipt["terms"]["recipient"], &statement["request_id"]), (&"semas".into(), &"r4".into()));
    let alone = tempfile::tempdir().unwrap();
    let [file, all] = ["receipt", "all"].map(|name| alone.path().join(name));
    fs::write(&file, &text).unwrap();
    fs::copy(out(&folder).join("receipts/refused.ndjson"), &all).unwrap();
    for receipts in [&file, &all] {
        let verified = verify_refusal(receipts, &public()).unwrap();
        assert_eq!((verified.bundles, verified.refused, &*verified.request_id), (0, 1, "r4"));
        assert_eq!(verified.refusal, Some(("refused".to_owned(), Some("R06".to_owned()))));
    }
    let another = SigningKey::from_text(&format!("ieum-signing-key/1 small-agency {}", "01".repeat(32))).unwrap();
    assert!(verify_refusal(&file, another.public()).is_err());
    for at in 0..text.len() {
        let mut edited = text.clone();
        for byte in [text[at] ^ 1, text[at] ^ 0x20, b'0'].into_iter().filter(|byte| *byte != text[at]) {
            edited[at] = byte;
            let told = Receipt::read(&edited).and_then(|receipt| receipt.is_signed(&public())).unwrap_err();
            assert_eq!(told.kind, ErrorKind::Integrity, "{byte} at {at}");
        }
    }
    // It stands for no bundle, and a receipt of a bundle for no refusal.
    let told = holds(&text, &bundle(&folder, "r1"), &public()).unwrap_err();
    assert!(told.message.contains("it has no bundle"), "{told}");
    fs::write(&file, super::seal::receipt(&folder, "r1")).unwrap();
    assert!(verify_refusal(&file, &public()).unwrap_err().message.contains("is for a bundle"));
    let mut both = Receipt::read(&text).unwrap();
    both.statement.bundle = Some(Cow::Owned(BundleDigest::of(Form::Json, b"")));
    assert!(both.is_signed(&public()).unwrap_err().message.contains("neither a bundle nor a refusal, or both"));
}

#[test]
fn refusals_that_name_no_recipient_of_the_catalog_are_stated_too() {
    let folder = tempfile::tempdir().unwrap();
    small_night::write_exports(&folder.path().join("exports"), &small_night::exports()).unwrap();
    let make = |id: &str, field: (&str, &str)| {
        let subject = format!("rrno:{FIRST}");
        small_night::request(&[("request_id", id), ("subject_ids", &subject), field]).unwrap()
    };
    let requests = vec![
        make("r1", ("service", "../../fund")),
        make("r2", ("recipient", "../x")),
        make("r3", ("service", "fund")),
        make("r3", ("documents", "income")),
    ];
    let night = small_night::night(folder.path(), &small_night::catalog_sources(), requests, &[], Making::default());
    night::run(&mut night.unwrap(), false).unwrap();
    assert_eq!(verify_signed(&out(&folder), Some(&public())).unwrap().receipts, Some(4));
    let reason = |request: &str| {
        let receipt = receipt_of(&out(&folder), request).unwrap();
        receipt.is_signed(&public()).unwrap();
        receipt.statement.refusal.and_then(|given| given.reason.map(|reason| reason.into_owned()))
    };
    assert_eq!(reason("r1").as_deref(), Some("R05"));
    assert!(reason("r2").is_some());
    // Of two requests of one id, the one that was delivered is meant.
    assert_eq!(reason("r3"), None);
    let refused = fs::read_to_string(out(&folder).join("receipts/refused.ndjson")).unwrap();
    assert_eq!(refused.matches("\"refusal\":").count(), 3);
}

#[test]
fn nothing_of_a_person_but_the_pseudonym_stands_in_a_seal() {
    let folder = sealed(Layout::Packed, BundleFormat::Json, "심사");
    let mut all = receipts(&folder, "fund");
    all.extend(receipts(&folder, "documents"));
    all.extend(receipt(&folder, "r2"));
    all.extend(fs::read(out(&folder).join("seal.json")).unwrap());
    let text = String::from_utf8(all).unwrap();
    for value in [FIRST, SECOND, "9912313000002", "9902284123452", "9999900005", "31000000", "이음, 상사", "가게"]
    {
        assert!(!text.contains(value), "{value}");
    }
    let secret = "7e".repeat(32);
    assert!(!text.contains(&secret) && !text.contains(&"5a".repeat(32)));
}

#[test]
fn minisign_checks_the_seal_without_our_software() {
    let folder = sealed(Layout::PerRequest, BundleFormat::Json, "심사");
    let signature = fs::read_to_string(out(&folder).join("seal.json.minisig")).unwrap();
    let signature = minisign_verify::Signature::decode(&signature).unwrap();
    let key = minisign_verify::PublicKey::decode(&public().text()).unwrap();
    key.verify(&fs::read(out(&folder).join("seal.json")).unwrap(), &signature, true).unwrap();
    assert!(signature.trusted_comment().contains("4 bundles"), "{}", signature.trusted_comment());
}

#[test]
fn every_edit_of_one_byte_of_a_receipt_is_refused() {
    let folder = sealed(Layout::PerRequest, BundleFormat::Json, "심사");
    let (receipt, bundle, public) = (receipt(&folder, "r2"), bundle(&folder, "r2"), public());
    holds(&receipt, &bundle, &public).unwrap();
    for at in 0..receipt.len() {
        let mut edited = receipt.clone();
        for byte in
            [receipt[at] ^ 1, receipt[at] ^ 0x20, b'0', b' ', b'"'].into_iter().filter(|byte| *byte != receipt[at])
        {
            edited[at] = byte;
            assert_eq!(holds(&edited, &bundle, &public).unwrap_err().kind, ErrorKind::Integrity, "{byte} at {at}");
        }
        let without = [&receipt[..at], &receipt[at + 1..]].concat();
        assert!(holds(&without, &bundle, &public).is_err(), "without {at}");
    }
    for at in 0..bundle.len() {
        let mut edited = bundle.clone();
        edited[at] ^= 1;
        assert!(holds(&receipt, &edited, &public).is_err(), "bundle at {at}");
    }
}

#[test]
fn every_edit_of_one_byte_of_a_file_of_receipts_is_refused() {
    let folder = sealed(Layout::Packed, BundleFormat::Json, "심사");
    let (sound, public) = (receipts(&folder, "fund"), public());
    let read = |bytes: &[u8]| ReceiptFile::read(bytes)?.is_signed(&public);
    read(&sound).unwrap();
    for at in 0..sound.len() {
        let mut edited = sound.clone();
        for byte in [sound[at] ^ 1, sound[at] ^ 0x20, b'0'].into_iter().filter(|byte| *byte != sound[at]) {
            edited[at] = byte;
            assert_eq!(read(&edited).unwrap_err().kind, ErrorKind::Integrity, "{byte} at {at}");
        }
        assert!(read(&[&sound[..at], &sound[at + 1..]].concat()).is_err(), "without {at}");
    }
    // Whole lines: left out, turned round, twice, in the place of another.
    let lines: Vec<&[u8]> = sound.split_inclusive(|byte| *byte == b'\n').collect();
    for at in 0..lines.len() {
        for other in 0..lines.len() {
            let mut moved = lines.clone();
            moved.swap(at, other);
            assert!(at == other || read(&moved.concat()).is_err(), "{at} for {other}");
            let mut twice = lines.clone();
            twice[at] = lines[other];
            assert!(at == other || read(&twice.concat()).is_err(), "{other} in the place of {at}");
        }
        assert!(read(&[&lines[..at], &lines[at + 1..]].concat().concat()).is_err(), "without line {at}");
        assert!(read(&[&lines[..at], &lines[at..=at], &lines[at..]].concat().concat()).is_err(), "line {at} twice");
    }
}

/// Numbers that look random and are the same every time (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

/// One to four changes: bytes replaced, put in, taken out, moved, a digit or letter exchanged for another.
fn mutated(receipt: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut text = receipt.to_vec();
    for _ in 0..=numbers.below(4) {
        let (at, to) = (numbers.below(text.len()), numbers.below(text.len()));
        let (from, end) = (at.min(to), at.max(to));
        match numbers.below(7) {
            0 => text[at] = u8::try_from(numbers.below(256)).unwrap(),
            1 => text.insert(at, text[to]),
            2 => drop(text.drain(from..end.min(from + 40))),
            3 => text.swap(at, to),
            4 => text[from..end].reverse(),
            // A piece of another receipt of the same run in its place.
            5 => {
                let end = end.min(other.len());
                let piece = other.get(from..end).unwrap_or_default().to_vec();
                text.splice(from.min(end)..end, piece);
            }
            _ => {
                let digits: Vec<usize> = (0..text.len()).filter(|at| text[*at].is_ascii_hexdigit()).collect();
                let digit = digits[numbers.below(digits.len())];
                text[digit] = b"0123456789abcdef"[numbers.below(16)];
            }
        }
        if text.len() < 2 {
            return text;
        }
    }
    text
}

#[test]
fn ten_thousand_mutated_receipts_are_refused() {
    let folder = sealed(Layout::PerRequest, BundleFormat::Json, "심사");
    let (sound, other) = (receipt(&folder, "r2"), receipt(&folder, "r1"));
    let (bundle, public) = (bundle(&folder, "r2"), public());
    let mut numbers = Numbers(20_261_122);
    let mut tried = 0;
    while tried < 10_000 {
        let mutated = mutated(&sound, &other, &mut numbers);
        if mutated != sound {
            assert!(holds(&mutated, &bundle, &public).is_err(), "{}", String::from_utf8_lossy(&mutated));
            tried += 1;
        }
    }
}

#[test]
fn what_disagrees_is_named() {
    let folder = sealed(Layout::PerRequest, BundleFormat::Json, "심사");
    let (line, second) = (receipt(&folder, "r2"), bundle(&folder, "r2"));
    let receipt = || Receipt::read(&line).unwrap();
    let check = |change: &dyn Fn(&mut Receipt), expected: &str| {
        let mut receipt = receipt();
        change(&mut receipt);
        let told = receipt.verify(&BundleDigest::of(Form::Json, &second), &public()).unwrap_err();
        assert!(told.kind == ErrorKind::Integrity && told.message.contains(expected), "{told}");
    };
    let stated = |change: fn(&mut Statement<'static>)| move |receipt: &mut Receipt| change(&mut receipt.statement);
    let path = "the path does not lead from the statement to the root";
    let terms = "the terms are not those that the statement names";
    check(&|receipt| receipt.terms.purpose = "광고".into(), terms);
    check(&|receipt| receipt.terms.legal_basis = "없음".into(), terms);
    check(&|receipt| receipt.terms.recipient = "bank".into(), terms);
    check(&|receipt| receipt.terms.documents[0].items.to_mut().push("payer".into()), terms);
    check(&|receipt| receipt.terms.documents[0].plan = None, terms);
    check(&stated(|statement| drop(statement.answers.pop())), terms);
    check(&stated(|statement| statement.answers[0] = None), path);
    check(&stated(|statement| statement.consent.valid_until = None), path);
    check(&stated(|statement| statement.subject = None), path);
    check(&stated(|statement| statement.bundle.as_mut().unwrap().to_mut().bytes += 1), "the bundle is not the one");
    check(&stated(|statement| statement.receipt = "ieum-receipt/9".into()), "a format that this version does not know");
    check(&|receipt| receipt.leaf_index -= 1, path);
    check(&|receipt| receipt.path[0].make_ascii_uppercase(), path);
    check(&|receipt| receipt.path.clear(), path);
    check(&|receipt| receipt.file.bundles += 1, path);
    check(&|receipt| receipt.file.file_index -= 1, path);
    check(&|receipt| receipt.file.head.tree_size = 1, path);
    check(&|receipt| receipt.file.head.run_id.push('x'), "the signature of the head does not hold");
    check(&|receipt| receipt.file.head.key_epoch = 2, "the signature of the head does not hold");
    check(&|receipt| receipt.file.signature.replace_range(..2, "00"), "the signature of the head does not hold");
    // Terms and digest changed alike: the statement is another leaf then.
    check(
        &|receipt| {
            receipt.terms.purpose = "광고".into();
            receipt.statement.terms = receipt.terms.digest().unwrap().into();
        },
        path,
    );
    // The whole of it made anew, without the key.
    let another = SigningKey::from_text(&format!("ieum-signing-key/1 small-agency {}", "01".repeat(32))).unwrap();
    let told = receipt().verify(&BundleDigest::of(Form::Json, &second), another.public()).unwrap_err();
    assert!(told.message.contains("another public key"), "{told}");
    let told = receipt().verify(&BundleDigest::of(Form::Json, &bundle(&folder, "r1")), &public()).unwrap_err();
    assert!(told.message.contains("the bundle is not the one"), "{told}");
    let alone = tempfile::tempdir().unwrap();
    let [mine, other] = ["bundle", "receipt"].map(|name| alone.path().join(name));
    fs::write(&mine, &second).unwrap();
    fs::write(&other, super::seal::receipt(&folder, "r1")).unwrap();
    let told = verify_bundle(&mine, &other, &public()).unwrap_err();
    assert!(told.message.contains("for another request"), "{told}");
    fs::write(&mine, b"{}\n").unwrap();
    assert!(verify_bundle(&mine, &other, &public()).unwrap_err().message.contains("not a bundle"));
    fs::write(&other, b"{}\n").unwrap();
    assert!(verify_bundle(&mine, &other, &public()).unwrap_err().message.contains("receipt cannot be read"));
}

#[test]
fn a_bundle_of_another_run_does_not_verify() {
    let (one, other) = (
        sealed(Layout::PerRequest, BundleFormat::Json, "심사"),
        sealed(Layout::PerRequest, BundleFormat::Json, "재심사"),
    );
    for request in ["r1", "r2"] {
        let (mine, theirs) = (bundle(&one, request), bundle(&other, request));
        let (receipt, foreign) = (&receipt(&one, request), &receipt(&other, request));
        holds(receipt, &mine, &public()).unwrap();
        holds(foreign, &theirs, &public()).unwrap();
        assert!(holds(receipt, &theirs, &public()).is_err());
        assert!(holds(foreign, &mine, &public()).is_err());
        // Nor does a statement of one run under the other's signed root.
        let mut spliced = Receipt::read(receipt).unwrap();
        let foreign = Receipt::read(foreign).unwrap();
        (spliced.file.head, spliced.file.signature) = (foreign.file.head, foreign.file.signature);
        assert!(spliced.verify(&BundleDigest::of(Form::Json, &mine), &public()).is_err());
    }
}

/// What verification says of a copy of an output in which `change` was made, and whose manifest was then made to fit.
fn verified_after(out: &Path, change: impl Fn(&Path, &mut Manifest)) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest: Manifest = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    for file in &manifest.files {
        let path = folder.path().join(&file.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(out.join(&file.path), path).unwrap();
    }
    change(folder.path(), &mut manifest);
    manifest.files.retain(|file| folder.path().join(&file.path).exists());
    for file in &mut manifest.files {
        let bytes = fs::read(folder.path().join(&file.path)).unwrap();
        (file.bytes, file.sha256) = (bytes.len() as u64, sha256_hex(&bytes));
    }
    manifest.run_digest = manifest.digest().unwrap();
    fs::write(folder.path().join("manifest.json"), manifest.encode().unwrap()).unwrap();
    verify_signed(folder.path(), Some(&public())).map(drop).map_err(|error| error.message)
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn an_output_whose_manifest_was_made_to_fit_is_refused_by_its_seal() {
    for (layout, format) in LAYOUTS {
        let folder = sealed(layout, format, "심사");
        let out = out(&folder);
        verified_after(&out, |_, _| ()).unwrap();
        let check = |expected: &str, change: &dyn Fn(&Path, &mut Manifest)| {
            let told = verified_after(&out, change).unwrap_err();
            assert!(told.contains(expected), "{told}, expected {expected}");
        };
        let in_file = |name: &'static str, from: &'static str, to: &'static str| {
            move |folder: &Path, _: &mut Manifest| edit(&folder.join(name), from, to)
        };
        let (fund, seal) = ("receipts/semas/fund.ndjson", "seal.json");
        check("the terms of a receipt are not there", &in_file(fund, "심사", "광고"));
        check("does not lead from the statement to the root", &in_file(fund, "\"regime\":\"egov", "\"regime\":\"egow"));
        check("does not lead from the statement to the root", &in_file(fund, "\"file_index\":2", "\"file_index\":1"));
        check("another head or signature", &in_file(fund, "\"signature\":\"", "\"signature\":\"00"));
        check("spelt otherwise", &in_file(fund, "{\"receipt\":", "{ \"receipt\":"));
        check("another recipient or service", &|folder, manifest| {
            fs::rename(folder.join(fund), folder.join("receipts/semas/bond.ndjson")).unwrap();
            let file = manifest.files.iter_mut().find(|file| file.path == fund).unwrap();
            file.path = "receipts/semas/bond.ndjson".into();
        });
        check("`bundles` of the head", &in_file(seal, "\"bundles\":4", "\"bundles\":5"));
        check("the signature of the head", &in_file(seal, "\"signing_key\":\"small", "\"signing_key\":\"smalL"));
        check("trusted comment", &in_file("seal.json.minisig", "4 bundles", "5 bundles"));
        check("not sealed", &|folder, manifest| {
            fs::remove_dir_all(folder.join("receipts")).unwrap();
            fs::remove_file(folder.join("seal.json")).unwrap();
            fs::remove_file(folder.join("seal.json.minisig")).unwrap();
            manifest.seal = None;
        });
        check("does not know of a seal", &|_, manifest| manifest.seal = None);
        check("has no receipt", &|folder, _| fs::remove_file(folder.join(fund)).unwrap());
        let refused = "receipts/refused.ndjson";
        check("not those of 4 bundles and 1 refusals", &|folder, _| fs::remove_file(folder.join(refused)).unwrap());
        check(
            "does not lead from the statement to the root",
            &in_file(refused, "\"reason\":\"R06\"", "\"reason\":\"R02\""),
        );
        if format == BundleFormat::Json {
            let path = match layout {
                Layout::Packed => "bundles/packed/semas/fund.ndjson",
                Layout::PerRequest => "bundles/per_request/semas/r1.json",
                Layout::Folder => "bundles/per_request/semas/r1/data/bundle.json",
            };
            check("the bundle is not the one", &in_file(path, "31000000", "31000001"));
        }
    }
}

#[test]
fn two_sealed_runs_give_the_same_bytes() {
    let files = |folder: &TempDir| -> BTreeMap<String, String> {
        let manifest: Manifest = serde_json::from_slice(&fs::read(out(folder).join("manifest.json")).unwrap()).unwrap();
        manifest.files.into_iter().map(|file| (file.path, file.sha256)).collect()
    };
    for (layout, format) in LAYOUTS {
        let one = files(&sealed(layout, format, "심사"));
        assert_eq!(one, files(&sealed(layout, format, "심사")));
        assert!(one.contains_key("receipts/semas/fund.ndjson") && one.contains_key("seal.json.minisig"));
    }
}
