//! The picture of where data came from and went: holders and their datasets to the left, recipients and their services to
//! the right, and a band for each pair that records went between.
//!
//! ```text
//!  ┌────────┬──────────┐             ┌─────────┬───────────┐
//!  │ holder │ dataset  │▒▒▒▒▒▒▒▒▒▒▒▒▒│ service │ recipient │
//!  │        │ dataset  │▒▒▒╲▒▒▒▒▒▒╱▒▒│ service │           │
//!  └────────┴──────────┘             └─────────┴───────────┘
//! ```
//!
//! A long picture is cut into slices, so that paper breaks between two of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ieum_core::tally::Tally;

use super::Language;
use crate::page::escape;
use crate::screen::grouped;

/// Width of the drawing, and of its boxes: of bodies, and of datasets and services.
const WIDTH: f64 = 1120.0;
const BODY: f64 = 150.0;
const PART: f64 = 205.0;
/// Height of the thinnest box, the distance between two of a body, and between those of two bodies.
const BOX: f64 = 17.0;
const NEAR: f64 = 2.0;
const FAR: f64 = 9.0;
/// What all bands together would be high.
const BANDS: f64 = 620.0;
/// Height of the head, and of a slice on paper.
const HEAD: f64 = 24.0;
const SLICE: f64 = 640.0;
/// Colours that bodies take in turn.
const COLOURS: usize = 7;

/// A box of the inner columns.
struct Part<'a> {
    /// The body it belongs to, and its own code.
    of: &'a str,
    code: &'a str,
    lines: u64,
    /// Where its place is drawn to.
    pull: f64,
    top: f64,
    height: f64,
    /// Where the next band ends.
    next: f64,
}

/// Lines with records by dataset and by recipient and service.
type Flows<'a> = BTreeMap<(&'a str, (&'a str, &'a str)), u64>;

pub(super) fn picture(tally: &Tally, language: Language) -> String {
    let mut flows = Flows::new();
    for (answer, answered) in tally.answers.iter().filter(|(_, answered)| answered.with_records > 0) {
        let Some(dataset) = answer.dataset.as_deref() else { continue };
        let service = answer.service.as_deref().unwrap_or(NONE);
        *flows.entry((dataset, (&answer.recipient, service))).or_default() += answered.with_records;
    }
    if flows.is_empty() {
        return String::new();
    }
    let (left, right, height) = arranged(tally, &flows);
    let drawing = Drawing { tally, language, left, right };
    let words = language.say(
        "기록이 나간 흐름만 그렸습니다. 띠의 굵기는 기록이 제공된 서류 수에 비례합니다. 점선은 늦어서 쓰지 못한 데이터셋입니다.",
        "Only flows in which records went out. A band is as thick as the number of lines that got records. Dashed: late datasets.",
    );
    format!(
        "<p class=\"soft\">{words} <span class=\"aside\">{}</span></p>\n<div class=\"wide lineage\">{}</div>\n",
        language.say("그림은 옆으로 밀어 볼 수 있습니다.", "The picture moves sideways."),
        sliced(&drawing.body(&flows), language, height + HEAD)
    )
}

/// What stands for the service of requests that name documents themselves.
const NONE: &str = "documents";

/// The drawing as one image above the other: each shows a slice of it.
fn sliced(body: &str, language: Language, height: f64) -> String {
    let slices = (height / SLICE).ceil().max(1.0);
    let (slice, id) = ((height / slices).ceil(), format!("lineage-{}", language.code()));
    let label = escape(language.say("자료 흐름도", "lineage"));
    let one = |nr: usize| {
        let content = match nr {
            0 => format!("<g id=\"{id}\">{body}</g>"),
            _ => format!("<use href=\"#{id}\"/>"),
        };
        let top = slice * nr as f64;
        format!("<svg role=\"img\" aria-label=\"{label}\" viewBox=\"0 {top} {WIDTH} {slice}\">{content}</svg>")
    };
    (0..slices as usize).map(one).collect()
}

/// Datasets and services in their places, and the height of the taller side.
fn arranged<'a>(tally: &'a Tally, flows: &Flows<'a>) -> (Vec<Part<'a>>, Vec<Part<'a>>, f64) {
    let part = |of, code| Part { of, code, lines: 0, pull: 0.0, top: 0.0, height: 0.0, next: 0.0 };
    let holder = |code: &str| super::holder_of(&tally.names, code);
    let mut left = BTreeMap::<&str, Part<'_>>::new();
    let mut right = BTreeMap::<(&str, &str), Part<'_>>::new();
    for code in tally.late.keys() {
        left.insert(code, part(holder(code), code));
    }
    for ((dataset, to), lines) in flows {
        left.entry(dataset).or_insert_with(|| part(holder(dataset), dataset)).lines += lines;
        right.entry(*to).or_insert_with(|| part(to.0, to.1)).lines += lines;
    }
    let total: u64 = flows.values().sum();
    let scale = BANDS / total.max(1) as f64;
    let mut left: Vec<Part<'_>> = left.into_values().collect();
    for part in &mut left {
        // The most lines first; bodies by all of theirs.
        part.pull = -(part.lines as f64);
    }
    place(&mut left, scale, 0.0);
    let at: BTreeMap<&str, f64> = left.iter().map(|part| (part.code, part.top + part.height / 2.0)).collect();
    for ((dataset, to), lines) in flows {
        if let Some(part) = right.get_mut(to) {
            part.pull += at[dataset] * *lines as f64 / part.lines as f64;
        }
    }
    let mut right: Vec<Part<'_>> = right.into_values().collect();
    place(&mut right, scale, 0.0);
    // The shorter side takes the height of the taller one.
    let [ours, theirs] = [&left, &right].map(|side| side.last().map_or(0.0, |part| part.top + part.height));
    let more = |side: &[Part<'_>], lacks: f64| lacks / side.len().saturating_sub(1).max(1) as f64;
    if ours < theirs {
        let more = more(&left, theirs - ours);
        place(&mut left, scale, more);
    } else {
        let more = more(&right, ours - theirs);
        place(&mut right, scale, more);
    }
    (left, right, ours.max(theirs))
}

/// Puts the parts of a side one below the other, those of a body together, in the order of what pulls them.
fn place(side: &mut [Part<'_>], scale: f64, more: f64) {
    let mut bodies = BTreeMap::<&str, (f64, f64)>::new();
    for part in side.iter() {
        let (pull, weight) = bodies.entry(part.of).or_default();
        // By weight where pulled to a place, by their sum where by their lines.
        let of = if part.pull < 0.0 { 1.0 } else { part.lines as f64 };
        *pull += part.pull * of;
        *weight += if part.pull < 0.0 { 0.0 } else { of };
    }
    let pull = |of: &str| bodies[of].0 / if bodies[of].1 > 0.0 { bodies[of].1 } else { 1.0 };
    side.sort_by(|a, b| {
        pull(a.of)
            .total_cmp(&pull(b.of))
            .then_with(|| a.of.cmp(b.of))
            .then(a.pull.total_cmp(&b.pull))
            .then_with(|| a.code.cmp(b.code))
    });
    let (mut top, mut before) = (0.0, None);
    for part in side {
        if let Some(of) = before {
            top += more + if of == part.of { NEAR } else { FAR };
        }
        before = Some(part.of);
        part.height = (part.lines as f64 * scale).max(BOX);
        part.top = top;
        part.next = top + (part.height - part.lines as f64 * scale) / 2.0;
        top += part.height;
    }
}

struct Drawing<'a> {
    tally: &'a Tally,
    language: Language,
    left: Vec<Part<'a>>,
    right: Vec<Part<'a>>,
}

impl<'a> Drawing<'a> {
    fn body(mut self, flows: &Flows<'a>) -> String {
        let scale = BANDS / flows.values().sum::<u64>().max(1) as f64;
        let say = |korean, english| self.language.say(korean, english);
        let heads = [
            (0.0, say("보유기관", "holder")),
            (BODY, say("데이터셋", "dataset")),
            (WIDTH - BODY - PART, say("서비스", "service")),
            (WIDTH - BODY, say("이용기관", "recipient")),
        ];
        let head = |(x, name): (f64, &str)| {
            format!("<text class=\"column\" x=\"{:.0}\" y=\"14\">{}</text>", x + 6.0, escape(name))
        };
        let head: String = heads.into_iter().map(head).collect();
        let bands = self.bands(flows, scale);
        let (tally, language) = (self.tally, self.language);
        let left = bodies(&self.left, &|code| language.holder(&tally.names, code), 0.0);
        let right = bodies(&self.right, &|code| language.recipient(&tally.names, code), WIDTH - BODY);
        let datasets = self.left.iter().map(|part| {
            let late = if tally.late.contains_key(part.code) { " late" } else { "" };
            labelled(BODY, PART, part, language.dataset(&tally.names, part.code), late)
        });
        let datasets: String = datasets.collect();
        let services = self.right.iter().map(|part| {
            let code = Some(part.code).filter(|code| *code != NONE);
            labelled(WIDTH - BODY - PART, PART, part, language.service(&tally.names, code), "")
        });
        format!(
            "{head}<g transform=\"translate(0 {HEAD})\">{bands}{left}{right}{datasets}{}</g>",
            services.collect::<String>()
        )
    }

    fn bands(&mut self, flows: &Flows<'a>, scale: f64) -> String {
        let place = |side: &[Part<'_>]| -> BTreeMap<(String, String), usize> {
            side.iter().enumerate().map(|(nr, part)| ((part.of.to_owned(), part.code.to_owned()), nr)).collect()
        };
        let (datasets, services) = (
            self.left.iter().enumerate().map(|(nr, part)| (part.code, nr)).collect::<BTreeMap<_, _>>(),
            place(&self.right),
        );
        let colours = colours(&self.left);
        let mut ordered: Vec<(usize, usize, u64)> = flows
            .iter()
            .map(|((dataset, (of, code)), lines)| {
                (datasets[dataset], services[&((*of).to_owned(), (*code).to_owned())], *lines)
            })
            .collect();
        ordered.sort_unstable();
        let mut bands = String::new();
        let mut ends = vec![0.0; ordered.len()];
        let mut arriving: Vec<usize> = (0..ordered.len()).collect();
        arriving.sort_by_key(|nr| (ordered[*nr].1, ordered[*nr].0));
        for nr in arriving {
            let (_, to, lines) = ordered[nr];
            ends[nr] = self.right[to].next + lines as f64 * scale / 2.0;
            self.right[to].next += lines as f64 * scale;
        }
        for ((from, to, lines), end) in ordered.into_iter().zip(ends) {
            let (wide, part) = (lines as f64 * scale, &mut self.left[from]);
            let start = part.next + wide / 2.0;
            part.next += wide;
            let (x, y) = (BODY + PART, WIDTH - BODY - PART);
            let middle = f64::midpoint(x, y);
            let (colour, wide) = (colours[self.left[from].of], wide.max(0.6));
            let dataset = escape(self.language.dataset(&self.tally.names, self.left[from].code));
            let service = Some(self.right[to].code).filter(|code| *code != NONE);
            let service = escape(self.language.service(&self.tally.names, service));
            // Writing to a String cannot fail.
            let _ = write!(
                bands,
                "<path class=\"band c{colour}\" stroke-width=\"{wide:.2}\" \
                 d=\"M{x} {start:.1}C{middle} {start:.1} {middle} {end:.1} {y} {end:.1}\">\
                 <title>{dataset} → {service}: {}</title></path>",
                grouped(lines)
            );
        }
        bands
    }
}

/// A colour for each body, in turn from the top.
fn colours<'a>(side: &[Part<'a>]) -> BTreeMap<&'a str, usize> {
    let mut colours = BTreeMap::new();
    for part in side {
        let next = colours.len() % COLOURS;
        colours.entry(part.of).or_insert(next);
    }
    colours
}

/// The boxes of holders or recipients, each as high as its parts.
fn bodies<'a>(side: &[Part<'a>], name: &dyn Fn(&'a str) -> &'a str, x: f64) -> String {
    let body = |parts: &[Part<'a>]| {
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return String::new() };
        let (top, height) = (first.top, last.top + last.height - first.top);
        let (of, lines) = (first.of, parts.iter().map(|part| part.lines).sum());
        labelled(x, BODY, &Part { of, code: of, lines, pull: 0.0, top, height, next: 0.0 }, name(of), " body")
    };
    side.chunk_by(|a, b| a.of == b.of).map(body).collect()
}

/// A box with as much of its name as has room.
fn labelled(x: f64, width: f64, part: &Part<'_>, name: &str, class: &str) -> String {
    let count = grouped(part.lines);
    let room = width - 16.0 - 6.2 * count.len() as f64;
    format!(
        "<g class=\"box{class}\"><title>{}: {count}</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\
         <text x=\"{:.1}\" y=\"{y:.1}\">{}</text><text class=\"end\" x=\"{:.1}\" y=\"{y:.1}\">{count}</text></g>",
        escape(name),
        x + 1.0,
        part.top,
        width - 2.0,
        part.height,
        x + 6.0,
        escape(&shortened(name, room)),
        x + width - 6.0,
        y = part.top + part.height / 2.0 + 4.0,
    )
}

/// The name, or its beginning and an ellipsis.
fn shortened(name: &str, room: f64) -> String {
    // Widths of letters of 11 units, at most.
    let wide = |letter: char| if letter.is_ascii() { 6.1 } else { 11.0 };
    if name.chars().map(wide).sum::<f64>() <= room {
        return name.to_owned();
    }
    let mut left = room - 8.0;
    let short: String = name
        .chars()
        .take_while(|letter| {
            left -= wide(*letter);
            left >= 0.0
        })
        .collect();
    format!("{}…", short.trim_end())
}
