//! What an operator sees when something is broken: exit code, stderr, stdout, and that no committed output lies.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use arrow::array::{Array, AsArray, StringArray};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

const INCOME: &str = "exports/nts/income_amount_cert/part-0000.csv.gz";
const ELIGIBILITY: &str = "exports/nhis/nhis_eligibility_history/part-0000.csv";
const ROSTER: &str = "exports/mois/resident_register_abstract/part-0000.dat";
const REQUESTS: &str = "requests/requests.csv";
const KEY: &str = "keys/sample.key";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What a command showed.
struct Screen {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Screen {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    fn says(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in\n{}", self.stderr);
        }
        assert_eq!(self.stderr.matches("panicked").count(), 0, "{}", self.stderr);
        self
    }
}

/// A copy of the sample night in which one thing is broken.
struct Broken {
    folder: TempDir,
}

impl Broken {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sample = repository().join("sample-data");
        for part in ["catalog", "exports", "requests", "keys"] {
            copy(&sample.join(part), &folder.path().join(part));
        }
        fs::copy(sample.join("nightly.toml"), folder.path().join("nightly.toml")).unwrap();
        Self { folder }
    }

    /// Two requests and one export that keeps its contract: a night with nothing to look at.
    fn calm() -> Self {
        let night = Self::new();
        night.edit(REQUESTS, |text| {
            let sound = "R1,egov_43_2,rrno:9001023787894,person,,nhis_eligibility_history,kcis,central_credit_register,\
                         심사,false,,,30,2026-11-22,2026-11-22,2027-04-19,nhis_eligibility_history,,false,simple_auth,true,,json";
            format!("{}\n{sound}\n", text.lines().next().unwrap())
        });
        night.edit("requests/withdrawals.csv", |text| format!("{}\n", text.lines().next().unwrap()));
        // Without the planted rows that cannot be read.
        night.edit(ELIGIBILITY, |text| {
            let width = text.lines().next().unwrap().matches(',').count();
            text.split_inclusive("\r\n").filter(|line| line.matches(',').count() == width).collect()
        });
        night
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn edit(&self, name: &str, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        fs::write(self.path(name), change(text)).unwrap();
    }

    fn ieum(&self, arguments: &[&str]) -> Screen {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ieum"));
        Screen::of(command.current_dir(self.folder.path()).args(arguments).output().unwrap())
    }

    fn run(&self) -> Screen {
        let screen = self.ieum(&["run", "nightly.toml"]);
        self.assert_no_row_value_in(&screen);
        screen
    }

    /// A run that is killed when it comes to a step; only builds with debug assertions heed it.
    #[track_caller]
    fn killed_at(&self, step: &str, more: &[&str]) {
        let mut run = Command::new(env!("CARGO_BIN_EXE_ieum"));
        run.args(["run", "nightly.toml"]).args(more).current_dir(self.folder.path()).env("IEUM_KILL_AT", step);
        assert_eq!(run.output().unwrap().status.code(), None);
    }

    /// No identifier of the requests or of the exports that these tests break stands in a message.
    fn assert_no_row_value_in(&self, screen: &Screen) {
        let mut texts = String::new();
        for name in [REQUESTS, ELIGIBILITY] {
            texts.push_str(&fs::read_to_string(self.path(name)).unwrap_or_default());
        }
        let numbers: BTreeSet<&str> =
            texts.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() == 13).collect();
        for number in numbers {
            assert!(!screen.stderr.contains(number) && !screen.stdout.contains(number), "an identifier is told");
        }
        assert!(!screen.stderr.contains("한빛농산") && !screen.stderr.contains("이유우"), "{}", screen.stderr);
    }

    #[track_caller]
    fn nothing_is_committed(&self, screen: &Screen) {
        assert_eq!(screen.stdout, "");
        assert!(!self.path("out/2026-11-22").exists());
    }

    /// Text columns of a table of a verified output, row by row; null is empty.
    #[track_caller]
    fn table<const N: usize>(&self, date: &str, name: &str, columns: [&str; N]) -> BTreeSet<[String; N]> {
        let folder = format!("out/{date}");
        self.ieum(&["verify", &folder]).says(0, &[]);
        let file = File::open(self.path(&folder).join(name)).unwrap();
        let mut found = BTreeSet::new();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let columns = columns.map(|name| batch.column_by_name(name).unwrap().as_string::<i32>().clone());
            let cell = |column: &StringArray, row| if column.is_null(row) { "" } else { column.value(row) }.to_owned();
            found.extend((0..batch.num_rows()).map(|row| columns.each_ref().map(|column| cell(column, row))));
        }
        found
    }

    /// Outcome and reason of the lines of a dataset in a verified output.
    #[track_caller]
    fn outcomes(&self, dataset: &str) -> BTreeSet<(String, String)> {
        let answers = self.table("2026-11-22", "outcomes.parquet", ["dataset", "outcome", "reason"]);
        let of = answers.into_iter().filter(|[of, ..]| of == dataset);
        let found: BTreeSet<_> = of.map(|[_, outcome, reason]| (outcome, reason)).collect();
        assert!(!found.is_empty(), "no line of {dataset}");
        found
    }

    /// Of the lines that would have been read, every one is delayed for `reason` and none is delivered.
    #[track_caller]
    fn assert_delayed(&self, dataset: &str, reason: &str) {
        let outcomes = self.outcomes(dataset);
        assert!(outcomes.contains(&("delayed".to_owned(), reason.to_owned())), "{outcomes:?}");
        let read = ["provided", "partial", "not_found"];
        assert!(!outcomes.iter().any(|(outcome, _)| read.contains(&outcome.as_str())), "{outcomes:?}");
    }
}

#[test]
fn a_night_with_nothing_wrong_is_silent_and_exits_with_0() {
    let night = Broken::calm();
    let screen = night.run();
    screen.says(0, &[]);
    assert_eq!(screen.stderr, "");
    assert!(screen.stdout.contains("committed to out/2026-11-22"), "{}", screen.stdout);
}

#[test]
fn a_missing_export_delays_its_lines() {
    let night = Broken::new();
    fs::remove_file(night.path(INCOME)).unwrap();
    night.run().says(3, &["dataset `income_amount_cert` is delayed: the holder delivered no file"]);
    night.assert_delayed("income_amount_cert", "E_HOLDER_MISSING");
}

#[test]
fn a_missing_exports_folder_stops_the_night() {
    let night = Broken::new();
    fs::rename(night.path("exports"), night.path("export")).unwrap();
    let screen = night.run();
    screen.says(6, &["the exports folder cannot be read", "folder: exports", "hint: compare `exports`"]);
    night.nothing_is_committed(&screen);
    night.ieum(&["check", "nightly.toml"]).says(6, &["folder: exports"]);
}

#[test]
fn what_a_night_leaves_open_is_asked_until_it_is_answered() {
    let night = Broken::calm();
    night
        .edit(REQUESTS, |text| text.replace("nhis_eligibility_history", "nhis_eligibility_history;income_amount_cert"));
    let requests = fs::read_to_string(night.path(REQUESTS)).unwrap();
    let export = fs::read(night.path(ELIGIBILITY)).unwrap();
    let run = |date: &str| night.ieum(&["run", "nightly.toml", "--date", date]);
    let open = |date: &str| night.table(date, "carried_over.parquet", ["request_id", "dataset"]);
    let line = |request: &str| [request, "nhis_eligibility_history"].map(str::to_owned);

    fs::remove_file(night.path(ELIGIBILITY)).unwrap();
    run("2026-11-22").says(3, &["`nhis_eligibility_history` is delayed"]);
    assert_eq!(open("2026-11-22"), BTreeSet::from([line("R1")]));
    // Another request instead: the open line is not lost.
    night.edit(REQUESTS, |text| text.replace("\nR1,", "\nR2,").replace("nhis_eligibility_history;", ""));
    run("2026-11-23").says(3, &["1 line that an earlier run left open: the request is not in the request files"]);
    assert_eq!(open("2026-11-23"), BTreeSet::from([line("R1")]));
    // It is here again, and so is the export: only the open line is asked, without a word of it in the definition.
    fs::write(night.path(REQUESTS), &requests).unwrap();
    fs::write(night.path(ELIGIBILITY), &export).unwrap();
    run("2026-11-25").says(0, &[]);
    let answers = night.table("2026-11-25", "outcomes.parquet", ["request_id", "dataset"]);
    assert_eq!((answers, open("2026-11-25").len()), (BTreeSet::from([line("R1")]), 0));
    // A definition that names no file asks for everything; so does a run before any other.
    night.edit("nightly.toml", |text| format!("{text}carried_over = []\n"));
    run("2026-11-24").says(0, &[]);
    assert_eq!(night.table("2026-11-24", "outcomes.parquet", ["request_id", "dataset"]).len(), 2);
}

#[test]
fn a_check_says_what_the_run_will_say() {
    let check = |change: &dyn Fn(&Broken), code: i32, words: &[&str]| {
        let night = Broken::calm();
        change(&night);
        let before = night.ieum(&["check", "nightly.toml"]);
        night.assert_no_row_value_in(&before);
        before.says(code, words);
        night.run().says(code, words);
    };
    check(&|_| (), 0, &[]);
    let renamed = |night: &Broken| night.edit(ELIGIBILITY, |text| text.replacen("employer_nm", "employr_nm", 1));
    check(&renamed, 3, &["`nhis_eligibility_history` is left out of the night", "by `employr_nm`?"]);
    check(&|night| drop(night.run()), 6, &["holds a committed run", "out/2026-11-22"]);
    // A file that nobody can read, not even the superuser: nothing stands at address 0.
    let unreadable = |night: &Broken| {
        fs::remove_file(night.path(ELIGIBILITY)).unwrap();
        std::os::unix::fs::symlink("/proc/self/mem", night.path(ELIGIBILITY)).unwrap();
    };
    check(&unreadable, 5, &["cannot read", "nhis_eligibility_history/part-0000.csv", "hint: check the storage"]);
}

#[test]
fn a_truncated_gz_delays_its_lines() {
    let night = Broken::new();
    let bytes = fs::read(night.path(INCOME)).unwrap();
    fs::write(night.path(INCOME), &bytes[..3000]).unwrap();
    night.run().says(
        3,
        &["compressed file is cut off", "nts/income_amount_cert/part-0000.csv.gz", "byte_offset: 3000", "hint: ask"],
    );
    night.assert_delayed("income_amount_cert", "E_CONTRACT");
}

#[test]
fn a_wrong_encoding_delays_its_lines() {
    let night = Broken::new();
    let mut cp949 = Vec::new();
    flate2::read::GzDecoder::new(File::open(night.path(INCOME)).unwrap()).read_to_end(&mut cp949).unwrap();
    let (utf8, _, flawed) = encoding_rs::EUC_KR.decode(&cp949);
    assert!(!flawed);
    let mut gz = flate2::write::GzEncoder::new(File::create(night.path(INCOME)).unwrap(), flate2::Compression::fast());
    gz.write_all(utf8.as_bytes()).unwrap();
    gz.finish().unwrap();
    let words = [
        "header is not in the encoding of the export",
        "export: nts/income_amount_cert/part-0000.csv.gz",
        "hint: compare `encoding` in the catalog",
    ];
    night.run().says(3, &words);
    night.assert_delayed("income_amount_cert", "E_CONTRACT");
}

#[test]
fn a_renamed_column_delays_its_lines_and_suggests_the_mapping() {
    let night = Broken::new();
    night.edit(ELIGIBILITY, |text| text.replacen("employer_nm", "employr_nm", 1));
    let words = ["column `employer_nm` is missing", "nhis/nhis_eligibility_history/part-0000.csv", "by `employr_nm`?"];
    night.run().says(3, &words);
    night.assert_delayed("nhis_eligibility_history", "E_CONTRACT");
}

#[test]
fn ragged_rows_are_rejects_and_more_than_allowed_delay_the_lines() {
    // Rows that nobody asked for are checked for their width too: a shifted cell must not hide a key.
    let night = Broken::new();
    night.edit(ELIGIBILITY, |text| text.replace("\r\n", ",x\r\n").replacen(",x\r\n", "\r\n", 1));
    night.run().says(
        3,
        &[
            "rows could not be read",
            "first reject: nhis/nhis_eligibility_history/part-0000.csv, line 2: ragged",
            "hint: see rejects/rows.ndjson; ask the holder",
        ],
    );
    night.assert_delayed("nhis_eligibility_history", "E_CONTRACT");

    let night = Broken::calm();
    night.edit(ELIGIBILITY, |text| text.replacen(",이유우,9001023787894,", ",이유우,x,9001023787894,", 1));
    let screen = night.run();
    let words =
        ["dataset `nhis_eligibility_history`: 1 row could not be read", ": ragged", "hint: see rejects/rows.ndjson"];
    screen.says(3, &words);
    assert!(screen.stdout.lines().any(|line| line.trim().starts_with("rejected") && line.trim().ends_with('1')));
    night.outcomes("nhis_eligibility_history");
    let rejects = fs::read_to_string(night.path("out/2026-11-22/rejects/rows.ndjson")).unwrap();
    assert!(rejects.contains("ragged") && rejects.contains("nhis/nhis_eligibility_history"), "{rejects}");
}

#[test]
fn a_wrong_trailer_delays_the_whole_holder() {
    let night = Broken::new();
    let mut bytes = fs::read(night.path(ROSTER)).unwrap();
    let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let third = second + bytes[second..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    bytes.drain(second..third);
    fs::write(night.path(ROSTER), bytes).unwrap();
    let words = [
        "holder `mois` is left out",
        "header says 400 data rows, the file has 399",
        "resident_register_abstract/part-0000.dat",
        "hint: ",
    ];
    night.run().says(3, &words);
    night.assert_delayed("resident_register_abstract", "E_CONTROL_TOTALS");
}

#[test]
fn unknown_words_of_a_request_are_refused_with_a_suggestion() {
    let night = Broken::calm();
    night.edit(REQUESTS, |text| {
        text.replace(",,nhis_eligibility_history,", ",,nhis_eligibility_history(employr_nm);nhis_eligibilty_history,")
    });
    let words = [
        "an item that `nhis_eligibility_history` lacks",
        "did you mean `employer_nm`?",
        "the first is `R1`",
        "a dataset that the catalog lacks",
        "did you mean `nhis_eligibility_history`?",
    ];
    night.run().says(0, &words);
    let refused = BTreeSet::from([("refused".to_owned(), "R05".to_owned())]);
    assert_eq!(night.outcomes("nhis_eligibility_history"), refused);
}

#[test]
fn a_request_of_an_unknown_service_or_recipient_is_answered_and_told() {
    let night = Broken::calm();
    night.edit(REQUESTS, |text| {
        let sound = text.lines().last().unwrap();
        let unknown = [
            sound.replace("R1,", "R2,").replace(",,nhis_eligibility_history,", ",passport_isue,,"),
            sound.replace("R1,", "R3,").replace(",,nhis_eligibility_history,", ",zzz,,"),
            sound.replace("R1,", "R4,").replace(",kcis,", ",kcsi,"),
            sound.replace("R1,", "R5,").replace(",,nhis_eligibility_history,", ",,,"),
        ];
        format!("{text}{}\n", unknown.join("\n"))
    });
    let words = [
        "requests name a service that the catalog lacks: such a request is refused (R05)",
        "hint: did you mean `passport_issuance`?",
        "hint: `ieum catalog show catalog SERVICE` shows one that it has",
        "requests name a recipient that the catalog lacks",
        "hint: did you mean `kcis`?",
    ];
    night.run().says(0, &words);
    let answers = night.table("2026-11-22", "outcomes.parquet", ["request_id", "dataset", "outcome", "reason"]);
    let refused = |id: &str, dataset: &str| [id, dataset, "refused", "R05"].map(str::to_owned);
    let expected = [
        ["R1", "nhis_eligibility_history", "provided", ""].map(str::to_owned),
        refused("R2", ""),
        refused("R3", ""),
        refused("R4", "nhis_eligibility_history"),
        refused("R5", ""),
    ];
    assert_eq!(answers, expected.into());
}

#[test]
fn a_format_or_a_holder_that_a_request_names_is_not_passed_over() {
    let night = Broken::calm();
    night.edit(REQUESTS, |text| {
        let text = text.replace("\nR1,", ",holder\nR1,").replace(",,json", ",,parquet,nhic");
        assert!(text.contains("parquet,nhic"), "{text}");
        text
    });
    let words = [
        "requests ask for bundles as parquet: this night writes json",
        "requests name another holder than that of a document they ask for",
        "hint: `ieum catalog show catalog DATASET` shows its holder",
    ];
    night.run().says(0, &words);
    let refused = BTreeSet::from([("refused".to_owned(), "R05".to_owned())]);
    assert_eq!(night.outcomes("nhis_eligibility_history"), refused);
    night.edit(REQUESTS, |text| text.replace("parquet,nhic", "parquet,nhis"));
    let screen = night.ieum(&["run", "nightly.toml", "--out", "parquet", "--format", "parquet"]);
    screen.says(0, &[]);
    assert_eq!(screen.stderr, "");
}

#[test]
fn a_malformed_request_is_told_by_line_and_stops_nothing() {
    let night = Broken::new();
    night.edit(REQUESTS, |text| text.replacen(",person,", ",persn,", 1));
    let requests = fs::read_to_string(night.path(REQUESTS)).unwrap();
    let words = ["requests/requests.csv: line 2: `applicant` must be `person` or `corporation`"];
    night.run().says(3, &words);
    night.ieum(&["verify", "out/2026-11-22"]).says(0, &[]);
    let rejects = fs::read_to_string(night.path("out/2026-11-22/rejects/requests.ndjson")).unwrap();
    let told: serde_json::Value = serde_json::from_str(rejects.trim_end()).unwrap();
    assert_eq!((&told["file"], &told["line"]), (&"requests/requests.csv".into(), &2.into()));
    let row = requests.lines().nth(1).unwrap();
    let hex: String = row.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(told["raw_hex"] == hex.as_str(), "{told}");
    assert!(row.starts_with(told["request_id"].as_str().unwrap()), "{told}");
    let mode = fs::metadata(night.path("out/2026-11-22/rejects/requests.ndjson")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it is data of persons");
}

#[test]
fn an_unknown_column_of_the_requests_stops_the_night() {
    let night = Broken::new();
    night.edit(REQUESTS, |text| text.replacen("recipient_type", "recipent_type", 1));
    let screen = night.run();
    let words = ["a column has a name that is not known", "column: 8", "requests/requests.csv", "`recipient_type`?"];
    screen.says(6, &words);
    night.nothing_is_committed(&screen);
}

#[test]
fn requests_without_a_header_or_line_ends_are_told_without_their_values() {
    let check = |change: &dyn Fn(String) -> String, hint: &str| {
        let night = Broken::new();
        night.edit(REQUESTS, change);
        let screen = night.ieum(&["run", "nightly.toml", "--output", "json"]);
        night.assert_no_row_value_in(&screen);
        screen.says(6, &["name that is not known", "requests/requests.csv", hint, "\"exit_error\""]);
        night.nothing_is_committed(&screen);
    };
    check(&|text| text.split_once('\n').unwrap().1.to_owned(), "is the header row missing?");
    check(&|text| text.replace("\r\n", "\n").replace('\n', "\r"), "bare CR");
}

#[test]
fn a_withdrawal_that_cannot_be_read_stops_the_night() {
    let night = Broken::new();
    night.edit("requests/withdrawals.csv", |text| format!("{text}a,b\n"));
    let screen = night.run();
    screen.says(6, &["requests/withdrawals.csv", "`row` must be 3 fields", "hint: correct the row"]);
    night.nothing_is_committed(&screen);
}

#[test]
fn a_withdrawal_that_names_nothing_is_told() {
    let night = Broken::calm();
    night.edit("requests/withdrawals.csv", |text| format!("{text}R1,2026-11-22,nhis_eligibilty_history\n"));
    let screen = night.run();
    screen.says(6, &["a dataset that the catalog lacks", "requests/withdrawals.csv", "line: 2"]);
    screen.says(6, &["did you mean `nhis_eligibility_history`?"]);
    night.nothing_is_committed(&screen);

    let night = Broken::calm();
    night.edit("requests/withdrawals.csv", |text| format!("{text}R0001,2026-11-22,\n"));
    night.run().says(0, &["withdrawals name a request that was not received", "withdrawals.csv, line 2"]);
}

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

#[test]
fn a_full_disk_stops_the_night_and_a_retry_may_help() {
    // Blocks of 1 KiB: the first hits the begin of the journal, the second the staged rows, the third the journal of a run
    // that goes on.
    for (limit, gathered, stands) in [("1", false, false), ("48", false, true), ("8", true, true)] {
        let night = Broken::new();
        if gathered {
            night.killed_at("gathered", &[]);
        }
        let limited = format!("ulimit -f {limit}; exec \"$0\" run nightly.toml");
        let mut command = Command::new("bash");
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_ieum")]).current_dir(night.folder.path());
        let screen = Screen::of(command.output().unwrap());
        screen.says(5, &["error: output cannot be written: File too large", "hint: raise the quota or the limit"]);
        night.nothing_is_committed(&screen);
        assert_eq!(screen.stderr.contains("the same command goes on"), stands, "{}", screen.stderr);
        assert_eq!(night.path("out/2026-11-22.stage").exists(), stands);
        let again = night.run();
        again.says(3, &[]);
        assert_eq!(again.stdout.contains("readings were gathered before"), stands, "{}", again.stdout);
        night.ieum(&["verify", "out/2026-11-22"]).says(0, &[]);
    }
}

#[test]
fn a_locked_output_is_left_alone() {
    let night = Broken::new();
    fs::create_dir(night.path("out")).unwrap();
    let lock = File::create(night.path("out/2026-11-22.lock")).unwrap();
    lock.lock().unwrap();
    let screen = night.run();
    screen.says(11, &["another run writes to this output", "out/2026-11-22.lock", "hint: wait"]);
    night.nothing_is_committed(&screen);
    lock.unlock().unwrap();
    night.run().says(3, &[]);
}

/// A run that is held at a step, heeding signals however the tests are run: `ieum` heeds what `nohup` says.
fn held_at(night: &Broken, step: &str, more: &[&str]) -> Child {
    let mut run = Command::new("env");
    run.args(["--default-signal=TERM", "--default-signal=INT"]).arg(env!("CARGO_BIN_EXE_ieum"));
    run.args(["run", "nightly.toml", "--output", "json"]).args(more).env("IEUM_HOLD_AT", step);
    run.current_dir(night.folder.path()).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

fn journal_of(night: &Broken) -> String {
    fs::read_to_string(night.path("out/2026-11-22.stage/journal.ndjson")).unwrap_or_default()
}

#[test]
fn an_interrupted_run_goes_on() {
    let whole = Broken::new();
    whole.run().says(3, &[]);
    for (signal, name, code) in [("TERM", "SIGTERM", 143), ("INT", "SIGINT", 130)] {
        let night = Broken::new();
        let run = held_at(&night, "shard.written", &[]);
        wait_for(|| journal_of(&night).contains("assembling"));
        let status = night.ieum(&["status", "nightly.toml"]);
        status.says(0, &[]);
        assert!(status.stdout.starts_with("2026-11-22  running     2026-11-22-"), "{}", status.stdout);
        night.ieum(&["run", "nightly.toml"]).says(11, &["another run writes to this output"]);
        let collected = night.ieum(&["gc", "out"]);
        assert_eq!((collected.code, collected.stdout.as_str()), (Some(0), "nothing to remove\n"), "it is held");

        assert!(Command::new("kill").args(["-s", signal, &run.id().to_string()]).status().unwrap().success());
        let screen = Screen::of(run.wait_with_output().unwrap());
        screen.says(code, &["interrupted by ", name, "nothing is committed, the same command goes on"]);
        let last: serde_json::Value = serde_json::from_str(screen.stderr.lines().last().unwrap()).unwrap();
        assert_eq!(last["code"].as_i64(), Some(code.into()));
        night.nothing_is_committed(&screen);
        for (folder, mode) in [("out/2026-11-22.stage", 0o700), ("out/2026-11-22.partial", 0o700)] {
            assert_eq!(fs::metadata(night.path(folder)).unwrap().permissions().mode() & 0o777, mode);
        }
        for file in fs::read_dir(night.path("out/2026-11-22.stage")).unwrap() {
            let about = file.unwrap().metadata().unwrap();
            assert_eq!(about.permissions().mode() & 0o777, 0o600);
        }

        let again = night.run();
        again.says(3, &[]);
        assert!(again.stdout.contains("readings were gathered before"), "{}", again.stdout);
        let manifest = |night: &Broken| fs::read(night.path("out/2026-11-22/manifest.json")).unwrap();
        assert!(manifest(&night) == manifest(&whole));
        assert_eq!(
            fs::read_dir(night.path("out")).unwrap().count(),
            3,
            "beside telemetry and ledger not even a lock is left"
        );
    }
}

#[test]
fn a_run_ends_at_its_time_limit() {
    let night = Broken::new();
    let screen = Screen::of(held_at(&night, "gathered", &["--max-duration", "1s"]).wait_with_output().unwrap());
    screen.says(10, &["the time limit is reached: nothing is committed, the same command goes on"]);
    night.nothing_is_committed(&screen);
    night.run().says(3, &[]);
    night.ieum(&["run", "nightly.toml", "--max-duration", "2"]).says(2, &["not a duration such as 2h"]);
}

#[test]
fn a_dry_run_leaves_nothing_and_an_unfinished_run_as_it_is() {
    let night = Broken::new();
    let interrupted = || {
        let run = held_at(&night, "gathered", &["--dry-run"]);
        wait_for(|| night.path("out/2026-11-22.rehearsal").exists());
        assert!(Command::new("kill").args(["-s", "TERM", &run.id().to_string()]).status().unwrap().success());
        let screen = Screen::of(run.wait_with_output().unwrap());
        screen.says(143, &["interrupted by SIGTERM: nothing is committed, nothing is left"]);
    };
    interrupted();
    assert_eq!(fs::read_dir(night.path("out")).unwrap().count(), 0, "not even a lock is left");
    night.killed_at("gathered", &[]);
    let status = night.ieum(&["status", "out"]);
    assert!(status.stdout.contains("unfinished  2026-11-22-") && status.stdout.contains("gather"), "{}", status.stdout);
    let before = journal_of(&night);
    interrupted();
    night.ieum(&["run", "nightly.toml", "--dry-run"]).says(3, &[]);
    assert!(!night.path("out/2026-11-22.rehearsal").exists());
    assert_eq!(journal_of(&night), before);
    let collected = night.ieum(&["gc", "out"]);
    assert!(collected.stdout.starts_with("removed  2026-11-22  unfinished run  "), "{}", collected.stdout);
    assert_eq!(fs::read_dir(night.path("out")).unwrap().count(), 0);
}

/// What is changed between a crash and the next run, the exit code, and what is told.
#[test]
fn a_run_does_not_go_on_from_something_else() {
    type Change = (&'static str, fn(&Broken), i32, &'static str);
    let changes: [Change; 5] = [
        (
            "an export",
            |night| night.edit(ELIGIBILITY, |text| text),
            6,
            "changed: export of `nhis_eligibility_history`: `nhis/nhis_eligibility_history/part-0000.csv` was written to",
        ),
        (
            "an export that came",
            |night| {
                let folder = night.path("exports/nts/income_amount_cert");
                fs::copy(folder.join("part-0000.csv.gz"), folder.join("part-0001.csv.gz")).unwrap();
            },
            6,
            "changed: export of `income_amount_cert`: `nts/income_amount_cert/part-0001.csv.gz` is new",
        ),
        (
            "the catalog",
            |night| night.edit("catalog/datasets/nts/income_amount_cert.toml", |text| format!("{text}\n")),
            6,
            "changed: the catalog",
        ),
        (
            "the requests",
            |night| night.edit("requests/withdrawals.csv", |text| format!("{text}\n")),
            6,
            "changed: requests, withdrawals or lines carried over",
        ),
        (
            "the key",
            |night| {
                night.edit(KEY, |text| {
                    let (kept, digits) = text.trim_end().split_at(text.trim_end().len() - 4);
                    format!(
                        "{kept}{}\n",
                        digits.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect::<String>()
                    )
                });
            },
            12,
            "changed: the key",
        ),
    ];
    for (what, change, code, told) in changes {
        let night = Broken::new();
        night.killed_at("gathered", &[]);
        change(&night);
        let before = journal_of(&night);
        let screen = night.run();
        screen.says(code, &["an unfinished run stands here", told, "hint: `ieum run --restart`"]);
        assert_eq!(screen.stderr.matches("changed: ").count(), 1, "{what}: {}", screen.stderr);
        night.nothing_is_committed(&screen);
        assert_eq!(journal_of(&night), before);
        let screen = night.ieum(&["run", "nightly.toml", "--restart"]);
        screen.says(3, &[]);
        assert!(!screen.stdout.contains("gathered before"), "{what}: {}", screen.stdout);
        assert_eq!(fs::read_dir(night.path("out")).unwrap().count(), 3, "the night, its telemetry, the ledger");
    }
}

#[test]
fn a_changed_setting_or_journal_is_told() {
    let night = Broken::new();
    night.killed_at("gathered", &[]);
    night
        .ieum(&["run", "nightly.toml", "--layout", "per-request"])
        .says(6, &["changed: `layout`: it was packed and is per-request"]);
    night.edit("out/2026-11-22.stage/journal.ndjson", |text| text.replacen("\"kept\":", "\"kept\": ", 1));
    night.run().says(20, &["the journal of an unfinished run was changed", "line: ", "hint: `ieum run --restart`"]);
    let status = night.ieum(&["status", "out"]);
    assert!(status.stdout.starts_with("2026-11-22  damaged"), "{}", status.stdout);
    night.ieum(&["run", "nightly.toml", "--restart"]).says(3, &[]);
}

/// Exports are blanked behind the run's back, with their length and time as they were: it does not look at them again. The
/// files that the killed run wrote keep the time at which it wrote them.
#[test]
fn what_was_done_is_not_done_again() {
    let arguments = ["--layout", "per-request", "--shard-requests", "37"];
    let whole = Broken::new();
    whole.ieum(&[&["run", "nightly.toml"], &arguments[..]].concat()).says(3, &[]);
    let night = Broken::new();
    night.killed_at("shard.written:3", &arguments);
    for name in [ELIGIBILITY, "exports/court/basic_cert/part-0000.csv"] {
        let mut file = File::options().write(true).open(night.path(name)).unwrap();
        let about = file.metadata().unwrap();
        file.write_all(&vec![b'0'; about.len().try_into().unwrap()]).unwrap();
        file.set_modified(about.modified().unwrap()).unwrap();
    }
    let bundles = |night: &Broken, folder: &str| {
        let mut found = BTreeMap::new();
        for recipient in fs::read_dir(night.path(folder).join("bundles/per_request")).unwrap() {
            for file in fs::read_dir(recipient.unwrap().path()).unwrap() {
                let file = file.unwrap();
                let about = file.metadata().unwrap();
                found
                    .insert(file.file_name(), (about.ino(), about.modified().unwrap(), fs::read(file.path()).unwrap()));
            }
        }
        found
    };
    let before = bundles(&night, "out/2026-11-22.partial");
    let screen = night.ieum(&[&["run", "nightly.toml"], &arguments[..]].concat());
    screen.says(3, &[]);
    let (after, expected) = (bundles(&night, "out/2026-11-22"), bundles(&whole, "out/2026-11-22"));
    assert!(!before.is_empty() && before.len() < after.len(), "{} of {}", before.len(), after.len());
    assert!(before.iter().all(|(name, file)| after[name] == *file));
    assert!(after.iter().map(|(name, file)| (name, &file.2)).eq(expected.iter().map(|(name, file)| (name, &file.2))));
}

/// The staged rows are overwritten after the run was killed, as a loss of power may leave them.
#[test]
fn what_does_not_stand_as_it_was_written_is_read_again() {
    let whole = Broken::new();
    let run = |night: &Broken| night.ieum(&["run", "nightly.toml", "--layout", "per-request"]);
    run(&whole).says(3, &[]);
    for damaged in ["rows", "rejects", "keys"] {
        let night = Broken::new();
        night.killed_at("records.written", &["--layout", "per-request"]);
        let path = night.path("out/2026-11-22.stage").join(damaged);
        let mut bytes = fs::read(&path).unwrap();
        let half = bytes.len() / 2;
        bytes[half..].fill(0);
        fs::write(&path, bytes).unwrap();
        // A bundle that lost its bytes, and one that is longer than it should be.
        let bundles = night.path("out/2026-11-22.partial/bundles/per_request");
        let recipient = fs::read_dir(&bundles).unwrap().next().unwrap().unwrap().path();
        let mut files = fs::read_dir(recipient).unwrap().map(|file| file.unwrap().path());
        let first = files.next().unwrap();
        fs::write(&first, vec![0; fs::metadata(&first).unwrap().len().try_into().unwrap()]).unwrap();
        fs::write(night.path("out/2026-11-22.partial/outcomes.parquet"), "PAR1").unwrap();
        fs::write(night.path("out/2026-11-22.partial/bundles/stray"), "stray").unwrap();
        let screen = run(&night);
        screen.says(3, &[]);
        assert!(screen.stdout.contains("gathered before"), "{}", screen.stdout);
        night.ieum(&["verify", "out/2026-11-22"]).says(0, &[]);
        let manifest = |night: &Broken| fs::read(night.path("out/2026-11-22/manifest.json")).unwrap();
        assert!(manifest(&night) == manifest(&whole), "{damaged}");
    }
}

#[track_caller]
fn wait_for(ready: impl Fn() -> bool) {
    for _ in 0..1000 {
        if ready() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("waited in vain");
}

#[test]
fn what_a_killed_run_left_is_swept_by_the_run_of_another_date_unless_it_can_go_on() {
    let night = Broken::calm();
    for name in ["2026-11-20", "2026-11-21", "reports"] {
        fs::create_dir_all(night.path(&format!("out/{name}.partial"))).unwrap();
        fs::write(night.path(&format!("out/{name}.partial/rows")), "of a person").unwrap();
    }
    File::create(night.path("out/2026-11-20.lock")).unwrap();
    fs::write(night.path("out/Cargo.lock"), "of somebody else").unwrap();
    let living = File::create(night.path("out/2026-11-21.lock")).unwrap();
    living.lock().unwrap();
    night.killed_at("gathered", &["--date", "2026-11-19"]);
    night.run().says(0, &["warning: an unfinished run of 2026-11-19", "`ieum gc` removes it"]);
    let left = || -> BTreeSet<String> {
        fs::read_dir(night.path("out"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    // What a living run writes is left alone, what can go on is, and so is what has no lock: it is not ours.
    let unfinished = ["2026-11-19.lock", "2026-11-19.partial", "2026-11-19.stage"];
    let others = [
        "2026-11-21.lock",
        "2026-11-21.partial",
        "2026-11-22",
        "2026-11-22.telemetry.json",
        "Cargo.lock",
        "ledger",
        "reports.partial",
    ];
    assert_eq!(left(), unfinished.iter().chain(&others).map(|name| (*name).to_owned()).collect());
    let status = night.ieum(&["status", "out", "--output", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    let run = |place: usize| (&status["runs"][place]["name"], &status["runs"][place]["state"]);
    assert_eq!(run(0), (&"2026-11-19".into(), &"unfinished".into()));
    assert_eq!(run(1), (&"2026-11-21".into(), &"left".into()));
    assert_eq!(run(2), (&"2026-11-22".into(), &"committed".into()));
    let collected = night.ieum(&["gc", "out"]);
    assert!(collected.stdout.starts_with("removed  2026-11-19  unfinished run"), "{}", collected.stdout);
    assert_eq!(left(), others.map(str::to_owned).into());
}

#[test]
fn a_dry_run_looks_at_a_committed_night_again() {
    let night = Broken::calm();
    night.run().says(0, &[]);
    let committed = fs::read(night.path("out/2026-11-22/manifest.json")).unwrap();
    let screen = night.ieum(&["run", "nightly.toml", "--dry-run"]);
    screen.says(0, &[]);
    assert!(screen.stdout.contains("dry run, nothing published"), "{}", screen.stdout);
    assert_eq!(fs::read(night.path("out/2026-11-22/manifest.json")).unwrap(), committed);
    assert_eq!(fs::read_dir(night.path("out")).unwrap().count(), 3, "the night, its telemetry, the ledger");
    night.ieum(&["verify", "out/2026-11-22"]).says(0, &[]);
}

#[test]
fn metrics_tell_of_a_commit_and_then_of_a_failure() {
    let night = Broken::calm();
    night.ieum(&["run", "nightly.toml", "--metrics-file", "ieum.prom"]).says(0, &[]);
    let has = |text: &str, line: &str| assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
    let value = |text: &str, name: &str| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    };
    let text = fs::read_to_string(night.path("ieum.prom")).unwrap();
    has(&text, "ieum_run_exit_code 0");
    has(&text, "ieum_run_requests{status=\"refused\"} 0");
    has(&text, "# TYPE ieum_run_rows gauge");
    let success = value(&text, "ieum_run_last_success_timestamp_seconds").unwrap();
    assert!(success > 1.7e9 && value(&text, "ieum_run_last_failure_timestamp_seconds").is_none(), "{text}");
    // The same night again: its output stands there.
    night.ieum(&["run", "nightly.toml", "--metrics-file", "ieum.prom"]).says(6, &["holds a committed run"]);
    let text = fs::read_to_string(night.path("ieum.prom")).unwrap();
    has(&text, "ieum_run_exit_code 6");
    assert_eq!(value(&text, "ieum_run_last_success_timestamp_seconds"), Some(success));
    assert!(value(&text, "ieum_run_last_failure_timestamp_seconds").unwrap() >= success);
    let unwritable = night.ieum(&["run", "nightly.toml", "--out", "other", "--metrics-file", "none/ieum.prom"]);
    unwritable.says(0, &["warning: metrics are not written"]);
}

#[test]
fn a_committed_output_is_never_overwritten() {
    let night = Broken::calm();
    night.run().says(0, &[]);
    let manifest = fs::read(night.path("out/2026-11-22/manifest.json")).unwrap();
    let screen = night.run();
    screen.says(6, &["holds a committed run", "out/2026-11-22", "hint: give another --out or --date"]);
    assert_eq!(screen.stdout, "");
    assert_eq!(fs::read(night.path("out/2026-11-22/manifest.json")).unwrap(), manifest);
}

#[test]
fn an_unknown_setting_is_answered_with_the_nearest() {
    let night = Broken::new();
    night.edit("nightly.toml", |text| format!("{text}memry = \"1 GiB\"\n"));
    let screen = night.run();
    screen.says(6, &["unknown setting `memry`", "line: ", "file: nightly.toml", "did you mean `memory`?"]);
    night.nothing_is_committed(&screen);
}

#[test]
fn problems_of_the_catalog_are_told_by_file_and_line() {
    let night = Broken::new();
    let file = "catalog/datasets/nhis/nhis_eligibility_history.toml";
    night.edit(file, |text| text.replacen("holder = \"nhis\"", "holder = \"nhix\"", 1));
    let words = ["nhis/nhis_eligibility_history.toml:3: unknown holder `nhix` (did you mean `nhis`?)"];
    night.ieum(&["catalog", "check", "catalog"]).says(6, &words);
    let screen = night.run();
    screen.says(6, &words);
    night.nothing_is_committed(&screen);
}

#[test]
fn wrong_usage_exits_with_2() {
    let night = Broken::new();
    night.ieum(&["run"]).says(2, &["<FILE>", "Usage: ieum run"]);
    night.ieum(&["rum", "nightly.toml"]).says(2, &["'run'"]);
    for json in [&["--output", "json"][..], &["--output=json"]] {
        let screen = night.ieum(&[&["run", "--threds", "2"][..], json].concat());
        screen.says(2, &["Usage: ieum run", "--threads"]);
        let last: serde_json::Value = serde_json::from_str(screen.stderr.lines().last().unwrap()).unwrap();
        assert_eq!((last["message_type"].as_str(), last["code"].as_u64()), (Some("exit_error"), Some(2)));
        assert!(last["message"].as_str().unwrap().contains("'--threds'"), "{last}");
    }
}

#[test]
fn a_failure_with_json_output_ends_with_one_object() {
    let night = Broken::new();
    fs::remove_file(night.path(KEY)).unwrap();
    let screen = night.ieum(&["run", "nightly.toml", "--output", "json"]);
    let last: serde_json::Value = serde_json::from_str(screen.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((last["message_type"].as_str(), last["code"].as_u64()), (Some("exit_error"), Some(12)));
}

#[test]
fn a_json_log_is_one_object_a_line_with_the_same_keys() {
    let night = Broken::new();
    let screen = night.ieum(&["run", "nightly.toml", "--log-format", "json", "-v"]);
    screen.says(3, &[]);
    let lines = |screen: &Screen| -> Vec<serde_json::Value> {
        let lines = screen.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")));
        lines.collect()
    };
    let told = lines(&screen);
    for line in &told {
        for key in ["ts", "level", "target", "run_id", "dataset", "stage", "msg"] {
            assert!(line.get(key).is_some(), "no {key} in {line}");
        }
    }
    let find = |words: &str| told.iter().find(|line| line["msg"].as_str().unwrap().contains(words)).unwrap();
    let rejected = find("rows could not be read");
    assert_eq!((&rejected["level"], &rejected["stage"]), (&"WARN".into(), &"gather".into()));
    assert_eq!(rejected["dataset"], "nhis_eligibility_history");
    assert!(rejected["run_id"].as_str().unwrap().starts_with("2026-11-22-"), "{rejected}");
    assert_eq!(find("`medication_history` is delayed")["stage"], "load");
    assert_eq!(find("assembled")["requests"], 200);
    let failed = lines(&night.ieum(&["run", "nightly.toml", "--log-format", "json"]));
    let last = failed.last().unwrap();
    assert!(last["level"] == "ERROR" && last["msg"].as_str().unwrap().contains("holds a committed run"), "{last}");
}

#[test]
fn help_opens_with_examples_that_run() {
    let folder = Broken::new();
    let help = folder.ieum(&["--help"]);
    let first = "Examples:\n  ieum check sample-data/nightly.toml\n  ieum explain sample-data/nightly.toml --dataset \
                 business_registration_cert\n  ieum run sample-data/nightly.toml\n\nLinks the exports of data holders \
                 into one bundle per request\n\nUsage: ieum [OPTIONS] <COMMAND>\n";
    assert!(help.stdout.starts_with(first), "{}", help.stdout);
    // Beside the repository's own output, if there is one.
    let root = tempfile::tempdir().unwrap();
    for part in ["catalog", "exports", "requests", "keys"] {
        copy(&repository().join("sample-data").join(part), &root.path().join("sample-data").join(part));
    }
    let nightly = "sample-data/nightly.toml";
    fs::copy(repository().join(nightly), root.path().join(nightly)).unwrap();
    for (command, code) in [(vec!["check"], 3), (vec!["explain"], 0), (vec!["catalog", "check"], 0)] {
        let help = folder.ieum(&[command.as_slice(), &["--help"]].concat()).stdout;
        let example = help.strip_prefix("Example:\n  ieum ").unwrap().lines().next().unwrap();
        let mut run = Command::new(env!("CARGO_BIN_EXE_ieum"));
        let screen = Screen::of(run.current_dir(root.path()).args(example.split(' ')).output().unwrap());
        screen.says(code, &[]);
        assert!(!screen.stdout.is_empty(), "{example}");
    }
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

const CATALOG: &str = "catalog/datasets/nhis/nhis_eligibility_history.toml";

#[test]
fn a_drift_of_columns_is_told_until_the_catalog_approves_it() {
    let night = Broken::calm();
    let check = night.ieum(&["source", "check", "nightly.toml", "nhis_eligibility_history"]);
    // Two rows of people that nobody asks for.
    check.says(3, &[]);
    assert!(check.stdout.contains("type acq_date"), "{}", check.stdout);
    let contract = check.stdout.lines().find(|line| line.starts_with("contract = ")).unwrap().to_owned();
    night.edit(CATALOG, |text| format!("{text}\n{contract}\n"));
    night.ieum(&["check", "nightly.toml"]).says(0, &[]);

    night.edit(ELIGIBILITY, |text| {
        text.replacen("acq_date,acq_reason", "acq_reason,acq_date", 1).replacen("cert_no", "cert_nr", 1)
    });
    let words = [
        "dataset `nhis_eligibility_history` is left out of the night: the columns of the export are not those",
        "`cert_no` is missing and `cert_nr` is new: it seems to be renamed",
        "the columns stand in another order from column 1 on",
        "hint: if the holder has said so, put what `ieum source check",
    ];
    night.ieum(&["check", "nightly.toml"]).says(3, &words);
    night.run().says(3, &words);
    night.assert_delayed("nhis_eligibility_history", "E_CONTRACT");
}

#[test]
fn an_export_that_shrank_needs_an_allowance() {
    let night = Broken::calm();
    let run = |date: &str| night.ieum(&["run", "nightly.toml", "--date", date]);
    run("2026-11-22").says(0, &[]);
    night.edit(ELIGIBILITY, |text| text.split_inclusive('\n').take(101).collect());
    let words = ["the export has 100 rows, the last run read", "max_shrink = 1"];
    run("2026-11-23").says(3, &words);
    run("2026-11-24").says(3, &words);
    night.edit(CATALOG, |text| format!("{text}\nmax_shrink = 0.95\n"));
    run("2026-11-25").says(0, &[]);
}

#[test]
fn an_export_without_its_completion_marker_is_late() {
    let night = Broken::calm();
    night.edit(CATALOG, |text| format!("{text}\ncontrol = {{ marker = \".fin\" }}\n"));
    let late = ["`nhis_eligibility_history` is delayed: the holder has not finished writing", "marker: .fin"];
    night.ieum(&["check", "nightly.toml"]).says(3, &late);
    fs::write(night.path(&format!("{ELIGIBILITY}.fin")), b"").unwrap();
    night.run().says(0, &[]);
}

#[test]
fn rejected_rows_are_shown_and_read_again_after_the_catalog_was_mended() {
    let night = Broken::calm();
    night.edit(ELIGIBILITY, |text| text.replacen("2018-11-05,09,", "2018-13-45,09,", 1));
    night.run().says(3, &["1 row could not be read"]);
    let show = |more: &[&str]| night.ieum(&[&["rejects", "show", "out/2026-11-22"][..], more].concat());
    let told = show(&[]);
    told.says(0, &[]);
    night.assert_no_row_value_in(&told);
    assert!(told.stdout.contains("type acq_date") && told.stdout.contains("first at line 2"), "{}", told.stdout);
    let told = show(&["--values"]);
    told.says(0, &["personal data"]);
    assert!(told.stdout.contains("2018-13-45,09,000000000000,주식회사 한빛농산"), "{}", told.stdout);
    let replay = || night.ieum(&["rejects", "replay", "nightly.toml", "out/2026-11-22"]);
    let told = replay();
    told.says(3, &[]);
    assert!(told.stdout.contains("0 of 1 can be read now"), "{}", told.stdout);
    night.edit(CATALOG, |text| {
        let (before, after) = text.split_once("[items.acq_date]").unwrap();
        format!("{before}[items.acq_date]{}", after.replacen("type = \"date\"", "type = \"str\"", 1))
    });
    let told = replay();
    told.says(0, &["run the night of the next date"]);
    assert!(told.stdout.contains("1 of 1 can be read now"), "{}", told.stdout);
}

#[test]
fn a_source_is_discovered_and_shown() {
    let night = Broken::calm();
    let told = night.ieum(&["source", "discover", ELIGIBILITY]);
    told.says(0, &[]);
    night.assert_no_row_value_in(&told);
    for line in ["format = \"csv\"", "encoding = \"utf-8\"", "[items.employer_nm]", "type = \"date\""] {
        assert!(told.stdout.lines().any(|told| told == line), "no {line} in\n{}", told.stdout);
    }
    let told = night.ieum(&["source", "read", "nightly.toml", "nhis_eligibility_history", "--limit", "1"]);
    told.says(0, &["personal data"]);
    assert_eq!(told.stdout.lines().count(), 2, "{}", told.stdout);
    assert!(told.stdout.starts_with("rrno\t") && told.stdout.contains("주식회사 한빛농산"));
    night
        .ieum(&["source", "read", "nightly.toml", "nhis_eligibility"])
        .says(6, &["did you mean `nhis_eligibility_history`?"]);
}
