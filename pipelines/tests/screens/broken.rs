//! A night in which one thing is broken, and what a command shows of it.

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use arrow::array::Array;
use arrow::array::AsArray;
use arrow::array::StringArray;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use crate::folders::copy;

pub const INCOME: &str = "exports/nts/income_amount_cert/part-0000.csv.gz";
pub const ELIGIBILITY: &str = "exports/nhis/nhis_eligibility_history/part-0000.csv";
pub const ROSTER: &str = "exports/mois/resident_register_abstract/part-0000.dat";
pub const REQUESTS: &str = "requests/requests.csv";
pub const KEY: &str = "keys/sample.key";

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What a command showed.
pub struct Screen {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Screen {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    pub fn says(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in\n{}", self.stderr);
        }
        assert_eq!(self.stderr.matches("panicked").count(), 0, "{}", self.stderr);
        self
    }
}

/// A copy of the sample night in which one thing is broken.
pub struct Broken {
    pub folder: TempDir,
}

impl Broken {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sample = repository().join("sample-data");
        for part in ["catalog", "exports", "requests", "keys"] {
            copy(&sample.join(part), &folder.path().join(part));
        }
        fs::copy(sample.join("nightly.toml"), folder.path().join("nightly.toml")).unwrap();
        Self { folder }
    }

    /// Two requests and one export that keeps its contract: a night with nothing to look at.
    pub fn calm() -> Self {
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

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn edit(&self, name: &str, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        fs::write(self.path(name), change(text)).unwrap();
    }

    pub fn ieum(&self, arguments: &[&str]) -> Screen {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ieum"));
        Screen::of(command.current_dir(self.folder.path()).args(arguments).output().unwrap())
    }

    pub fn run(&self) -> Screen {
        let screen = self.ieum(&["run", "nightly.toml"]);
        self.assert_no_row_value_in(&screen);
        screen
    }

    /// A run that is killed when it comes to a step; only builds with debug assertions heed it.
    #[track_caller]
    pub fn killed_at(&self, step: &str, more: &[&str]) {
        let mut run = Command::new(env!("CARGO_BIN_EXE_ieum"));
        run.args(["run", "nightly.toml"]).args(more).current_dir(self.folder.path()).env("IEUM_KILL_AT", step);
        assert_eq!(run.output().unwrap().status.code(), None);
    }

    /// No identifier of the requests or of the exports that these tests break stands in a message.
    pub fn assert_no_row_value_in(&self, screen: &Screen) {
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
    pub fn nothing_is_committed(&self, screen: &Screen) {
        assert_eq!(screen.stdout, "");
        assert!(!self.path("out/2026-11-22").exists());
    }

    /// Text columns of a table of a verified output, row by row; null is empty.
    #[track_caller]
    pub fn table<const N: usize>(&self, date: &str, name: &str, columns: [&str; N]) -> BTreeSet<[String; N]> {
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
    pub fn outcomes(&self, dataset: &str) -> BTreeSet<(String, String)> {
        let answers = self.table("2026-11-22", "outcomes.parquet", ["dataset", "outcome", "reason"]);
        let of = answers.into_iter().filter(|[of, ..]| of == dataset);
        let found: BTreeSet<_> = of.map(|[_, outcome, reason]| (outcome, reason)).collect();
        assert!(!found.is_empty(), "no line of {dataset}");
        found
    }

    /// Of the lines that would have been read, every one is delayed for `reason` and none is delivered.
    #[track_caller]
    pub fn assert_delayed(&self, dataset: &str, reason: &str) {
        let outcomes = self.outcomes(dataset);
        assert!(outcomes.contains(&("delayed".to_owned(), reason.to_owned())), "{outcomes:?}");
        let read = ["provided", "partial", "not_found"];
        assert!(!outcomes.iter().any(|(outcome, _)| read.contains(&outcome.as_str())), "{outcomes:?}");
    }
}
