//! What stands in the rows that were written too short: any cell of such a row may be its key.

use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};

use super::people::Population;
use super::plan::Plan;
use super::values::{Cell, Row};
use super::write::Dirt;

/// What stands in the too short rows of a dataset.
#[derive(Default)]
struct OfDataset {
    texts: FxHashSet<String>,
    /// Digits of the whole numbers, for every row: a row without one of as many digits as a key has may be anybody's.
    lengths: Vec<FxHashSet<usize>>,
}

/// By dataset.
pub struct Strays<'a>(FxHashMap<&'a str, OfDataset>);

impl<'a> Strays<'a> {
    /// Those of exports with dirty rows: one pass over all people.
    pub fn of(plans: &'a [Plan], population: &Population) -> Self {
        let dirty = plans.iter().filter(|plan| plan.dirty && !plan.late);
        let of_plan = |plan: &'a Plan| {
            let people = (0..population.people).into_par_iter();
            let rows: Vec<Vec<String>> = people.flat_map_iter(|serial| of_person(plan, population, serial)).collect();
            let mut found = OfDataset::default();
            for texts in rows {
                found.lengths.push(texts.iter().flat_map(|text| numbers(text)).collect());
                found.texts.extend(texts);
            }
            (plan.code.as_str(), found)
        };
        Self(dirty.map(of_plan).collect())
    }

    /// Whether a row of `dataset` that is too short may have one of these keys.
    pub fn hold(&self, dataset: &str, keys: &[String]) -> bool {
        self.0.get(dataset).is_some_and(|found| keys.iter().any(|key| found.texts.contains(key)))
    }

    /// Whether a row of `dataset` that is too short shows no whole key of `space`, so that it may be anybody's.
    pub fn anybodys(&self, dataset: &str, space: &str) -> bool {
        let digits = match space {
            "person" | "corporation" => 13,
            "business" => 10,
            _ => return false,
        };
        self.0.get(dataset).is_some_and(|found| found.lengths.iter().any(|lengths| !lengths.contains(&digits)))
    }
}

/// Digits of each number that stands alone in a text; dashes within it do not count.
fn numbers(text: &str) -> impl Iterator<Item = usize> {
    let runs = text.split(|c: char| !c.is_ascii_digit() && c != '-');
    runs.map(|run| run.bytes().filter(u8::is_ascii_digit).count()).filter(|digits| *digits > 0)
}

/// The texts of each too short row of a person.
fn of_person(plan: &Plan, population: &Population, serial: u64) -> Vec<Vec<String>> {
    let Some((person, rows)) = super::rows(plan, population, serial) else { return Vec::new() };
    let ragged = (0..rows).filter(|nth| matches!(super::dirt(plan, population.seed, serial, *nth), Dirt::Ragged));
    let written = &plan.order[..plan.order.len().saturating_sub(1)];
    let texts = |nth| {
        let row = Row { person: &person, nth, stream: plan.stream(), former: plan.former };
        let text = |(at, _): &(usize, _)| match population.cell(&plan.columns[*at], &row) {
            Cell::Text(text) => vec![text.into_owned()],
            Cell::Int(number) => vec![number.to_string()],
            Cell::List(cells) => listed(cells),
            Cell::Null | Cell::Date(_) => Vec::new(),
        };
        written.iter().flat_map(text).collect()
    };
    ragged.map(texts).collect()
}

/// A list of one is written like its only value; in a longer one only numbers stand alone.
fn listed(cells: Vec<Cell>) -> Vec<String> {
    let is_one = cells.len() == 1;
    let texts = cells.into_iter().filter_map(|cell| match cell {
        Cell::Text(text) => Some(text.into_owned()),
        _ => None,
    });
    texts.map(|text| if is_one { text } else { format!("|{text}|") }).collect()
}
