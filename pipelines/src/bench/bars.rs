//! What was promised, held against what was measured.
//!
//! Of times, only ratios of runs of the same round count, and a median of at least [`FEWEST_ROUNDS`]; what was not
//! measured so often has no bar.

use super::floors::{SCAN, ratios};
use super::measure::Cost;
use super::peers::{NAMES, OWN};
use super::plan::Axis;
use super::record::{Bar, Comparison, Point, Record, Round};
use crate::page::quantity::median;
use crate::screen::grouped;

/// Rounds that a median of times needs.
pub const FEWEST_ROUNDS: usize = 5;
/// Requests up to which a night costs about as much as its scan.
const MOST_REQUESTS: f64 = 100_000.0;

/// A scan may take so many times its physical floor.
const SCAN_TEXT: f64 = 1.5;
const SCAN_PARQUET: f64 = 2.0;
/// The scan for many requests over that for one.
const MANY_REQUESTS: f64 = 1.3;
/// The whole night for twice as much.
const TWICE: f64 = 2.1;
/// One thread over two.
const TWO_THREADS: f64 = 1.7;
/// Ten times the people from staged copies.
const STAGED: f64 = 1.5;
/// The best peer over ieum, in wall and in CPU time.
const PEERS_PACKED: f64 = 5.0;
const PEERS_PER_REQUEST: f64 = 4.0;

/// Every bar that the record has measurements for.
pub fn bars(record: &Record) -> Vec<Bar> {
    let mut bars: Vec<Bar> = record.comparisons.iter().flat_map(of_peers).collect();
    for (format, ratio) in ratios(&record.floors, FEWEST_ROUNDS) {
        let bar = if format == "parquet" { SCAN_PARQUET } else { SCAN_TEXT };
        let share = record.floors.iter().find(|floor| floor.format == format).map_or(0.0, |floor| floor.asked_share);
        let name = format!("{format}: scan with {} % of the people asked for, over its floor", share * 100.0);
        bars.push(Bar::at_most(name, bar, ratio, "×"));
    }
    bars.extend(of_requests(record));
    bars.extend([Axis::People, Axis::Datasets].into_iter().filter_map(|axis| of_doubling(record, axis)));
    bars.extend(of_threads(record));
    bars.extend(of_staged(record));
    bars.extend(of_memory(record));
    if !record.points.is_empty() {
        let different = record.points.iter().map(|point| point.lines_different).sum::<u64>();
        bars.push(Bar::at_most("lines that differ from the expected answers", 0.0, different as f64, "lines"));
    }
    bars
}

fn wall(round: &Round) -> Option<f64> {
    Some(round.cost.wall_seconds)
}

fn cpu(round: &Round) -> Option<f64> {
    Some(round.cost.cpu_seconds)
}

fn scan(round: &Round) -> Option<f64> {
    round.steps.get(SCAN).copied()
}

/// Median of the ratios of the same round.
fn paired(over: &Point, under: &Point, of: fn(&Round) -> Option<f64>) -> Option<f64> {
    let rounds = over.rounds.iter().zip(&under.rounds);
    let ratios: Vec<f64> = rounds.filter_map(|(over, under)| Some(of(over)? / of(under)?)).collect();
    (ratios.len() >= FEWEST_ROUNDS).then(|| median(ratios))
}

/// The points of an axis in rising order.
fn points(record: &Record, axis: Axis) -> Vec<&Point> {
    let name = axis.name();
    let mut found: Vec<&Point> = record.points.iter().filter(|point| point.axis == name).collect();
    found.sort_by(|one, other| one.value.total_cmp(&other.value));
    found
}

/// The largest ratio of the pairs, and the pair.
fn largest<'a>(
    pairs: impl Iterator<Item = (&'a Point, &'a Point)>,
    of: fn(&Round) -> Option<f64>,
) -> Option<(f64, &'a Point, &'a Point)> {
    let ratios = pairs.filter_map(|(under, over)| Some((paired(over, under, of)?, under, over)));
    ratios.max_by(|one, other| one.0.total_cmp(&other.0))
}

fn of_requests(record: &Record) -> Option<Bar> {
    let points = points(record, Axis::Requests);
    let one = *points.iter().find(|point| point.value == 1.0)?;
    let many = || points.iter().filter(|point| point.value > 1.0 && point.value <= MOST_REQUESTS).map(|of| (one, *of));
    let (ratio, _, dearest) = largest(many(), scan)?;
    let most = many().next_back().map_or(one, |(_, most)| most);
    let whole = paired(most, one, wall).unwrap_or(0.0);
    let name = format!(
        "1 to {most} requests: the step `{SCAN}` over that of one request, dearest at {} (the whole night of {most}: \
         {whole:.2}×)",
        dearest.label,
        most = most.label
    );
    Some(Bar::at_most(name, MANY_REQUESTS, ratio, "×"))
}

fn of_doubling(record: &Record, axis: Axis) -> Option<Bar> {
    let points = points(record, axis);
    let pairs = points.iter().flat_map(|under| points.iter().map(|over| (*under, *over)));
    let (ratio, under, over) = largest(pairs.filter(|(under, over)| over.value == 2.0 * under.value), wall)?;
    let name = format!("doubling {}: the whole night, dearest from {} to {}", axis.name(), under.label, over.label);
    Some(Bar::at_most(name, TWICE, ratio, "×"))
}

fn of_threads(record: &Record) -> Option<Bar> {
    let points = points(record, Axis::Threads);
    let of = |threads: f64| points.iter().find(|point| point.value == threads).copied();
    Some(Bar::at_least(
        "two threads: the whole night on one over that on two",
        TWO_THREADS,
        paired(of(1.0)?, of(2.0)?, wall)?,
        "×",
    ))
}

fn of_staged(record: &Record) -> Vec<Bar> {
    let points = points(record, Axis::Staged);
    let (Some(under), Some(over)) = (points.first(), points.last()) else { return Vec::new() };
    type Measure = (&'static str, fn(&Round) -> Option<f64>);
    let measures: [Measure; 2] = [("wall", wall), ("CPU", cpu)];
    let bar = |(of, cost)| {
        let name =
            format!("staged exports: {of} time of {} people over {}, the same requests", over.label, under.label);
        Some(Bar::at_most(name, STAGED, paired(over, under, cost)?, "×"))
    };
    measures.into_iter().filter(|_| under.value < over.value).filter_map(bar).collect()
}

fn of_memory(record: &Record) -> Option<Bar> {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let own = record.comparisons.iter().filter_map(|comparison| comparison.rounds.get(OWN)).flatten();
    let peaks = record.points.iter().map(Point::peak_bytes).chain(own.map(|cost| cost.peak_bytes));
    let limit = record.settings.memory_bytes;
    Some(Bar::at_most("peak memory at every point, as the system counts it", mib(limit), mib(peaks.max()?), "MiB"))
}

fn of_peers(comparison: &Comparison) -> Vec<Bar> {
    let night = &comparison.night;
    let (datasets, people, requests) = (night.datasets, grouped(night.people), grouped(night.requests));
    let what = format!("{}, {datasets} datasets, {people} people, {requests} requests", comparison.title);
    let peers: Vec<&str> = NAMES.into_iter().filter(|name| comparison.rounds.contains_key(*name)).collect();
    let all = NAMES.len() as f64;
    let mut bars = vec![Bar::at_least(format!("{what}: peers with the same output"), all, peers.len() as f64, "peers")];
    let faster = if night.layout == "per_request" { PEERS_PER_REQUEST } else { PEERS_PACKED };
    type Measure = (&'static str, f64, fn(&Cost) -> f64);
    let measures: [Measure; 3] = [
        ("wall time", faster, |cost| cost.wall_seconds),
        ("CPU time", faster, |cost| cost.cpu_seconds),
        ("peak memory", 1.0, |cost| cost.peak_bytes as f64),
    ];
    let enough = comparison.rounds.get(OWN).is_some_and(|rounds| rounds.len() >= FEWEST_ROUNDS);
    for (of, bar, cost) in measures.into_iter().filter(|_| enough) {
        let ratios = peers.iter().filter_map(|name| Some((comparison.ratio(name, cost)?.0, *name)));
        if let Some((ratio, best)) = ratios.min_by(|one, other| one.0.total_cmp(&other.0)) {
            bars.push(Bar::at_least(format!("{what}: {of} of the best peer ({best}) over ieum's"), bar, ratio, "×"));
        }
    }
    bars
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::record::{Floor, Night, Settings};
    use super::*;

    /// A point of five rounds whose wall seconds are those, and whose scan takes half of them.
    fn point(axis: Axis, value: f64, walls: [f64; 5]) -> Point {
        let round = |wall: &f64| Round {
            cost: Cost { wall_seconds: *wall, cpu_seconds: 2.0 * wall, peak_bytes: 300 << 20 },
            steps: [(SCAN.to_owned(), wall / 2.0)].into(),
        };
        Point {
            axis: axis.name(),
            label: value.to_string(),
            value,
            night: Night::default(),
            rounds: walls.iter().map(round).collect(),
            rows_read: 1,
            rows_kept: 1,
            bytes_read: 1,
            lines: 10,
            lines_different: 0,
        }
    }

    fn record(points: Vec<Point>) -> Record {
        let settings = Settings { memory_bytes: 1 << 30, ..Default::default() };
        Record { points, settings, ..Default::default() }
    }

    fn find<'a>(bars: &'a [Bar], name: &str) -> &'a Bar {
        bars.iter().find(|bar| bar.name.contains(name)).unwrap_or_else(|| panic!("{bars:?}"))
    }

    #[test]
    fn ratios_are_of_the_same_round_and_the_dearest_counts() {
        let twice = [[1.0, 2.0, 3.0, 4.0, 50.0], [2.0, 4.0, 6.0, 8.0, 100.0], [4.4, 8.8, 13.2, 17.6, 1.0]];
        let points = [1e5, 2e5, 4e5].iter().zip(twice).map(|(people, walls)| point(Axis::People, *people, walls));
        let bars = bars(&record(points.collect()));
        let people = find(&bars, "doubling people");
        assert!((people.value - 2.2).abs() < 1e-9 && !people.holds, "{people:?}");
        assert!(people.name.contains("from 200000 to 400000"), "{people:?}");
        assert!(find(&bars, "peak memory").holds && find(&bars, "lines that differ").holds);
        assert_eq!(bars.len(), 3, "{bars:?}");
    }

    #[test]
    fn a_million_requests_are_no_part_of_the_scans_bar() {
        let points = [(1.0, 1.0), (1e5, 1.2), (1e6, 9.0)];
        let points = points.iter().map(|(requests, wall)| point(Axis::Requests, *requests, [*wall; 5]));
        let bars = bars(&record(points.collect()));
        let requests = find(&bars, "1 to 100000 requests");
        assert!((requests.value - 1.2).abs() < 1e-9 && requests.holds, "{requests:?}");
    }

    #[test]
    fn a_time_measured_less_than_five_times_has_no_bar() {
        let mut few: Vec<Point> = [1.0, 2.0].iter().map(|n| point(Axis::Threads, *n, [2.0 / n; 5])).collect();
        assert_eq!(find(&bars(&record(few.clone())), "two threads").value, 2.0);
        few[0].rounds.pop();
        few[1].lines_different = 3;
        let bars = bars(&record(few));
        assert_eq!(bars.len(), 2, "{bars:?}");
        assert!(!find(&bars, "lines that differ").holds);
    }

    #[test]
    fn the_best_peer_and_every_format_have_their_own_bar() {
        let cost =
            |factor: f64| Cost { wall_seconds: factor, cpu_seconds: 6.0 * factor, peak_bytes: (100.0 * factor) as u64 };
        let times = [(OWN, 1.0), ("duckdb", 7.0), ("polars", 5.5), ("datafusion", 9.0)];
        let rounds = times.iter().map(|(name, factor)| ((*name).to_owned(), vec![cost(*factor); 5])).collect();
        let night = Night { layout: "packed".to_owned(), ..Default::default() };
        let comparison = Comparison { title: "packed json".to_owned(), night, verdicts: Default::default(), rounds };
        let floor = |format: &str, scan: f64| Floor {
            format: format.to_owned(),
            asked_share: 0.01,
            bytes: 1,
            rows: 1,
            floor_seconds: vec![1.0; 5],
            scan_seconds: vec![scan; 5],
        };
        let floors = vec![floor("csv", 1.6), floor("parquet", 1.9)];
        let bars = bars(&Record { comparisons: vec![comparison], floors, ..Default::default() });
        assert_eq!(find(&bars, "wall time of the best peer (polars)").value, 5.5);
        assert!(find(&bars, "peers with the same output").holds && find(&bars, "peak memory of").holds);
        assert!(!find(&bars, "csv: scan with 1 %").holds && find(&bars, "parquet: scan").holds);
    }
}
