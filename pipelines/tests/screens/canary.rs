//! People with planted values, and everything that can go wrong: none of the values is told, in whatever way the night fails.
//!
//! A failure is a line of [`FAILURES`]: its name, the exit codes that it may end with, and what is done to the night.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::broken::{Broken, ELIGIBILITY, INCOME, KEY, REQUESTS};

/// What planted texts begin with.
const PLANTED: &str = "카나리";
const OUT: &str = "out/2026-11-22";

/// A night whose people carry planted values, and everything that was shown of it.
struct Night {
    night: Broken,
    log: &'static str,
    shown: RefCell<Vec<(String, String)>>,
}

/// What a value looks like where it is told: as text, escaped, and byte by byte.
fn spellings(value: &str) -> Vec<String> {
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut spelled = vec![value.to_owned(), hex.to_uppercase(), hex];
    if !value.is_ascii() {
        let of_bytes: String = value.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
        let of_units: String = value.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let of_letters: String = value.chars().map(|letter| format!("\\u{{{:x}}}", u32::from(letter))).collect();
        spelled.extend([of_bytes, of_units, of_letters]);
    }
    spelled
}

/// Every value that nothing may tell: planted texts, identifiers of all requests, the key.
fn values(night: &Broken) -> BTreeSet<String> {
    let requests = fs::read_to_string(night.path(REQUESTS)).unwrap();
    let ids = requests.lines().skip(1).filter_map(|line| line.split(',').nth(2)).flat_map(|ids| ids.split(';'));
    let ids = ids.filter_map(|id| id.split_once(':')).map(|(_, value)| value.trim().to_owned());
    let mut values: BTreeSet<String> = ids.filter(|value| value.chars().count() >= 8).collect();
    let key = fs::read_to_string(night.path(KEY)).unwrap();
    values.insert(key.split_whitespace().last().unwrap().to_owned());
    values.insert(PLANTED.to_owned());
    assert!(values.len() > 200, "{}", values.len());
    values
}

fn files_below(root: &Path) -> Vec<PathBuf> {
    let (mut files, mut open) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files
}

/// Where values may stand: bundles, answers, rejects, and what waits in the stage.
fn is_protected(path: &Path) -> bool {
    let folders = path.iter().any(|part| part == "bundles" || part == "rejects");
    folders
        || path
            .file_name()
            .is_some_and(|name| ["outcomes.parquet", "rows", "rejects", "keys"].iter().any(|of| name == *of))
}

/// What a file says: its bytes as text, and the cells of a Parquet file, whose pages are compressed.
fn says(path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    let file = bytes.starts_with(b"PAR1").then(|| File::open(path).unwrap());
    let reader = file.and_then(|file| ParquetRecordBatchReaderBuilder::try_new(file).ok()?.build().ok());
    for batch in reader.into_iter().flatten().map_while(Result::ok) {
        for column in batch.columns() {
            let cells = ArrayFormatter::try_new(column, &FormatOptions::default()).unwrap();
            (0..batch.num_rows()).for_each(|row| text += &format!("{}\n", cells.value(row)));
        }
    }
    text
}

/// Whether a spelling stands in bytes.
fn stands(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

impl Night {
    fn new(log: &'static str) -> Self {
        let night = Broken::new();
        night.edit(ELIGIBILITY, |text| {
            let planted = text.replace("이유우", "카나리이름").replace("한빛농산", "카나리상회");
            assert_ne!(planted, text);
            // One that cannot be read.
            format!("{planted}2018-11-05,09,카나리행\r\n")
        });
        night.edit(REQUESTS, |text| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let at = lines[0].split(',').position(|column| column == "agent").unwrap();
            for line in &mut lines[1..] {
                let mut cells: Vec<&str> = line.split(',').collect();
                // A confirmed one: the request is answered.
                (cells[at], cells[at + 1]) = ("카나리대리인", "true");
                *line = cells.join(",");
            }
            lines.join("\n") + "\n"
        });
        Self { night, log, shown: RefCell::default() }
    }

    fn show(&self, what: &str, output: &Output) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.shown.borrow_mut().push((what.to_owned(), text(&output.stdout) + &text(&output.stderr)));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ieum"));
        command.args(arguments).args(["-vvv", "--log-format", self.log]).current_dir(self.night.folder.path());
        command
    }

    fn ieum(&self, arguments: &[&str]) -> Option<i32> {
        let output = self.command(arguments).output().unwrap();
        self.show(&arguments.join(" "), &output);
        output.status.code()
    }

    /// A run that tells all that it can.
    fn loud(&self) -> Command {
        let mut command = self.command(&["run", "nightly.toml", "--status", "json", "--metrics-file", "ieum.prom"]);
        command.env("IEUM_STATUS_SECONDS", "0.05");
        command
    }

    fn run(&self) -> Option<i32> {
        self.run_with(&[])
    }

    fn run_with(&self, environment: &[(&str, &str)]) -> Option<i32> {
        let output = self.loud().envs(environment.iter().copied()).output().unwrap();
        self.show("run", &output);
        output.status.code()
    }

    fn ended_by(&self, signal: &str) -> Option<i32> {
        let mut command = Command::new("env");
        command.args(["--default-signal=TERM", "--default-signal=INT"]).arg(env!("CARGO_BIN_EXE_ieum"));
        command.args(self.loud().get_args()).current_dir(self.night.folder.path());
        command.env("IEUM_HOLD_AT", "shard.written").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut run = command.spawn().unwrap();
        let journal = self.night.path(&format!("{OUT}.stage/journal.ndjson"));
        while !fs::read_to_string(&journal).unwrap_or_default().contains("assembling") {
            assert!(run.try_wait().unwrap().is_none(), "it does not come to its shards");
            std::thread::yield_now();
        }
        assert!(Command::new("kill").args(["-s", signal, &run.id().to_string()]).status().unwrap().success());
        let output = run.wait_with_output().unwrap();
        self.show("run", &output);
        output.status.code()
    }

    /// Looks at what there is with every command that looks.
    fn look(&self) {
        for arguments in [
            &["check", "nightly.toml"][..],
            &["status", "out"],
            &["verify", OUT],
            &["report", OUT],
            &["ledger", "verify", "out", "--key", KEY],
        ] {
            self.ieum(arguments);
        }
    }

    /// The first place that tells one of the values.
    fn told(&self, values: &BTreeSet<String>) -> Option<String> {
        let spelled: Vec<String> = values.iter().flat_map(|value| spellings(value)).collect();
        let shown = self.shown.borrow();
        let on_screen = shown.iter().find(|(_, text)| spelled.iter().any(|value| text.contains(value.as_str())));
        let in_file = || {
            let inputs = ["exports", "requests", "keys", "catalog"].map(|input| self.night.path(input));
            let files = files_below(self.night.folder.path());
            let ours = files.into_iter().filter(|file| !inputs.iter().any(|input| file.starts_with(input)));
            let mut guarded = ours.filter(|file| !is_protected(file));
            guarded.find(|file| {
                let text = says(file);
                spelled.iter().any(|value| text.contains(value.as_str()))
            })
        };
        on_screen.map(|(what, _)| what.clone()).or_else(|| in_file().map(|file| file.display().to_string()))
    }
}

/// Its name, the exit codes that it may end with (none of a run that is killed), and what is done.
type Failure = (&'static str, &'static [Option<i32>], fn(&Night) -> Option<i32>);

/// Changes the bytes of every export with this ending, and cuts them where `change` says.
fn damaged(night: &Night, ending: &str, change: fn(&mut [u8]) -> usize) -> Option<i32> {
    let mut changed = 0;
    for path in files_below(&night.night.path("exports")) {
        if path.to_string_lossy().ends_with(ending) {
            let mut bytes = fs::read(&path).unwrap();
            let length = change(&mut bytes);
            fs::write(&path, &bytes[..length]).unwrap();
            changed += 1;
        }
    }
    assert!(changed > 0, "{ending}");
    night.run()
}

fn cut(bytes: &mut [u8]) -> usize {
    bytes.len() * 2 / 3
}

fn scratched(bytes: &mut [u8]) -> usize {
    let length = bytes.len();
    for at in (length / 3..length).step_by((length / 40).max(7)) {
        bytes[at] ^= 0x55;
    }
    length
}

/// Every digit that may be one of a key is no text any more.
fn undecodable(bytes: &mut [u8]) -> usize {
    let starts: Vec<usize> =
        bytes.windows(13).enumerate().filter(|(_, w)| w.iter().all(u8::is_ascii_digit)).map(|(at, _)| at).collect();
    for at in starts.into_iter().step_by(3) {
        bytes[at + 6] = 0xff;
    }
    bytes.len()
}

fn edited(night: &Night, name: &str, change: impl FnOnce(String) -> String) -> Option<i32> {
    night.night.edit(name, change);
    night.run()
}

/// One byte of a file of a committed output is another.
fn tampered(night: &Night, name: &str) -> Option<i32> {
    assert_eq!(night.run(), Some(3));
    let path = files_below(&night.night.path("out")).into_iter().find(|path| path.to_string_lossy().contains(name));
    let path = path.unwrap_or_else(|| panic!("no {name}"));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    night
        .ieum(&["ledger", "verify", "out", "--key", KEY])
        .filter(|code| *code != 0)
        .or_else(|| night.ieum(&["verify", OUT]))
}

const LOOK: &[Option<i32>] = &[Some(3)];
const CONFIG: &[Option<i32>] = &[Some(6)];
const FAILURES: &[Failure] = &[
    ("nothing", LOOK, Night::run),
    ("a column is renamed", LOOK, |night| edited(night, ELIGIBILITY, |text| text.replacen("rrno", "resident_no", 1))),
    ("a header is missing", LOOK, |night| {
        edited(night, ELIGIBILITY, |text| text.split_once('\n').unwrap().1.to_owned())
    }),
    ("too many ragged rows", LOOK, |night| edited(night, ELIGIBILITY, |text| text.replace(",0", ",0,0"))),
    ("csv is cut", LOOK, |night| damaged(night, ".csv", cut)),
    ("csv is scratched", LOOK, |night| damaged(night, ".csv", scratched)),
    ("gz is cut", LOOK, |night| damaged(night, ".gz", cut)),
    ("gz is scratched", LOOK, |night| damaged(night, ".gz", scratched)),
    ("fixed width is cut", LOOK, |night| damaged(night, ".dat", cut)),
    ("fixed width is scratched", LOOK, |night| damaged(night, ".dat", scratched)),
    ("parquet is cut", LOOK, |night| damaged(night, ".parquet", cut)),
    ("parquet is scratched", LOOK, |night| damaged(night, ".parquet", scratched)),
    ("keys cannot be decoded", LOOK, |night| damaged(night, ".csv", undecodable)),
    ("keys of fixed width cannot be decoded", LOOK, |night| damaged(night, ".dat", undecodable)),
    ("an export is another's", LOOK, |night| {
        fs::copy(night.night.path(ELIGIBILITY), night.night.path(INCOME)).unwrap();
        night.run()
    }),
    ("the requests have no header", CONFIG, |night| {
        edited(night, REQUESTS, |text| text.split_once('\n').unwrap().1.to_owned())
    }),
    ("requests are malformed", LOOK, |night| {
        edited(night, REQUESTS, |text| text.replace("rrno:", "").replace("false,,,30", "카나리,카나리,,카나리"))
    }),
    ("requests name what there is not", LOOK, |night| {
        edited(night, REQUESTS, |text| text.replace(",lh,", ",카나리,").replace(",person,", ",person,카나리"))
    }),
    ("withdrawals are malformed", CONFIG, |night| {
        edited(night, "requests/withdrawals.csv", |text| format!("{text}R1,카나리,카나리\n"))
    }),
    ("consents are malformed", CONFIG, |night| {
        fs::write(night.night.path("requests/consents.jsonld"), "{\"@id\": \"카나리\", \"dpv:hasPurpose\": 카나리}")
            .unwrap();
        edited(night, "nightly.toml", |text| format!("{text}\nconsents = \"requests/consents.jsonld\"\n"))
    }),
    ("consents are no records", LOOK, |night| {
        fs::write(night.night.path("requests/consents.jsonld"), "[{\"@id\": \"카나리\"}, \"카나리\"]").unwrap();
        edited(night, "nightly.toml", |text| format!("{text}\nconsents = \"requests/consents.jsonld\"\n"))
    }),
    ("the list of protected persons is malformed", CONFIG, |night| {
        let list = night.night.path("requests/protected.txt");
        fs::write(&list, "rrno:카나리\n").unwrap();
        fs::set_permissions(&list, fs::Permissions::from_mode(0o600)).unwrap();
        edited(night, "nightly.toml", |text| format!("{text}\nprotected = \"requests/protected.txt\"\n"))
    }),
    ("the key is missing", &[Some(12)], |night| {
        fs::rename(night.night.path(KEY), night.night.path("keys/elsewhere.key")).unwrap();
        let code = night.run();
        fs::rename(night.night.path("keys/elsewhere.key"), night.night.path(KEY)).unwrap();
        code
    }),
    ("the key is cut", &[Some(12)], |night| {
        let whole = fs::read_to_string(night.night.path(KEY)).unwrap();
        let code = edited(night, KEY, |text| text.trim_end()[..text.trim_end().len() - 1].to_owned());
        night.night.edit(KEY, |_| whole);
        code
    }),
    ("the disk is full", &[Some(5)], |night| {
        let mut command = Command::new("bash");
        command
            .args(["-c", "ulimit -f 48; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ieum")])
            .args(night.loud().get_args());
        let output = command.current_dir(night.night.folder.path()).output().unwrap();
        night.show("run", &output);
        output.status.code()
    }),
    ("the output cannot be written", &[Some(5), Some(6)], |night| {
        fs::write(night.night.path("out"), "a file").unwrap();
        night.run()
    }),
    ("memory does not suffice", &[Some(3), Some(5)], |night| {
        let output = night.loud().args(["--memory", "1 MiB"]).output().unwrap();
        night.show("run", &output);
        output.status.code()
    }),
    ("SIGINT", &[Some(130)], |night| night.ended_by("INT")),
    ("SIGTERM", &[Some(143)], |night| night.ended_by("TERM")),
    ("killed while it gathers", &[None], |night| night.run_with(&[("IEUM_KILL_AT", "reading.kept:9")])),
    ("killed before its commit", &[None], |night| night.run_with(&[("IEUM_KILL_AT", "commit.synced")])),
    ("killed, and goes on from something else", CONFIG, |night| {
        assert_eq!(night.run_with(&[("IEUM_KILL_AT", "gathered")]), None);
        edited(night, ELIGIBILITY, |text| text.replace("카나리이름", "카나리성명"))
    }),
    ("killed, and what it gathered is damaged", LOOK, |night| {
        assert_eq!(night.run_with(&[("IEUM_KILL_AT", "gathered")]), None);
        let rows = night.night.path(&format!("{OUT}.stage/rows"));
        let mut bytes = fs::read(&rows).unwrap();
        scratched(&mut bytes);
        fs::write(&rows, bytes).unwrap();
        night.run()
    }),
    ("killed, and its journal is damaged", &[Some(20)], |night| {
        assert_eq!(night.run_with(&[("IEUM_KILL_AT", "gathered")]), None);
        let journal = night.night.path(&format!("{OUT}.stage/journal.ndjson"));
        let mut bytes = fs::read(&journal).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&journal, bytes).unwrap();
        night.run()
    }),
    ("a panic", &[Some(1)], |night| night.run_with(&[("IEUM_PANIC_AT", "gathered"), ("IEUM_PANIC_WITH", "카나리")])),
    ("a panic of a shard", &[Some(1)], |night| {
        night.run_with(&[("IEUM_PANIC_AT", "shard.written"), ("IEUM_PANIC_WITH", "카나리")])
    }),
    ("a bundle is tampered with", &[Some(20)], |night| tampered(night, "bundles/packed")),
    ("answers are tampered with", &[Some(20)], |night| tampered(night, "outcomes.parquet")),
    ("rejects are tampered with", &[Some(20)], |night| tampered(night, "rejects/rows.ndjson")),
    ("the manifest is tampered with", &[Some(20)], |night| tampered(night, "manifest.json")),
    ("the ledger is tampered with", &[Some(20)], |night| tampered(night, "ledger/chain.ndjson")),
];

#[test]
fn no_planted_value_is_told_however_a_night_fails() {
    for (name, codes, fails) in FAILURES {
        for log in ["text", "json"] {
            let night = Night::new(log);
            let values = values(&night.night);
            let code = fails(&night);
            let shown = || night.shown.borrow().iter().map(|(_, text)| text.clone()).collect::<String>();
            assert!(codes.contains(&code), "{name}: {code:?}\n{}", shown());
            night.look();
            assert_eq!(night.told(&values), None, "{name} ({log})");
        }
    }
}

/// The scan is worth something: it finds what it looks for where that is allowed to stand, and where it is not.
#[test]
fn a_planted_value_is_found_where_it_stands() {
    let night = Night::new("json");
    let values = values(&night.night);
    assert_eq!(night.run(), Some(3));
    let spelled: Vec<String> = values.iter().flat_map(|value| spellings(value)).collect();
    let found = |part: &str, value: &str| {
        let files = files_below(&night.night.path(OUT)).into_iter();
        let mut files = files.filter(|path| path.iter().any(|name| name == part));
        files.any(|path| spellings(value).iter().any(|spelling| stands(&fs::read(&path).unwrap(), spelling)))
    };
    assert!(found("bundles", PLANTED), "people have their own values in their bundles");
    let answers =
        files_below(&night.night.path(OUT)).into_iter().find(|path| path.ends_with("outcomes.parquet")).unwrap();
    assert!(says(&answers).contains("E_CONTROL_TOTALS"), "compressed pages are read");
    assert!(found("rejects", PLANTED), "a row that cannot be read is kept as it is");
    assert!(!found("receipts", PLANTED) && !found("ledger", PLANTED));
    // Neither a screen nor a guarded file with a value passes.
    assert_eq!(night.told(&values), None);
    for (name, value) in [("out/2026-11-22.telemetry.json", &spelled[0]), ("ieum.prom", &spelled[spelled.len() - 1])] {
        let sound = fs::read(night.night.path(name)).unwrap();
        fs::write(night.night.path(name), [sound.as_slice(), value.as_bytes()].concat()).unwrap();
        assert!(night.told(&values).unwrap().ends_with(name));
        fs::write(night.night.path(name), sound).unwrap();
    }
    let leak = Command::new("echo").arg(format!("a row of {}", spelled[3])).output().unwrap();
    night.show("echo", &leak);
    assert_eq!(night.told(&values).as_deref(), Some("echo"));
}
