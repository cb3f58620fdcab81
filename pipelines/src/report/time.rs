//! What the run took: its steps, and memory and bytes over time.

use super::{Language, Run};
use crate::page::plot::{Measured, Plot, Series, stacked};
use crate::page::quantity::Quantity;
use crate::telemetry::{Sample, Telemetry};

/// Parts that a run is cut into for its rates.
const PARTS: usize = 60;

pub(super) fn told(run: Run<'_>, language: Language) -> String {
    let Some(telemetry) = run.telemetry else { return String::new() };
    let rows: u64 = run.tally.rows.values().map(|rows| rows.read).sum();
    let rate = Quantity::Rate.text(rows as f64 / telemetry.wall_seconds.max(1e-9));
    let peak = telemetry.peak_memory_bytes.map_or("–".to_owned(), |bytes| Quantity::Bytes.text(bytes as f64));
    let limit = Quantity::Bytes.text(telemetry.memory_limit_bytes as f64);
    let took = Quantity::Time.text(telemetry.wall_seconds);
    let words = match language {
        Language::Ko => format!("{took} 걸렸습니다: {rate}, 최대 메모리 {peak} (한도 {limit})."),
        Language::En => format!("It took {took}: {rate}, at most {peak} of memory (limit {limit})."),
    };
    let words = words.replace("rows/s", language.say("행/초", "rows/s"));
    let steps: Vec<&str> = telemetry.steps.iter().map(|step| language.step(&step.step)).collect();
    let seconds: Vec<f64> = telemetry.steps.iter().map(|step| step.seconds).collect();
    let shares = language.say("전체 시간에 대한 비율 (%)", "share of the time of all steps (%)");
    let all = [language.say("전체", "all").to_owned()];
    let steps = stacked(language.say("단계별 시간", "Steps"), shares, &steps, &all, &[seconds]);
    format!(
        "<p>{words}</p>\n<div class=\"plots\">\n{}{}{steps}</div>\n",
        memory(telemetry, language),
        rates(telemetry, language)
    )
}

fn exact(value: f64) -> Option<Measured> {
    Measured::of([value])
}

fn memory(telemetry: &Telemetry, language: Language) -> String {
    let seconds: Vec<f64> = telemetry.samples.iter().map(|sample| sample.seconds).collect();
    let values = telemetry.samples.iter().map(|sample| exact(sample.memory_bytes as f64)).collect();
    let title = language.say("메모리", "Memory");
    let series = vec![Series { name: title, values }];
    Plot { title, quantity: Quantity::Bytes, labels: Vec::new(), series, limit: None }.over_time(&seconds)
}

fn rates(telemetry: &Telemetry, language: Language) -> String {
    let cuts = cuts(&telemetry.samples);
    let seconds: Vec<f64> = cuts.windows(2).map(|pair| pair[1].seconds).collect();
    let rate = |of: fn(&Sample) -> u64| {
        let of_pair = |pair: &[Sample]| {
            let bytes = of(&pair[1]).saturating_sub(of(&pair[0])) as f64;
            exact(bytes / (pair[1].seconds - pair[0].seconds))
        };
        cuts.windows(2).map(of_pair).collect()
    };
    let series = vec![
        Series { name: language.say("읽기", "read"), values: rate(|sample| sample.read_bytes) },
        Series { name: language.say("쓰기", "written"), values: rate(|sample| sample.written_bytes) },
    ];
    let title = language.say("읽고 쓴 속도", "Rates");
    Plot { title, quantity: Quantity::Flow, labels: Vec::new(), series, limit: None }.over_time(&seconds)
}

/// Samples that cut the run into parts of about the same length.
fn cuts(samples: &[Sample]) -> Vec<Sample> {
    let whole = samples.last().map_or(0.0, |sample| sample.seconds);
    let mut cuts: Vec<Sample> = Vec::new();
    for sample in samples {
        let far = |last: &Sample| sample.seconds - last.seconds >= (whole / PARTS as f64).max(1e-3);
        if cuts.last().is_none_or(far) {
            cuts.push(*sample);
        }
    }
    cuts
}
