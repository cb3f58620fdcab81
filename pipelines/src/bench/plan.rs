//! What is measured: which nights, in which groups.

use clap::ValueEnum;

use super::record::{Night, Settings};
use crate::screen::grouped;

/// Requests of the smallest night, and the step between nights.
const REQUEST_STEP: u64 = 10;
/// Shares of the people that are asked for, of a million.
const SHARES: [u64; 5] = [100, 1_000, 10_000, 100_000, 500_000];
/// Formats of the exports; each alone but the first.
pub const FORMATS: [&str; 4] = ["mixed", "csv", "fixed_width", "parquet"];
/// The layout of a file for each request.
pub const PER_REQUEST: &str = "per_request";
/// Layout and format of the bundles that are measured.
pub const OUTPUTS: [(&str, &str); 3] = [("packed", "json"), ("packed", "parquet"), (PER_REQUEST, "json")];

/// What is varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Axis {
    /// 1, 10, … requests over the same exports
    Requests,
    /// A quarter, half, all and twice the people; the same number of requests
    People,
    /// 1 to all datasets, doubling
    Datasets,
    /// 1 to all threads, doubling
    Threads,
    /// 0.01 % to 50 % of the people asked for
    Selectivity,
    /// Exports in every format alone, and mixed
    Formats,
    /// Layouts and formats of the bundles
    Outputs,
    /// Ten times the people, from staged copies; the same requests
    Staged,
    /// The scan of every format beside its physical floor
    Floor,
}

impl Axis {
    /// Its name, as in `bench.json`.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// A point to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// What is varied.
    pub axis: String,
    /// Its value in words.
    pub label: String,
    /// Its value; 0 where it is no number.
    pub value: f64,
    /// The night.
    pub night: Night,
}

/// Points that are compared with each other, and so measured in turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What is varied.
    pub axis: Axis,
    /// The points, in rising order.
    pub points: Vec<Planned>,
}

/// The night that all axes have in common.
pub fn base(settings: &Settings) -> Night {
    Night {
        people: settings.people,
        requests: settings.requests,
        datasets: settings.datasets,
        formats: FORMATS[0].to_owned(),
        staged: false,
        threads: settings.threads,
        memory_bytes: settings.memory_bytes,
        layout: OUTPUTS[0].0.to_owned(),
        output: OUTPUTS[0].1.to_owned(),
    }
}

/// A night of one format in which a hundredth of the people is asked for.
pub fn floor(settings: &Settings, format: &str) -> Night {
    Night { requests: (settings.people / 100).max(1), formats: format.to_owned(), ..base(settings) }
}

/// The groups of the axes, in the order of the axes. [`Axis::Floor`] has none: its rounds are of another kind.
pub fn groups(settings: &Settings, most_requests: u64, axes: &[Axis]) -> Vec<Group> {
    let group = |axis: &Axis| Group { axis: *axis, points: points(*axis, settings, most_requests) };
    axes.iter().map(group).filter(|group| !group.points.is_empty()).collect()
}

fn points(axis: Axis, settings: &Settings, most_requests: u64) -> Vec<Planned> {
    let point = |label: String, value: f64, night: Night| Planned { axis: axis.name(), label, value, night };
    let number = |count: u64, night: Night| point(grouped(count), count as f64, night);
    let base = base(settings);
    let mut points: Vec<Planned> = match axis {
        Axis::Requests => std::iter::successors(Some(1), |requests| Some(requests * REQUEST_STEP))
            .take_while(|requests| *requests <= most_requests.max(1))
            .map(|requests| number(requests, Night { requests, ..base.clone() }))
            .collect(),
        Axis::People => [settings.people / 4, settings.people / 2, settings.people, settings.people * 2]
            .into_iter()
            .filter(|people| *people > 0)
            .map(|people| number(people, Night { people, ..base.clone() }))
            .collect(),
        Axis::Datasets => halved(settings.datasets)
            .map(|datasets| number(datasets as u64, Night { datasets, ..base.clone() }))
            .collect(),
        Axis::Threads => {
            halved(settings.threads).map(|threads| number(threads as u64, Night { threads, ..base.clone() })).collect()
        }
        Axis::Selectivity => SHARES
            .iter()
            .map(|share| (share, settings.people * share / 1_000_000))
            .filter(|(_, requests)| *requests > 0)
            .map(|(share, requests)| {
                let per_cent = *share as f64 / 10_000.0;
                point(format!("{per_cent} %"), per_cent, Night { requests, ..base.clone() })
            })
            .collect(),
        Axis::Formats => FORMATS
            .iter()
            .map(|formats| point((*formats).to_owned(), 0.0, Night { formats: (*formats).to_owned(), ..base.clone() }))
            .collect(),
        Axis::Outputs => OUTPUTS
            .iter()
            .map(|(layout, output)| {
                let night = Night { layout: (*layout).to_owned(), output: (*output).to_owned(), ..base.clone() };
                point(format!("{layout} {output}"), 0.0, night)
            })
            .collect(),
        Axis::Staged => [settings.people, settings.people * 10]
            .into_iter()
            .map(|people| number(people, Night { people, staged: true, ..base.clone() }))
            .collect(),
        Axis::Floor => Vec::new(),
    };
    points.sort_by(|one, other| one.value.total_cmp(&other.value));
    points
}

/// The number, its half, and so on down to 1.
fn halved(most: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(most), |number| Some(number / 2)).take_while(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            people: 200_000,
            requests: 20_000,
            datasets: 180,
            threads: 2,
            memory_bytes: 1 << 30,
            rounds: 5,
            seed: 1,
        }
    }

    fn values(axis: Axis) -> Vec<f64> {
        points(axis, &settings(), 1_000_000).iter().map(|point| point.value).collect()
    }

    #[test]
    fn axes_rise_to_their_largest_night() {
        assert_eq!(values(Axis::Requests), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]);
        assert_eq!(values(Axis::People), [5e4, 1e5, 2e5, 4e5]);
        assert_eq!(values(Axis::Datasets), [1.0, 2.0, 5.0, 11.0, 22.0, 45.0, 90.0, 180.0]);
        assert_eq!(values(Axis::Threads), [1.0, 2.0]);
        assert_eq!(values(Axis::Selectivity), [0.01, 0.1, 1.0, 10.0, 50.0]);
        assert_eq!(values(Axis::Staged), [2e5, 2e6]);
    }

    #[test]
    fn a_point_differs_from_the_common_night_in_its_axis_only() {
        let all = [Axis::Threads, Axis::Formats, Axis::Outputs, Axis::Floor];
        let groups = groups(&settings(), 10, &all);
        assert_eq!(groups.len(), 3, "the floor has rounds of its own");
        for group in groups {
            let same = group.points.iter().filter(|point| point.night == base(&settings()));
            assert_eq!(same.count(), 1, "{:?}", group.axis);
        }
        assert_eq!(floor(&settings(), "csv").requests, 2000);
    }

    #[test]
    fn a_night_of_nobody_is_not_planned() {
        let small = Settings { people: 3, ..settings() };
        assert_eq!(points(Axis::People, &small, 1).len(), 3);
        assert_eq!(points(Axis::Selectivity, &small, 1).len(), 1);
    }
}
