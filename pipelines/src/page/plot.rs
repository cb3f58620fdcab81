//! Plots as SVG inside a page: lines with whiskers, bars with whiskers, stacked bars. Colours and fonts are the page's.
//!
//! ```text
//!  time (s)                    label                    label             total
//!   5 ┤         ┼              ██████████┼─ 1.2 s       ███▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒░░
//!   2 ┤    ┼                   ▒▒▒▒▒▒┼─ 0.8 s           0   20  40  60  80 100
//!   1 ┤ ┼                      0    0.5     1            share of the time (%)
//!     └─┴────┴────┴ requests    time (s)
//! ```
//!
//! The drawing is as wide as the page gives it; its letters stay readable down to a phone's width.

use super::escape;
use super::quantity::{Quantity, median, round_digits};

/// Width of every drawing; the page scales it.
const WIDTH: f64 = 440.0;
/// Left, right, top and bottom edge of the plane of a line plot.
const PLANE: (f64, f64, f64, f64) = (46.0, 424.0, 24.0, 230.0);
/// Left and right edge of bars; what they say stands to the right.
const BARS: (f64, f64) = (6.0, 340.0);
/// Height of a bar, and of the label above a group of them.
const BAR: (f64, f64) = (13.0, 17.0);
/// Ticks of an axis, at most.
const TICKS: usize = 9;
/// A share from which a part of a stacked bar has room for its number.
const READABLE_SHARE: f64 = 9.0;

/// What several rounds gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The median.
    pub middle: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Measured {
    /// `None` of no rounds, or of numbers that are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect();
        let (least, most) = ends(values.iter().copied())?;
        Some(Self { middle: median(values), least, most })
    }
}

/// Numbers under one name, one for each label of the plot.
#[derive(Debug)]
pub struct Series<'a> {
    /// Its name in the key.
    pub name: &'a str,
    /// What was measured.
    pub values: Vec<Option<Measured>>,
}

/// A plot with an axis of one quantity.
#[derive(Debug)]
pub struct Plot<'a> {
    /// Stands above it.
    pub title: &'a str,
    /// What is measured.
    pub quantity: Quantity,
    /// Names of what was measured.
    pub labels: Vec<String>,
    /// Lines, or the bars of each label.
    pub series: Vec<Series<'a>>,
    /// Name and numbers of a limit, one for each label; 0 is none.
    pub limit: Option<(&'a str, Vec<f64>)>,
}

impl Plot<'_> {
    /// Over numbers, one for each label, named by `across`: with logarithms on both axes if the numbers span a decade.
    pub fn lines(&self, across: &str, numbers: &[f64]) -> String {
        let (left, right, top, bottom) = PLANE;
        let logarithmic = spans_decade(numbers) && self.all().all(|value| value > 0.0);
        let x = Scale::over(numbers.iter().copied(), logarithmic, left, right);
        let y = Scale::over(self.all(), logarithmic, bottom, top);
        let mut order: Vec<usize> = (0..numbers.len()).collect();
        order.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b]));
        let places: Vec<(usize, f64)> = order.into_iter().map(|at| (at, x.place(numbers[at]))).collect();
        let lines = self.series.iter().enumerate().map(|(nr, series)| self.line(nr, series, &places, &y));
        let body = self.plane(&x, &y, across) + &self.limit_line(&places, &y) + &lines.collect::<String>();
        self.figure(bottom + 40.0, &body)
    }

    /// Grid, ticks and titles of a line plot.
    fn plane(&self, x: &Scale, y: &Scale, across: &str) -> String {
        let (left, right, top, bottom) = PLANE;
        let (size, unit) = self.unit();
        let mut body = text(0.0, 11.0, "", &format!("{} ({unit})", self.quantity.noun()));
        for tick in y.ticks(size) {
            let at = y.place(tick);
            body += &segment((left, at), (right, at), "grid");
            body += &text(left - 5.0, at + 4.0, "end", &round_digits(tick / size));
        }
        for tick in x.ticks(1.0) {
            let at = x.place(tick);
            let (size, unit) = Quantity::Count.unit(tick);
            body += &segment((at, top), (at, bottom), "grid");
            body += &text(at, bottom + 16.0, "middle", format!("{} {unit}", round_digits(tick / size)).trim_end());
        }
        body + &text(f64::midpoint(left, right), bottom + 33.0, "middle", across)
    }

    /// The limit at every place, drawn on to both edges.
    fn limit_line(&self, places: &[(usize, f64)], y: &Scale) -> String {
        let (Some((_, limits)), Some(first), Some(last)) = (&self.limit, places.first(), places.last()) else {
            return String::new();
        };
        let whole = [(first.0, PLANE.0)].into_iter().chain(places.iter().copied()).chain([(last.0, PLANE.1)]);
        let limited = whole.filter(|(at, _)| limits[*at] > 0.0);
        path(limited.map(|(at, place)| (place, y.place(limits[at]))), "limit")
    }

    /// A series over its places: the line through the medians, a whisker and a mark at each.
    fn line(&self, nr: usize, series: &Series<'_>, places: &[(usize, f64)], y: &Scale) -> String {
        let seen = || places.iter().filter_map(|(at, place)| series.values[*at].map(|value| (*at, *place, value)));
        let mut body = path(seen().map(|(_, place, value)| (place, y.place(value.middle))), &format!("s{nr}"));
        for (at, place, value) in seen() {
            let [middle, least, most] = [value.middle, value.least, value.most].map(|value| y.place(value));
            body += &format!("<g class=\"s{nr}\"><title>{}</title>", escape(&self.words(at, series, value)));
            body += &segment((place, least), (place, most), "");
            body += &[least, most].map(|end| segment((place - 3.0, end), (place + 3.0, end), "")).concat();
            body += &mark(nr, place, middle);
            body += "</g>";
        }
        body
    }

    /// Over seconds, one for each value: lines alone, both axes linear. Needs no labels.
    pub fn over_time(&self, seconds: &[f64]) -> String {
        let (left, right, top, bottom) = PLANE;
        let x = Scale {
            low: 0.0,
            high: seconds.iter().copied().fold(1e-3, f64::max),
            from: left,
            to: right,
            logarithmic: false,
        };
        let y = Scale::over(self.all(), false, bottom, top);
        let ((size, unit), (long, short)) = (self.unit(), Quantity::Time.unit(x.high));
        let mut body = text(0.0, 11.0, "", unit);
        for tick in y.ticks(size) {
            body += &segment((left, y.place(tick)), (right, y.place(tick)), "grid");
            body += &text(left - 5.0, y.place(tick) + 4.0, "end", &round_digits(tick / size));
        }
        for tick in x.ticks(long) {
            body += &segment((x.place(tick), top), (x.place(tick), bottom), "grid");
            body += &text(x.place(tick), bottom + 16.0, "middle", &round_digits(tick / long));
        }
        body += &text(right, bottom + 33.0, "end", short);
        for (nr, series) in self.series.iter().enumerate() {
            let seen = seconds.iter().zip(&series.values).filter_map(|(at, value)| Some((*at, value.as_ref()?.middle)));
            body += &path(seen.map(|(at, value)| (x.place(at), y.place(value))), &format!("s{nr}"));
        }
        let limit = self.limit.as_ref().and_then(|(_, limits)| limits.first()).filter(|limit| **limit > 0.0);
        body +=
            &limit.map_or(String::new(), |limit| segment((left, y.place(*limit)), (right, y.place(*limit)), "limit"));
        self.figure(bottom + 40.0, &body)
    }

    /// Bars to the right from 0, a group for each label.
    pub fn bars(&self) -> String {
        let (bar, label) = BAR;
        let group = label + bar * self.series.len() as f64 + 8.0;
        let bottom = group * self.labels.len() as f64;
        let x = Scale::over(self.all(), false, BARS.0, BARS.1);
        let (size, unit) = self.unit();
        let mut body = ruler(&x, size, bottom, &format!("{} ({unit})", self.quantity.noun()));
        for (at, name) in self.labels.iter().enumerate() {
            let top = group * at as f64;
            body += &text(BARS.0, top + 12.0, "", name);
            for (nr, series) in self.series.iter().enumerate() {
                let y = top + label + bar * nr as f64;
                body += &match series.values[at] {
                    Some(value) => self.bar(nr, &self.words(at, series, value), value, y, &x),
                    None => text(BARS.0 + 5.0, y + bar / 2.0 + 4.0, "", "–"),
                };
            }
            if let Some(limit) = self.limit.as_ref().map(|(_, limits)| limits[at]).filter(|limit| *limit > 0.0) {
                body += &segment((x.place(limit), top), (x.place(limit), top + group), "limit");
            }
        }
        self.figure(bottom + 34.0, &body)
    }

    /// A bar with its whisker and its number.
    fn bar(&self, nr: usize, words: &str, value: Measured, y: f64, x: &Scale) -> String {
        let middle = y + BAR.0 / 2.0;
        let [end, least, most] = [value.middle, value.least, value.most].map(|value| x.place(value));
        let mut body = format!("<g class=\"s{nr}\"><title>{}</title>", escape(words));
        body += &rect(BARS.0, y, end - BARS.0, BAR.0 - 1.0);
        body += "</g>";
        body += &segment((least, middle), (most, middle), "whisker");
        body += &[least, most].map(|end| segment((end, middle - 3.0), (end, middle + 3.0), "whisker")).concat();
        body + &text(most.max(end) + 5.0, middle + 4.0, "", &self.quantity.text(value.middle))
    }

    /// Every number that has to find room.
    fn all(&self) -> impl Iterator<Item = f64> {
        let values = self.series.iter().flat_map(|series| &series.values).flatten();
        let limits = self.limit.iter().flat_map(|(_, limits)| limits).copied().filter(|limit| *limit > 0.0);
        values.flat_map(|value| [value.least, value.most]).chain(limits)
    }

    fn unit(&self) -> (f64, &'static str) {
        self.quantity.unit(self.all().fold(0.0, f64::max))
    }

    fn words(&self, at: usize, series: &Series<'_>, value: Measured) -> String {
        let (middle, range) = (self.quantity.text(value.middle), self.quantity.range(value.least, value.most));
        format!("{}, {}: {middle} ({range})", self.labels[at], series.name)
    }

    fn figure(&self, height: f64, body: &str) -> String {
        let names = self.series.iter().map(|series| series.name);
        let keys: String = if self.series.len() > 1 { keys(names) } else { String::new() };
        let limit = self.limit.as_ref().filter(|(_, limits)| limits.iter().any(|limit| *limit > 0.0));
        let limit = limit.map(|(name, _)| key(&path([(0.0, 5.0), (14.0, 5.0)].into_iter(), "limit"), name));
        figure(self.title, &format!("{keys}{}", limit.unwrap_or_default()), height, body)
    }
}

/// What each of `parts` has of the whole, a bar for each label; `rows` are seconds, in the order of the parts, and `axis`
/// names their share.
pub fn stacked(title: &str, axis: &str, parts: &[&str], labels: &[String], rows: &[Vec<f64>]) -> String {
    let (bar, label) = (BAR.0 + 4.0, BAR.1);
    let group = label + bar + 8.0;
    let right = WIDTH - 12.0;
    let x = Scale { low: 0.0, high: 100.0, from: BARS.0, to: right, logarithmic: false };
    let bottom = group * labels.len() as f64;
    let mut body = ruler(&x, 1.0, bottom, axis);
    for (at, (name, seconds)) in labels.iter().zip(rows).enumerate() {
        let top = group * at as f64;
        let whole: f64 = seconds.iter().sum();
        body += &text(BARS.0, top + 12.0, "", name);
        body += &text(right, top + 12.0, "end", &Quantity::Time.text(whole));
        let mut before = 0.0;
        for (nr, (part, seconds)) in parts.iter().zip(seconds).enumerate().filter(|(_, (_, seconds))| **seconds > 0.0) {
            let share = 100.0 * seconds / whole;
            let (from, to) = (x.place(before), x.place(before + share));
            let words = format!("{name}, {part}: {} ({share:.1} %)", Quantity::Time.text(*seconds));
            body += &format!("<g class=\"s{nr} part\"><title>{}</title>", escape(&words));
            body += &rect(from, top + label, to - from, bar - 1.0);
            if share >= READABLE_SHARE {
                let (middle, below) = (f64::midpoint(from, to), top + label + bar / 2.0 + 4.0);
                body += &text(middle, below, "on", &format!("{share:.0} %"));
            }
            body += "</g>";
            before += share;
        }
    }
    figure(title, &keys(parts.iter().copied()), bottom + 34.0, &body)
}

/// From numbers to places in the drawing.
#[derive(Debug)]
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Scale {
    /// Linear from 0; in logarithms over a decade at least, so that what hardly changes looks so.
    fn over(values: impl Iterator<Item = f64>, logarithmic: bool, from: f64, to: f64) -> Self {
        let (least, most) = ends(values).unwrap_or((1.0, 1.0));
        let wider = if logarithmic { (10.0 * least / most).sqrt().max(1.15) } else { 1.06 };
        let high = if most > 0.0 { most * wider } else { 1.0 };
        Self { low: if logarithmic { least / wider } else { 0.0 }, high, from, to, logarithmic }
    }

    fn place(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share * (self.to - self.from)
    }

    /// Round in a unit of that size.
    fn ticks(&self, size: f64) -> Vec<f64> {
        let (low, high) = (self.low / size, self.high / size);
        let ticks = if self.logarithmic { logarithmic_ticks(low, high) } else { linear_ticks(low, high) };
        ticks.into_iter().map(|tick| tick * size).collect()
    }
}

/// Multiples of the least 1, 2 or 5 times a power of ten that gives few enough.
fn linear_ticks(low: f64, high: f64) -> Vec<f64> {
    let raw = (high - low) / 6.0;
    let power = 10.0_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|times| times * power >= raw).unwrap_or(10.0) * power;
    ((low / step).ceil() as i64..=(high / step).floor() as i64).map(|nr| nr as f64 * step).collect()
}

/// 1, 2 and 5 times the powers of ten; of many, the powers only.
fn logarithmic_ticks(low: f64, high: f64) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let within = |times: &'static [f64]| {
        let all = powers.clone().flat_map(move |power| times.iter().map(move |times| times * 10.0_f64.powi(power)));
        all.filter(|tick| (low..=high).contains(tick)).collect::<Vec<f64>>()
    };
    let ticks = within(&[1.0, 2.0, 5.0]);
    if ticks.len() > TICKS { within(&[1.0]) } else { ticks }
}

/// Least and most; `None` of none, or where one is no number.
fn ends(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let ends = values.map(|value| Some((value, value))).reduce(|a, b| {
        let ((least, most), (value, _)) = (a?, b?);
        (least.is_finite() && value.is_finite()).then(|| (least.min(value), most.max(value)))
    });
    ends.flatten().filter(|(least, most)| least.is_finite() && most.is_finite())
}

fn spans_decade(numbers: &[f64]) -> bool {
    ends(numbers.iter().copied()).is_some_and(|(least, most)| least > 0.0 && most / least >= 10.0)
}

/// The axis below bars: lines at the ticks, their numbers, the title.
fn ruler(x: &Scale, size: f64, bottom: f64, title: &str) -> String {
    let tick = |tick: f64| {
        let at = x.place(tick);
        segment((at, 0.0), (at, bottom), "grid") + &text(at, bottom + 12.0, "middle", &round_digits(tick / size))
    };
    let ticks: String = x.ticks(size).into_iter().map(tick).collect();
    ticks + &text(f64::midpoint(x.from, x.to), bottom + 28.0, "middle", title)
}

fn figure(title: &str, keys: &str, height: f64, body: &str) -> String {
    let title = escape(title);
    format!(
        "<figure><figcaption><b>{title}</b>{keys}</figcaption>\
         <svg role=\"img\" aria-label=\"{title}\" viewBox=\"0 0 {WIDTH} {height:.0}\">{body}</svg></figure>\n"
    )
}

fn keys<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let key_of = |(nr, name)| key(&format!("<g class=\"s{nr}\">{}</g>", mark(nr, 7.0, 5.0)), name);
    names.enumerate().map(key_of).collect()
}

fn key(drawing: &str, name: &str) -> String {
    let svg = format!("<svg aria-hidden=\"true\" width=\"14\" height=\"10\" viewBox=\"0 0 14 10\">{drawing}</svg>");
    format!(" <span class=\"key\">{svg}{}</span>", escape(name))
}

/// Round for the first series, square for the others: told apart without their colours.
fn mark(nr: usize, x: f64, y: f64) -> String {
    match nr {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.6\"/>"),
        _ => rect(x - 3.2, y - 3.2, 6.4, 6.4),
    }
}

fn rect(x: f64, y: f64, width: f64, height: f64) -> String {
    format!("<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>", width.max(0.5))
}

fn segment(from: (f64, f64), to: (f64, f64), class: &str) -> String {
    path([from, to].into_iter(), class)
}

fn path(points: impl Iterator<Item = (f64, f64)>, class: &str) -> String {
    let points: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    format!("<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "))
}

fn text(x: f64, y: f64, class: &str, words: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(values: &[f64]) -> Vec<Option<Measured>> {
        values.iter().map(|value| Measured::of([*value])).collect()
    }

    fn plot(labels: &[&str], values: &[f64]) -> Plot<'static> {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let series = vec![Series { name: "wall", values: exact(values) }];
        Plot { title: "Time", quantity: Quantity::Time, labels, series, limit: None }
    }

    #[test]
    fn linear_ticks_are_round() {
        let check = |low, high, text: &str| {
            assert_eq!(linear_ticks(low, high).into_iter().map(round_digits).collect::<Vec<_>>().join(" "), text);
        };
        check(0.0, 1.06, "0 0.2 0.4 0.6 0.8 1");
        check(0.0, 12.7, "0 5 10");
        check(0.0, 4.3, "0 1 2 3 4");
        check(0.0, 190.0, "0 50 100 150");
        check(0.0, 0.0052, "0 0.001 0.002 0.003 0.004 0.005");
    }

    #[test]
    fn logarithmic_ticks_are_1_2_5() {
        let check = |low, high, text: &str| {
            assert_eq!(logarithmic_ticks(low, high).into_iter().map(round_digits).collect::<Vec<_>>().join(" "), text);
        };
        check(0.9, 60.0, "1 2 5 10 20 50");
        check(0.03, 0.3, "0.05 0.1 0.2");
        check(1.0, 1e6, "1 10 100 1000 10000 100000 1000000");
    }

    #[test]
    fn a_scale_places_its_ends() {
        let linear = Scale::over([2.0, 50.0].into_iter(), false, 10.0, 116.0);
        assert_eq!((linear.place(0.0), linear.place(50.0).round()), (10.0, 110.0));
        let logarithmic = Scale { low: 1.0, high: 100.0, from: 0.0, to: 200.0, logarithmic: true };
        assert_eq!((logarithmic.place(1.0), logarithmic.place(10.0), logarithmic.place(100.0)), (0.0, 100.0, 200.0));
        let flat = Scale::over([3.0, 3.1].into_iter(), true, 0.0, 1.0);
        assert!(flat.high / flat.low > 9.9, "{flat:?}");
    }

    #[test]
    fn numbers_over_a_decade_get_logarithms() {
        let labels = ["a", "b", "c"];
        let growing = plot(&labels, &[1.0, 10.0, 100.0]).lines("requests", &[100.0, 1000.0, 10_000.0]);
        assert!(growing.contains(">1 k</text>") && growing.contains(">10 k</text>"), "{growing}");
        let straight: Vec<f64> = places(&growing, "s0");
        assert!((straight[2] - straight[1] - (straight[1] - straight[0])).abs() < 0.2, "{straight:?}");
        let near = places(&plot(&labels, &[1.0, 2.0, 3.0]).lines("threads", &[1.0, 2.0, 4.0]), "s0");
        assert!((near[2] - near[1] - 2.0 * (near[1] - near[0])).abs() < 0.3, "{near:?}");
    }

    /// The horizontal places of a line.
    fn places(figure: &str, class: &str) -> Vec<f64> {
        let start = figure.split(&format!("<polyline class=\"{class}\" points=\"")).nth(1).expect("a line");
        let points = start.split('"').next().expect("points").split(' ');
        points.map(|point| point.split(',').next().expect("a place").parse().expect("a number")).collect()
    }

    #[test]
    fn a_bar_says_its_number_and_a_gap_is_one() {
        let mut bars = plot(&["csv", "parquet"], &[1.5, 3.0]);
        bars.series[0].values[1] = None;
        let figure = bars.bars();
        assert!(figure.contains(">1.50\u{a0}s</text>") && figure.contains(">parquet</text>"), "{figure}");
        assert!(figure.contains(">–</text>") && !figure.contains(">3\u{a0}s</text>"), "{figure}");
    }

    #[test]
    fn shares_are_of_the_whole() {
        let figure = stacked("Steps", "share (%)", &["gather", "assemble"], &["all".to_owned()], &[vec![3.0, 1.0]]);
        assert!(figure.contains(">75 %</text>") && figure.contains(">25 %</text>"), "{figure}");
        assert!(figure.contains(">4\u{a0}s</text>"), "{figure}");
        assert!(!stacked("Steps", "share (%)", &["gather"], &["none".to_owned()], &[vec![0.0]]).contains("NaN"));
    }

    #[test]
    fn no_number_of_a_drawing_is_none() {
        let none = plot(&[], &[]);
        let odd = plot(&["a", "b"], &[f64::NAN, 0.0]);
        for figure in [none.bars(), none.lines("requests", &[]), odd.bars(), odd.lines("requests", &[1.0, 100.0])] {
            assert!(!figure.contains("NaN") && !figure.contains("inf"), "{figure}");
        }
    }

    #[test]
    fn text_is_escaped() {
        let figure = plot(&["<i>"], &[1.0]).bars();
        assert!(figure.contains("&lt;i&gt;") && !figure.contains("<i>"), "{figure}");
    }
}
