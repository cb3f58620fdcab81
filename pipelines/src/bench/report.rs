//! A benchmark as one page to read: no script, nothing loaded from elsewhere, plots inside, light and dark.
//!
//! ```text
//!  head ─► promises ─► comparisons ─► floors ─► one section an axis: plots, growth, every point
//! ```

use std::iter::once;

use super::measure::{Cost, growth_exponent};
use super::record::{Bar, Comparison, Floor, Night, Point, Record};
use crate::page::plot::{Measured, Plot, Series, stacked};
use crate::page::quantity::{Quantity, digits, round_digits};
use crate::page::{self, escape, row, table};
use crate::screen::grouped;

/// Steps of a run, in their order; others stand after them.
const STEPS: [&str; 6] = ["load", "plan", "gather", "assemble", "records", "commit"];

/// The page of a record. What was not measured is not on it.
pub fn html(record: &Record) -> String {
    let comparisons = record.comparisons.iter().map(comparison);
    let axes = axes(&record.points).into_iter().map(|(axis, points)| by_axis(axis, &points));
    let sections: Vec<Section> = once(promises(&record.bars))
        .chain(comparisons)
        .chain(once(floors(&record.floors)))
        .chain(axes)
        .filter(|section| !section.body.is_empty())
        .collect();
    let link = |(nr, section): (usize, &Section)| format!("<a href=\"#part-{nr}\">{}</a> ", escape(&section.title));
    let links: String = sections.iter().enumerate().map(link).collect();
    let part = |(nr, section): (usize, &Section)| {
        format!("<section id=\"part-{nr}\"><h2>{}</h2>\n{}</section>\n", escape(&section.title), section.body)
    };
    let parts: String = sections.iter().enumerate().map(part).collect();
    let body = format!("<main>\n{}<nav>{links}</nav>\n{parts}</main>\n", head(record));
    page::html("en", "ieum bench", include_str!("report.css"), &body)
}

/// A part of the page; without a body it is left out.
struct Section {
    title: String,
    body: String,
}

fn head(record: &Record) -> String {
    let (machine, settings) = (&record.machine, &record.settings);
    let facts = [
        ("processor", machine.processor.clone()),
        ("processors", machine.processors.to_string()),
        ("memory", Quantity::Bytes.text(machine.memory_bytes as f64)),
        ("system", machine.system.clone()),
        ("people", grouped(settings.people)),
        ("requests", grouped(settings.requests)),
        ("datasets", format!("{} and the register of changed numbers", settings.datasets)),
        ("threads", settings.threads.to_string()),
        ("memory limit", Quantity::Bytes.text(settings.memory_bytes as f64)),
        ("rounds", settings.rounds.to_string()),
        ("seed", settings.seed.to_string()),
        ("program", format!("ieum {}, SHA-256 {}", record.version, record.program)),
        ("format", record.format.clone()),
    ];
    let facts: String = facts.iter().map(|(name, fact)| row("", &[(*name).to_owned(), fact.clone()])).collect();
    let note = "Times are the median of the rounds, with the least and the most; peak memory is the most of any round. \
                Points have the sizes of this table unless they say otherwise.";
    format!(
        "<h1>ieum bench</h1>\n<p>{}</p>\n\
         <div class=\"wide\"><table class=\"words\"><tbody>\n{facts}</tbody></table></div>\n\
         <p class=\"soft\">{note}</p>\n",
        escape(&summary(record)),
    )
}

/// What was measured, and how many promises hold.
fn summary(record: &Record) -> String {
    let axes: Vec<&str> = axes(&record.points).iter().map(|(axis, _)| *axis).collect();
    let measured = [
        (record.points.len(), format!("{} by {}", plural(record.points.len(), "point", "points"), axes.join(", "))),
        (record.floors.len(), format!("{} beside the floor", plural(record.floors.len(), "scan", "scans"))),
        (record.comparisons.len(), plural(record.comparisons.len(), "comparison", "comparisons")),
    ];
    let measured: Vec<String> = measured.into_iter().filter(|(count, _)| *count > 0).map(|(_, words)| words).collect();
    if measured.is_empty() {
        return "Nothing was measured.".to_owned();
    }
    let held = record.bars.iter().filter(|bar| bar.holds).count();
    let promises = plural(record.bars.len(), "promise", "promises");
    format!("Measured: {}. {held} of {promises} held.", measured.join("; "))
}

fn promises(bars: &[Bar]) -> Section {
    let rows = bars.iter().map(|bar| {
        let promised = if bar.bar.fract() == 0.0 { digits(bar.bar) } else { round_digits(bar.bar) };
        // Just beside its bar a value is written out: `1.20, at most 1.2, does not hold` would be a riddle.
        let beside = digits(bar.value) == digits(bar.bar) && bar.value != bar.bar;
        let value = if beside { round_digits(bar.value) } else { digits(bar.value) };
        let with_unit = |number: &str| format!("{number}\u{a0}{}", bar.unit);
        let (class, word) = if bar.holds { ("holds", "holds") } else { ("fails", "does not hold") };
        let promised = format!("{} {}", bar.relation, with_unit(&promised));
        (class, vec![bar.name.clone(), promised, with_unit(&value), word.to_owned()])
    });
    let body = table("promises", &["promise", "bar", "measured", ""], rows);
    Section { title: "Promises".to_owned(), body: some_of(bars, body) }
}

fn comparison(comparison: &Comparison) -> Section {
    let peers = comparison.rounds.keys().chain(comparison.verdicts.keys()).filter(|name| *name != "ieum");
    let mut engines: Vec<&str> = peers.map(String::as_str).collect();
    engines.sort_unstable();
    engines.dedup();
    engines.insert(0, "ieum");
    let head =
        ["engine", "output", "wall", "least–most", "CPU", "peak memory", "wall ÷ ieum", "CPU ÷ ieum", "memory ÷ ieum"];
    let rows = engines.iter().map(|engine| ("", compared(comparison, engine)));
    let timed: Vec<&str> = engines.iter().copied().filter(|engine| comparison.rounds.contains_key(*engine)).collect();
    let body = format!(
        "<p>{}</p>\n<p class=\"soft\">÷ ieum: over ieum's in the same round, median (least–most); above 1, ieum costs \
         less. An engine whose output differs has no times.</p>\n{}<div class=\"plots\">\n{}{}</div>\n",
        escape(&facts(&comparison.night).join(", ")),
        table("compared", &head, rows),
        engine_bars(comparison, &timed, "Wall and CPU time", Quantity::Time, &[("wall", wall), ("CPU", cpu)]),
        engine_bars(comparison, &timed, "Peak memory", Quantity::Bytes, &[("peak", peak)]),
    );
    Section { title: comparison.title.clone(), body }
}

/// A measurement of the rounds of an engine or a point.
type Of = fn(&[Cost]) -> Option<Measured>;

fn wall(rounds: &[Cost]) -> Option<Measured> {
    Measured::of(rounds.iter().map(|cost| cost.wall_seconds))
}

fn cpu(rounds: &[Cost]) -> Option<Measured> {
    Measured::of(rounds.iter().map(|cost| cost.cpu_seconds))
}

/// The most of any round stands for all: a machine must have it.
fn peak(rounds: &[Cost]) -> Option<Measured> {
    let peaks = Measured::of(rounds.iter().map(|cost| cost.peak_bytes as f64))?;
    Some(Measured { middle: peaks.most, ..peaks })
}

/// The row of an engine.
fn compared(comparison: &Comparison, engine: &str) -> Vec<String> {
    let rounds = comparison.rounds.get(engine).map_or(&[][..], Vec::as_slice);
    let ratio = |of: fn(&Cost) -> f64| match comparison.ratio(engine, of) {
        Some(_) if engine == "ieum" => "1".to_owned(),
        Some((middle, least, most)) => format!("{} ({}–{})", digits(middle), digits(least), digits(most)),
        None => "–".to_owned(),
    };
    vec![
        engine.to_owned(),
        comparison.verdicts.get(engine).map_or("–", String::as_str).to_owned(),
        middle(Quantity::Time, wall(rounds)),
        range(Quantity::Time, wall(rounds)),
        middle(Quantity::Time, cpu(rounds)),
        middle(Quantity::Bytes, peak(rounds)),
        ratio(|cost| cost.wall_seconds),
        ratio(|cost| cost.cpu_seconds),
        ratio(|cost| cost.peak_bytes as f64),
    ]
}

fn engine_bars(from: &Comparison, engines: &[&str], title: &str, quantity: Quantity, of: &[(&str, Of)]) -> String {
    let measured =
        |of: Of| engines.iter().map(|engine| from.rounds.get(*engine).and_then(|rounds| of(rounds))).collect();
    let series = of.iter().map(|(name, of)| Series { name, values: measured(*of) }).collect();
    let labels = engines.iter().map(|engine| (*engine).to_owned()).collect();
    Plot { title, quantity, labels, series, limit: None }.bars()
}

fn floors(floors: &[Floor]) -> Section {
    let rows = floors.iter().map(|floor| {
        let scan = seconds(&floor.scan_seconds);
        let cells = vec![
            floor.format.clone(),
            share(floor),
            Quantity::Bytes.text(floor.bytes as f64),
            grouped(floor.rows),
            middle(Quantity::Time, seconds(&floor.floor_seconds)),
            middle(Quantity::Time, scan),
            middle(Quantity::Ratio, ratios(floor)),
            range(Quantity::Ratio, ratios(floor)),
            Quantity::Rate.text(scan.map_or(f64::NAN, |scan| floor.rows as f64 / scan.middle)),
        ];
        ("", cells)
    });
    let head = ["format", "asked", "bytes", "rows", "floor", "scan", "scan ÷ floor", "least–most", "rate of the scan"];
    let series = |name, of: fn(&Floor) -> Option<Measured>| Series { name, values: floors.iter().map(of).collect() };
    let labels: Vec<String> = floors.iter().map(|floor| format!("{}, {} asked", floor.format, share(floor))).collect();
    let plot = |title, quantity, series| Plot { title, quantity, labels: labels.clone(), series, limit: None }.bars();
    let both = vec![
        series("scan", |floor| seconds(&floor.scan_seconds)),
        series("floor", |floor| seconds(&floor.floor_seconds)),
    ];
    let body = format!(
        "<p>The floor is the least work of any reader: the needed bytes read, the key column decoded. Both were \
         measured in every round.</p>\n{}<div class=\"plots\">\n{}{}</div>\n",
        table("", &head, rows),
        plot("Scan and floor", Quantity::Time, both),
        plot("Scan over floor", Quantity::Ratio, vec![series("scan ÷ floor", ratios)]),
    );
    Section { title: "Scans beside their floor".to_owned(), body: some_of(floors, body) }
}

fn share(floor: &Floor) -> String {
    format!("{} %", round_digits(floor.asked_share * 100.0))
}

fn ratios(floor: &Floor) -> Option<Measured> {
    Measured::of(floor.scan_seconds.iter().zip(&floor.floor_seconds).map(|(scan, floor)| scan / floor))
}

fn seconds(rounds: &[f64]) -> Option<Measured> {
    Measured::of(rounds.iter().copied())
}

/// Points of each axis; axes in the order in which they appear.
fn axes(points: &[Point]) -> Vec<(&str, Vec<&Point>)> {
    let mut axes: Vec<(&str, Vec<&Point>)> = Vec::new();
    for point in points {
        match axes.iter_mut().find(|(axis, _)| *axis == point.axis) {
            Some((_, points)) => points.push(point),
            None => axes.push((&point.axis, vec![point])),
        }
    }
    axes
}

fn by_axis(axis: &str, points: &[&Point]) -> Section {
    let labels: Vec<String> = points.iter().map(|point| point.label.clone()).collect();
    let series = |name, of: Of| Series { name, values: points.iter().map(|point| of(&costs(point))).collect() };
    let rates = Series { name: "rate", values: points.iter().map(|point| rate(point)).collect() };
    let limits = points.iter().map(|point| point.night.memory_bytes as f64).collect();
    let plot = |title, quantity, series, limit| Plot { title, quantity, labels: labels.clone(), series, limit };
    let plots = [
        plot("Wall and CPU time", Quantity::Time, vec![series("wall", wall), series("CPU", cpu)], None),
        plot("Peak memory", Quantity::Bytes, vec![series("peak", peak)], Some(("memory limit", limits))),
        plot("Rows read per second", Quantity::Rate, vec![rates], None),
    ];
    let numbers: Vec<f64> = points.iter().map(|point| point.value).collect();
    let numeric = numbers.iter().all(|number| number.is_finite() && *number > 0.0);
    let plots = plots.iter().map(|plot| if numeric { plot.lines(axis, &numbers) } else { plot.bars() });
    let rows = points.iter().map(|point| (if point.lines_different > 0 { "fails" } else { "" }, cells(point)));
    let body = format!(
        "<p>{}</p>\n{}<div class=\"plots\">\n{}{}</div>\n{}",
        escape(&format!("The same in all points: {}.", shared(points).join(", "))),
        if numeric { growth(axis, points) } else { String::new() },
        plots.collect::<String>(),
        steps(&labels, points),
        table("", &POINT, rows),
    );
    Section { title: format!("By {axis}"), body }
}

fn costs(point: &Point) -> Vec<Cost> {
    point.rounds.iter().map(|round| round.cost).collect()
}

fn rate(point: &Point) -> Option<Measured> {
    Measured::of(point.rounds.iter().map(|round| point.rows_read as f64 / round.cost.wall_seconds))
}

fn growth(axis: &str, points: &[&Point]) -> String {
    let exponent = |of: &dyn Fn(&Point) -> f64| {
        let pairs: Vec<(f64, f64)> = points.iter().map(|point| (point.value, of(point))).collect();
        growth_exponent(&pairs).map_or("unknown".to_owned(), |exponent| format!("{exponent:.2}"))
    };
    let words = format!(
        "Growth exponent: wall time {}, CPU time {}, peak memory {}. 1: in proportion to {axis}; 0: independent of it.",
        exponent(&Point::wall_seconds),
        exponent(&Point::cpu_seconds),
        exponent(&|point| point.peak_bytes() as f64),
    );
    format!("<p>{}</p>\n", escape(&words))
}

/// Names of the columns of [`cells`].
const POINT: [&str; 9] =
    ["point", "wall", "least–most", "CPU", "peak memory", "rows read", "rate", "lines", "lines different"];

fn cells(point: &Point) -> Vec<String> {
    let rounds = costs(point);
    vec![
        point.label.clone(),
        middle(Quantity::Time, wall(&rounds)),
        range(Quantity::Time, wall(&rounds)),
        middle(Quantity::Time, cpu(&rounds)),
        middle(Quantity::Bytes, peak(&rounds)),
        grouped(point.rows_read),
        middle(Quantity::Rate, rate(point)),
        grouped(point.lines),
        grouped(point.lines_different),
    ]
}

fn steps(labels: &[String], points: &[&Point]) -> String {
    let mut names = STEPS.to_vec();
    for step in points.iter().flat_map(|point| &point.rounds).flat_map(|round| round.steps.keys()) {
        if !names.contains(&step.as_str()) {
            names.push(step);
        }
    }
    let seconds = |point: &&Point| names.iter().map(|step| point.step_seconds(step)).collect();
    stacked(
        "Share of each step",
        "share of the time of all steps (%)",
        &names,
        labels,
        &points.iter().map(seconds).collect::<Vec<_>>(),
    )
}

/// What the nights of all points have in common.
fn shared(points: &[&Point]) -> Vec<String> {
    let mut nights = points.iter().map(|point| facts(&point.night));
    let first = nights.next().unwrap_or_default();
    nights.fold(first, |common, other| common.into_iter().filter(|fact| other.contains(fact)).collect())
}

/// A night in words.
fn facts(night: &Night) -> Vec<String> {
    vec![
        format!("{} people", grouped(night.people)),
        format!("{} requests", grouped(night.requests)),
        plural(night.datasets, "dataset", "datasets"),
        format!("{} {}", night.formats, if night.staged { "staged copies" } else { "exports" }),
        plural(night.threads, "thread", "threads"),
        format!("memory limit {}", Quantity::Bytes.text(night.memory_bytes as f64)),
        format!("{} {}", night.layout, night.output),
    ]
}

fn middle(quantity: Quantity, measured: Option<Measured>) -> String {
    quantity.text(measured.map_or(f64::NAN, |measured| measured.middle))
}

fn range(quantity: Quantity, measured: Option<Measured>) -> String {
    measured.map_or("–".to_owned(), |measured| quantity.range(measured.least, measured.most))
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count as u64), if count == 1 { one } else { many })
}

/// `body`, or nothing where nothing was measured.
fn some_of<T>(measured: &[T], body: String) -> String {
    if measured.is_empty() { String::new() } else { body }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::record::{Machine, Round};
    use crate::page::assert_closed;

    fn costs_of(walls: &[f64]) -> Vec<Cost> {
        walls.iter().map(|wall| Cost { wall_seconds: *wall, cpu_seconds: 2.0 * wall, peak_bytes: 300 << 20 }).collect()
    }

    fn point(axis: &str, label: &str, value: f64, wall: f64) -> Point {
        let steps = [("gather", 0.75 * wall), ("assemble", 0.25 * wall)];
        let steps: BTreeMap<String, f64> = steps.map(|(step, seconds)| (step.to_owned(), seconds)).into();
        let round = |cost| Round { cost, steps: steps.clone() };
        Point {
            axis: axis.to_owned(),
            label: label.to_owned(),
            value,
            night: Night { datasets: 180, threads: 2, memory_bytes: 1 << 30, ..Night::default() },
            rounds: costs_of(&[wall * 1.1, wall, wall * 0.9]).into_iter().map(round).collect(),
            rows_read: 6_000_000,
            rows_kept: 1000,
            bytes_read: 1 << 30,
            lines: 4321,
            lines_different: 0,
        }
    }

    fn full() -> Record {
        let verdicts = [("duckdb", "same"), ("polars", "3 of 20 bundles differ")];
        let comparison = Comparison {
            title: "A whole night".to_owned(),
            night: Night::default(),
            verdicts: verdicts.map(|(peer, verdict)| (peer.to_owned(), verdict.to_owned())).into(),
            rounds: [("ieum".to_owned(), costs_of(&[2.0, 1.0])), ("duckdb".to_owned(), costs_of(&[5.0, 2.0]))].into(),
        };
        let floor = Floor {
            format: "csv".to_owned(),
            asked_share: 0.001,
            bytes: 1 << 20,
            rows: 1000,
            floor_seconds: vec![0.2],
            scan_seconds: vec![0.5],
        };
        Record {
            machine: Machine { processor: "a <fast> & small one".to_owned(), ..Machine::default() },
            points: vec![
                point("requests", "first", 100.0, 1.0),
                point("formats", "parquet <b>", 0.0, 0.5),
                point("requests", "second", 10_000.0, 10.0),
            ],
            floors: vec![floor],
            comparisons: vec![comparison],
            bars: vec![Bar::at_most("scan of csv", 2.5, 2.5004, "×"), Bar::at_least("beside DuckDB", 2.0, 2.25, "×")],
            ..Record::default()
        }
    }

    #[test]
    fn a_page_tells_everything() {
        let page = html(&full());
        assert_closed(&page);
        let page = page.replace('\u{a0}', " ");
        let check = |words: &str| assert!(page.contains(words), "{words} is missing in {page}");
        check("Measured: 3 points by requests, formats; 1 scan beside the floor; 1 comparison. 1 of 2 promises held.");
        check("<td>scan of csv</td><td>at most 2.5 ×</td><td>2.5004 ×</td><td>does not hold</td>");
        check("<td>beside DuckDB</td><td>at least 2 ×</td><td>2.25 ×</td><td>holds</td>");
        check("<td>duckdb</td><td>same</td><td>3.50 s</td><td>2–5 s</td><td>7 s</td><td>300 MiB</td>");
        check("<td>2.25 (2–2.50)</td>");
        check("<td>polars</td><td>3 of 20 bundles differ</td><td>–</td><td>–</td>");
        check("<td>csv</td><td>0.1 %</td><td>1 MiB</td><td>1,000</td><td>200 ms</td><td>500 ms</td><td>2.50 ×</td>");
        check("Growth exponent: wall time 0.50, CPU time 0.50, peak memory 0.00.");
        check("<td>first</td><td>1 s</td><td>0.900–1.10 s</td><td>2 s</td><td>300 MiB</td><td>6,000,000</td>");
        check("<td>second</td><td>10 s</td>");
        check("<td>parquet &lt;b&gt;</td><td>500 ms</td>");
        check("The same in all points: 0 people");
        check(">75 %</text>");
    }

    #[test]
    fn axes_keep_their_order() {
        let page = html(&full());
        let place = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words} is missing"));
        assert!(place("<h2>A whole night</h2>") < place("<h2>By requests</h2>"));
        assert!(place("<h2>By requests</h2>") < place("<td>second</td>"));
        assert!(place("<td>second</td>") < place("<h2>By formats</h2>"));
    }

    #[test]
    fn a_peer_without_times_has_no_bar() {
        let mut record = full();
        record.points.clear();
        assert!(html(&record).contains(">duckdb</text>") && !html(&record).contains(">polars</text>"));
    }

    #[test]
    fn no_step_is_left_out() {
        let mut record = full();
        assert!(!html(&record).contains("seal"));
        record.points[0].rounds[0].steps.insert("seal".to_owned(), 1.0);
        assert!(html(&record).contains("first, seal: 1\u{a0}s (50.0 %)"));
    }

    #[test]
    fn nothing_is_loaded_and_nothing_gets_in() {
        let page = html(&full());
        assert!(page.contains("a &lt;fast&gt; &amp; small one"));
        for wrong in ["<script", "<fast>", "<b>parquet", "http:", "https:", "url(", "@import", " src=", "NaN", "inf "] {
            assert!(!page.contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn an_empty_record_is_a_page_too() {
        let page = html(&Record::default());
        assert_closed(&page);
        assert!(page.contains("Nothing was measured.") && !page.contains("<h2>"), "{page}");
        let mut unmeasured = full();
        unmeasured.points.iter_mut().for_each(|point| point.rounds.clear());
        unmeasured.comparisons[0].rounds.clear();
        let page = html(&unmeasured);
        assert_closed(&page);
        assert!(page.contains("<td>first</td><td>–</td><td>–</td>") && page.contains("wall time unknown"), "{page}");
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
