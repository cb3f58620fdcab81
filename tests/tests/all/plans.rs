//! The plans of the small night, as they stand in `tests/plans`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use ieum_core::explain;
use ieum_model::request::Request;
use ieum_tests::small_night::{self, FIRST, Making, SECOND};

fn requests() -> Vec<Request> {
    let make = |id: &str, subject: &str, field: (&str, &str)| {
        let subject = format!("rrno:{subject}");
        small_night::request(&[("request_id", id), ("subject_ids", &subject), field]).unwrap()
    };
    vec![
        make("r1", FIRST, ("service", "fund")),
        make("r2", SECOND, ("service", "fund")),
        make("r3", SECOND, ("documents", "income(payer)")),
    ]
}

/// Text of the plans of each dataset.
fn plans() -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    small_night::write_exports(&folder.path().join("exports"), &small_night::exports()).unwrap();
    let sources = small_night::catalog_sources();
    let night = small_night::night(folder.path(), &sources, requests(), &[], Making::default()).unwrap();
    let mut plans: BTreeMap<String, String> = BTreeMap::new();
    for plan in explain::explain(&night).unwrap() {
        let text = plans.entry(plan.dataset).or_default();
        let columns: Vec<String> =
            plan.columns.iter().map(|asked| format!("{}:{}", asked.column, asked.lines)).collect();
        writeln!(text, "# wave {}, key {} ({})", plan.wave, plan.key_column, plan.space).unwrap();
        writeln!(text, "# lines {}, columns {}", plan.requests, columns.join(" ")).unwrap();
        writeln!(text, "{}\n", plan.plan.trim_end()).unwrap();
    }
    plans
}

/// The lines that differ, `-` kept and `+` new.
fn diff(kept: &str, new: &str) -> String {
    let (kept, new): (Vec<&str>, Vec<&str>) = (kept.lines().collect(), new.lines().collect());
    let mut text = String::new();
    for at in 0..kept.len().max(new.len()) {
        let (old, now) = (kept.get(at), new.get(at));
        if old != now {
            old.iter().for_each(|line| writeln!(text, "{:>4} - {line}", at + 1).unwrap());
            now.iter().for_each(|line| writeln!(text, "{:>4} + {line}", at + 1).unwrap());
        }
    }
    text
}

#[test]
fn the_plans_of_the_small_night_are_the_kept_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let bless = std::env::var_os("IEUM_BLESS").is_some_and(|value| value == "1");
    let plans = plans();
    if bless {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        plans.iter().for_each(|(dataset, text)| fs::write(folder.join(format!("{dataset}.txt")), text).unwrap());
    }
    let mut differences = String::new();
    for (dataset, text) in &plans {
        let kept = fs::read_to_string(folder.join(format!("{dataset}.txt"))).unwrap_or_default();
        if kept != *text {
            writeln!(differences, "tests/plans/{dataset}.txt\n{}", diff(&kept, text)).unwrap();
        }
    }
    let files = fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    let files: BTreeSet<String> = files.map(|name| name.to_string_lossy().into_owned()).collect();
    for file in files.iter().filter(|file| !plans.contains_key(file.trim_end_matches(".txt"))) {
        writeln!(differences, "tests/plans/{file}\n     - no such plan any more").unwrap();
    }
    assert!(
        differences.is_empty(),
        "plans changed; if that is meant, set IEUM_BLESS=1 to rewrite the files\n{differences}"
    );
}
