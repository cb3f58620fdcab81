//! What is told of keys, and of what was made with them.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::broken::{Broken, KEY, repository};

#[test]
fn an_unusable_key_file_stops_the_night() {
    let secret = fs::read_to_string(repository().join("sample-data").join(KEY)).unwrap();
    let secret = secret.split_whitespace().last().unwrap();
    let check = |change: &dyn Fn(&Path), words: &[&str]| {
        let night = Broken::new();
        change(&night.path(KEY));
        let screen = night.run();
        screen.says(12, words).says(12, &["key file: keys/sample.key", "hint: "]);
        assert!(!screen.stderr.contains(secret));
        night.nothing_is_committed(&screen);
    };
    check(&|key| fs::remove_file(key).unwrap(), &["cannot be read", "ieum keys new keys/sample.key"]);
    let folder = |key: &Path| fs::remove_file(key).and_then(|()| fs::create_dir(key)).unwrap();
    check(&folder, &["cannot be read", "hint: name the key file itself in `keys`, not its folder"]);
    check(&|key| fs::write(key, [0xff, 0xfe]).unwrap(), &["cannot be read", "hint: this is no key file"]);
    check(&|key| fs::write(key, format!("ieum-key/1 {secret}\n")).unwrap(), &["line 1 is not a key line"]);
    check(
        &|key| {
            fs::write(key, format!("ieum-key/1 night 1 {secret}\n")).unwrap();
            fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap();
        },
        &["open to group or others", "chmod 600 keys/sample.key"],
    );
}

/// Subjects by request, in every bundle of a recipient.
fn subjects(out: &Path, recipient: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in fs::read_dir(out.join("bundles/packed").join(recipient)).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "ndjson") {
            for line in fs::read_to_string(path).unwrap().lines() {
                let bundle: serde_json::Value = serde_json::from_str(line).unwrap();
                let text = |name: &str| bundle[name].as_str().map(str::to_owned);
                if let Some(subject) = text("subject") {
                    found.insert(text("request_id").unwrap(), subject);
                }
            }
        }
    }
    found
}

#[test]
fn a_third_party_verifies_a_bundle_with_its_receipt_and_the_public_key() {
    let night = Broken::new();
    let made = night.ieum(&["keys", "new", "keys/agency.key", "--key-id", "agency", "--signing"]);
    made.says(0, &[]);
    let public = fs::read_to_string(night.path("keys/agency.key.pub")).unwrap();
    assert!(made.stdout.contains(public.trim_end()), "{}", made.stdout);
    let secret = fs::read_to_string(night.path("keys/agency.key")).unwrap();
    let secret = secret.split_whitespace().last().unwrap();
    night.edit("nightly.toml", |text| text + "signing_key = \"keys/agency.key\"\n");
    night.run().says(3, &[]);
    let out = "out/2026-11-22";
    let whole = night.ieum(&["verify", out, "--public-key", "keys/agency.key.pub"]);
    assert!(whole.says(0, &[]).stdout.contains("signature"), "{}", whole.stdout);
    assert!(night.ieum(&["verify", out]).says(0, &[]).stdout.contains("not checked: give --public-key"));
    let packed = fs::read_dir(night.path(out).join("bundles/packed")).unwrap().next().unwrap().unwrap().path();
    let packed = fs::read_dir(packed).unwrap().map(|file| file.unwrap().path());
    let file = packed.filter(|path| path.extension().is_some_and(|ending| ending == "ndjson")).min().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let line = text.split_inclusive('\n').next().unwrap();
    let request = line.split('"').nth(7).unwrap();
    // What is handed out stands in a folder without anything else.
    fs::create_dir(night.path("handed")).unwrap();
    fs::write(night.path("handed/bundle.json"), line).unwrap();
    let receipt = night.ieum(&["receipt", out, request]);
    receipt.says(0, &[]);
    fs::write(night.path("handed/receipt.json"), &receipt.stdout).unwrap();
    fs::copy(night.path("keys/agency.key.pub"), night.path("handed/agency.pub")).unwrap();
    let verify = || {
        let arguments = ["verify", "handed/bundle.json", "--receipt", "handed/receipt.json"];
        night.ieum(&[&arguments[..], &["--public-key", "handed/agency.pub"]].concat())
    };
    let verified = verify();
    assert!(verified.says(0, &[]).stdout.contains(request), "{}", verified.stdout);
    // So does the file of receipts that lies with the packed file.
    let receipts = PathBuf::from(file.to_str().unwrap().replace("bundles/packed", "receipts"));
    let arguments = ["verify", file.to_str().unwrap(), "--receipt", receipts.to_str().unwrap()];
    night.ieum(&[&arguments[..], &["--public-key", "handed/agency.pub"]].concat()).says(0, &[]);
    for (name, words) in [
        ("handed/bundle.json", "the bundle is not the one that the receipt is for, or was changed"),
        ("handed/receipt.json", "the path does not lead from the statement to the root"),
    ] {
        let sound = fs::read_to_string(night.path(name)).unwrap();
        night.edit(name, |text| match name {
            "handed/bundle.json" => text.replacen("\"as_of\":\"2026", "\"as_of\":\"2025", 1),
            _ => text.replacen("\"requested_at\":\"20", "\"requested_at\":\"19", 1),
        });
        verify().says(20, &[words, request]);
        fs::write(night.path(name), sound).unwrap();
    }
    verify().says(0, &[]);
    night.ieum(&["keys", "new", "keys/other.key", "--key-id", "agency", "--signing"]).says(0, &[]);
    fs::copy(night.path("keys/other.key.pub"), night.path("handed/agency.pub")).unwrap();
    verify().says(20, &["the head names another public key than the one given"]);
    fs::write(night.path("handed/agency.pub"), "x").unwrap();
    verify().says(12, &["this is not a public key"]);
    let unsigned = night.ieum(&["verify", "handed/bundle.json", "--receipt", "handed/receipt.json"]);
    unsigned.says(2, &["--public-key"]);
    night.ieum(&["receipt", out, "R0"]).says(6, &["no bundle of this request"]);
    // The key that signs is guarded as the other is.
    fs::set_permissions(night.path("keys/agency.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let open = night.ieum(&["run", "nightly.toml", "--out", "out2"]);
    open.says(12, &["open to group or others", "chmod 600"]);
    for screen in [&made, &whole, &verified, &receipt, &open] {
        assert!(!screen.stdout.contains(secret) && !screen.stderr.contains(secret));
    }
}

/// Gives every recipient of the catalog a public key.
fn with_encryption_key(night: &Broken, public: &str) {
    night.edit("catalog/recipients.toml", |text| {
        let with_key = |line: &str| match line.starts_with("[recipients.") {
            true => format!("{line}\nencryption_key = \"{public}\"\n"),
            false => format!("{line}\n"),
        };
        text.lines().map(with_key).collect()
    });
}

#[test]
fn a_night_is_encrypted_and_signed_in_either_profile_and_its_recipient_opens_it() {
    for (profile, ending, caveat) in [("default", ".age", 0), ("kr", ".aria", 1)] {
        let night = Broken::new();
        let new = |file: &str, kind: &str| {
            let made = night.ieum(&["keys", "new", file, "--key-id", "k", kind, "--profile", profile]);
            assert_eq!(made.says(0, &[]).stdout.matches("not a validated cryptographic module").count(), caveat);
            made.stdout
        };
        let made = new("keys/semas.key", "--encryption");
        let public = made.lines().find(|line| line.starts_with("age1") || line.starts_with("ieum-kr1-")).unwrap();
        assert!(night.ieum(&["keys", "list", "keys/semas.key"]).says(0, &[]).stdout.contains(public));
        new("keys/agency.key", "--signing");
        let settings = "signing_key = \"keys/agency.key\"\nencrypt = true\n";
        night.edit("nightly.toml", |text| format!("{text}\n{settings}profile = \"{profile}\"\n"));
        // Before the keys are in the catalog, nothing begins.
        let refused = night.run();
        refused.says(12, &["recipients of this night have no public key in the catalog", "recipient: ", "keys new"]);
        night.nothing_is_committed(&refused);
        night.ieum(&["check", "nightly.toml"]).says(12, &["have no public key"]);
        with_encryption_key(&night, public);
        let arguments = ["--layout", "per-request"];
        night.ieum(&[&["run", "nightly.toml"], &arguments[..]].concat()).says(3, &[]);
        let out = "out/2026-11-22";
        let verified = night.ieum(&["verify", out, "--public-key", "keys/agency.key.pub"]);
        assert!(verified.says(0, &[]).stdout.contains("receipts"), "{}", verified.stdout);
        let recipient =
            fs::read_dir(night.path(out).join("bundles/per_request")).unwrap().next().unwrap().unwrap().path();
        let bundle = fs::read_dir(recipient).unwrap().map(|file| file.unwrap().path()).min().unwrap();
        let name = bundle.file_name().unwrap().to_str().unwrap().to_owned();
        let request = name.strip_suffix(ending).unwrap().strip_suffix(".json").unwrap();
        fs::create_dir(night.path("handed")).unwrap();
        fs::copy(&bundle, night.path("handed").join(&name)).unwrap();
        let sealed = format!("handed/{name}");
        let open = |more: &[&str]| night.ieum(&[&["open", &sealed, "--identity", "keys/semas.key"], more].concat());
        open(&[]).says(0, &[]);
        open(&[]).says(6, &["the file exists"]);
        let plain = format!("handed/{request}.json");
        assert_eq!(fs::metadata(night.path(&plain)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(night.path(&plain)).unwrap().contains(request));
        let receipt = night.ieum(&["receipt", out, request]);
        fs::write(night.path("handed/receipt.json"), &receipt.says(0, &[]).stdout).unwrap();
        let verify = |bundle: &str| {
            let rest = ["--receipt", "handed/receipt.json", "--public-key", "keys/agency.key.pub"];
            night.ieum(&[&["verify", bundle], &rest[..]].concat())
        };
        verify(&plain).says(0, &[]);
        verify(&sealed).says(20, &["the bundle is encrypted", "ieum open"]);
        // Another's key opens nothing, and a file that was cut is told from it where the format can tell.
        let other = ["keys", "new", "keys/other.key", "--key-id", "k", "--encryption", "--profile", profile];
        night.ieum(&other).says(0, &[]);
        let closed = night.ieum(&["open", &sealed, "--identity", "keys/other.key", "--out", "handed/x"]);
        closed.says(12, &["this key does not open the file"]);
        assert!(!night.path("handed/x").exists());
        fs::write(night.path("handed/no.age"), "text").unwrap();
        let none = night.ieum(&["open", "handed/no.age", "--identity", "keys/semas.key"]);
        none.says(20, &["this is not an encrypted file"]);
        // A refusal is verified with the public key alone.
        let refusals = format!("{out}/receipts/refused.ndjson");
        let refusal = ["verify", "--receipt", &refusals, "--public-key", "keys/agency.key.pub"];
        assert!(night.ieum(&refusal).says(0, &[]).stdout.contains("refusals"));
        night
            .ieum(&["verify", "--receipt", "handed/receipt.json", "--public-key", "keys/agency.key.pub"])
            .says(6, &["the receipt is for a bundle", "name the bundle too"]);
        night.ieum(&["verify", "--public-key", "keys/agency.key.pub"]).says(2, &["OUT|BUNDLE"]);
        let secret = fs::read_to_string(night.path("keys/semas.key")).unwrap();
        let secret = secret.split_whitespace().next_back().unwrap();
        for screen in [&refused, &verified, &receipt, &closed] {
            assert!(!screen.stdout.contains(secret) && !screen.stderr.contains(secret));
        }
        // Neither setting may change under an unfinished run, nor may the key be one of another profile.
        night.killed_at("bundles.closed", &["--out", "out2"]);
        night.edit("nightly.toml", |text| text.replace("encrypt = true", "encrypt = false"));
        night.ieum(&["run", "nightly.toml", "--out", "out2"]).says(6, &["changed: `encryption`: it was "]);
        let another = if profile == "kr" { "default" } else { "kr" };
        night.edit("nightly.toml", |text| text.replace(&format!("\"{profile}\""), &format!("\"{another}\"")));
        let words = format!("the signing key is not one of profile `{another}`");
        night.ieum(&["run", "nightly.toml", "--out", "out3"]).says(12, &[&words]);
    }
}

#[test]
fn a_recipients_key_that_is_none_is_told_with_its_place_when_the_catalog_is_checked() {
    let night = Broken::new();
    let made = night.ieum(&["keys", "new", "keys/semas.key", "--key-id", "k", "--encryption"]).stdout;
    let public = made.lines().find(|line| line.starts_with("age1")).unwrap();
    let catalog = fs::read_to_string(night.path("catalog/recipients.toml")).unwrap();
    let heads: Vec<usize> =
        (1..).zip(catalog.lines()).filter(|(_, line)| line.starts_with('[')).map(|(at, _)| at).collect();
    let second = catalog.lines().nth(heads[1] - 1).unwrap();
    let code = second.trim_start_matches("[recipients.").trim_end_matches(']');
    let secret = fs::read_to_string(night.path("keys/semas.key")).unwrap();
    let secret = secret.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    let check = |setting: &str, code: i32, words: &[&str]| {
        let with = catalog.replacen(second, &format!("{second}\n{setting}"), 1);
        fs::write(night.path("catalog/recipients.toml"), with).unwrap();
        let screen = night.ieum(&["catalog", "check", "catalog"]);
        screen.says(code, words);
        assert!(!screen.stderr.contains(secret) && !screen.stdout.contains(secret));
    };
    let place = format!("recipients.toml:{}: ", heads[1] + 1);
    let of = format!("{place}encryption_key of recipient `{code}` ");
    check(&format!("encryption_key = \"{public}\""), 0, &[]);
    check(&format!("encryption_key = \"{}\"", &public[..40]), 6, &[&of, "is mistyped or cut off", "as a whole"]);
    check(&format!("encryption_key = \"{secret}\""), 6, &[&of, "is a private key", "throw that key away"]);
    check("encryption_key = \"RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\"", 6, &[&of, "signatures"]);
    check("encryption_key = \"\"", 6, &[&of, "is no public key", "ieum keys new"]);
    check("encryption_key = 7", 6, &[&place, "string"]);
    check(&format!("encryption_kee = \"{public}\""), 6, &[&place, "encryption_kee"]);
    // Neither a check of the night nor a run begins with it.
    night.ieum(&["check", "nightly.toml"]).says(6, &["recipients.toml:"]);
}

#[test]
fn the_joins_of_a_recipient_go_on_after_its_pseudonyms_were_rekeyed() {
    let night = Broken::new();
    night.run().says(3, &[]);
    let rotated = night.ieum(&["keys", "rotate", KEY]);
    assert!(rotated.says(0, &[]).stdout.contains("epoch 2"), "{}", rotated.stdout);
    assert!(night.ieum(&["keys", "list", KEY]).says(0, &[]).stdout.contains("older epochs 1"));
    night.ieum(&["run", "nightly.toml", "--out", "after"]).says(3, &[]);
    let recipients = fs::read_dir(night.path("out/2026-11-22/bundles/packed")).unwrap();
    let mut met = 0;
    let mut first: Option<String> = None;
    for recipient in recipients.map(|folder| folder.unwrap().file_name().into_string().unwrap()).take(6) {
        let file = format!("{recipient}.csv");
        let arguments = ["keys", "rekey", "nightly.toml", "--recipient", &recipient, "--from", "1", "--out", &file];
        let screen = night.ieum(&arguments);
        night.assert_no_row_value_in(screen.says(0, &[]));
        assert_eq!(fs::metadata(night.path(&file)).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(night.path(&file)).unwrap();
        let pairs: BTreeMap<&str, &str> = text.lines().skip(1).map(|line| line.split_once(',').unwrap()).collect();
        let old = subjects(&night.path("out/2026-11-22"), &recipient);
        let new = subjects(&night.path("after/2026-11-22"), &recipient);
        assert!(old.keys().eq(new.keys()));
        for (request, subject) in &old {
            assert_ne!(*subject, new[request]);
            assert_eq!(pairs[subject.as_str()], new[request], "{request}");
            met += 1;
        }
        // The pairs are sorted: their order tells nothing of the requests.
        assert!(text.lines().skip(1).is_sorted());
        let again = night.ieum(&arguments);
        again.says(6, &["the file exists"]);
        first.get_or_insert(file);
    }
    assert!(met > 20, "{met} subjects");
    let rekey = |recipient: &str, from: &str, out: &str| {
        night.ieum(&["keys", "rekey", "nightly.toml", "--recipient", recipient, "--from", from, "--out", out])
    };
    let known = first.unwrap().trim_end_matches(".csv").to_owned();
    rekey(&known, "2", "x.csv").says(12, &["epoch 2 is the newest"]);
    rekey(&known, "9", "x.csv").says(12, &["no epoch 9", "it has 1, 2"]);
    rekey("nobody_known", "1", "x.csv").says(6, &["no recipient `nobody_known`"]);
    rekey(&known, "1", "x.txt").says(6, &["neither in .csv nor in .parquet"]);
    rekey(&known, "1", "x.parquet").says(0, &[]);
    let file = File::open(night.path("x.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let rows = fs::read_to_string(night.path(&format!("{known}.csv"))).unwrap().lines().count() - 1;
    assert_eq!(reader.metadata().file_metadata().num_rows(), i64::try_from(rows).unwrap());
    let left = fs::read_dir(night.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("aside") && name != "x.csv"));
}
