//! `ieum bench` at its smallest: every point is judged, and what was measured is not measured again.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::Command;

use ieum::bench::record::Record;
use serde_json::Value;

/// The last line on stdout of a small benchmark into `out`, as JSON.
fn bench(out: &Path) -> Value {
    let catalog = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("sample-data/catalog");
    let done = Command::new(env!("CARGO_BIN_EXE_ieum"))
        .args(["bench", "--quick", "--people", "60", "--datasets", "3", "--most-requests", "10", "--output", "json"])
        .args(["--axis", "requests,threads,outputs,floor", "--catalog"])
        .args([&catalog, Path::new("--out"), out])
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

#[test]
fn a_benchmark_judges_every_point_and_goes_on_where_it_was() {
    let out = tempfile::tempdir().unwrap();
    let told = bench(out.path());
    let text = std::fs::read_to_string(out.path().join("bench.json")).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    let points = record["points"].as_array().unwrap();
    let labels: Vec<&str> = points.iter().map(|point| point["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["1", "10", "1", "2", "packed json", "packed parquet", "per_request json"]);
    for point in points {
        assert_eq!(point["lines_different"], 0, "{point}");
        assert!(point["lines"].as_u64() >= Some(3) && point["rounds"][0]["steps"]["gather"].as_f64() > Some(0.0));
    }
    assert_eq!(record["floors"].as_array().unwrap().len(), 3);
    // A floor takes two processes a round.
    assert_eq!(told["measured"], 7 + 2 * 3);
    assert!(told["bars"].as_array().unwrap().iter().all(|bar| bar["holds"] == true), "{told}");
    let page = std::fs::read_to_string(out.path().join("bench.html")).unwrap();
    assert!(labels.iter().all(|label| page.contains(label)));

    assert_eq!(bench(out.path())["measured"], 0);
    assert_eq!(std::fs::read_to_string(out.path().join("bench.json")).unwrap(), text);

    // Of a record that was interrupted, only what it lacks is measured.
    let mut begun: Record = serde_json::from_str(&text).unwrap();
    begun.points.remove(1);
    begun.floors.pop();
    std::fs::write(out.path().join("bench.json"), serde_json::to_vec(&begun).unwrap()).unwrap();
    assert_eq!(bench(out.path())["measured"], 1 + 2);
    let whole: Record = serde_json::from_slice(&std::fs::read(out.path().join("bench.json")).unwrap()).unwrap();
    assert_eq!((whole.points.len(), whole.floors.len()), (points.len(), 3));
}
