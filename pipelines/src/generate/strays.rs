//! What stands in the rows that were written too short: any cell of such a row may be its key.

use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};

use super::people::Population;
use super::plan::Plan;
use super::values::{Cell, Row};
use super::write::Dirt;

/// Texts of the cells of too short rows, by dataset.
pub struct Strays<'a>(FxHashMap<&'a str, FxHashSet<String>>);

impl<'a> Strays<'a> {
    /// Those of exports with dirty rows: one pass over all people.
    pub fn of(plans: &'a [Plan], population: &Population) -> Self {
        let dirty = plans.iter().filter(|plan| plan.dirty && !plan.late);
        let of_plan = |plan: &'a Plan| {
            let people = (0..population.people).into_par_iter();
            let texts = people.flat_map_iter(|serial| of_person(plan, population, serial));
            (plan.code.as_str(), texts.collect())
        };
        Self(dirty.map(of_plan).collect())
    }

    /// Whether a row of `dataset` that is too short may have one of these keys.
    pub fn hold(&self, dataset: &str, keys: &[String]) -> bool {
        self.0.get(dataset).is_some_and(|texts| keys.iter().any(|key| texts.contains(key)))
    }
}

fn of_person(plan: &Plan, population: &Population, serial: u64) -> Vec<String> {
    let mut texts = Vec::new();
    let Some((person, rows)) = super::rows(plan, population, serial) else { return texts };
    for nth in (0..rows).filter(|nth| matches!(super::dirt(plan, population.seed, serial, *nth), Dirt::Ragged)) {
        let row = Row { person: &person, nth, stream: plan.stream(), former: plan.former };
        let written = &plan.order[..plan.order.len().saturating_sub(1)];
        for (at, _) in written {
            // A list of one is written like its only value.
            let cell = match population.cell(&plan.columns[*at], &row) {
                Cell::List(mut cells) if cells.len() == 1 => cells.remove(0),
                cell => cell,
            };
            if let Cell::Text(text) = cell {
                texts.push(text.into_owned());
            }
        }
    }
    texts
}
