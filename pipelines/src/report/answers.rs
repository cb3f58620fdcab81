//! What became of the requests' lines: in all, by holder and by service, and why some were not answered.

use std::collections::BTreeMap;

use ieum_core::tally::{Answer, Answered, Tally};
use ieum_model::outcome::Outcome;

use super::{Language, dataset, holder, holder_of, named};
use crate::page::{cards, escape};
use crate::screen::grouped;

/// Lines by outcome, and records.
#[derive(Default)]
struct Row {
    lines: u64,
    records: u64,
    by_outcome: BTreeMap<Outcome, u64>,
}

impl Row {
    fn add(&mut self, answer: &Answer, answered: &Answered) {
        self.lines += answered.lines;
        self.records += answered.records;
        *self.by_outcome.entry(answer.outcome).or_default() += answered.lines;
    }
}

fn grouped_by<'a, K: Ord>(tally: &'a Tally, key: impl Fn(&'a Answer) -> K) -> BTreeMap<K, Row> {
    let mut rows = BTreeMap::<K, Row>::new();
    for (answer, answered) in &tally.answers {
        rows.entry(key(answer)).or_default().add(answer, answered);
    }
    rows
}

/// The shares of the outcomes as a bar.
fn bar(row: &Row, language: Language) -> String {
    let (mut before, mut parts) = (0, String::new());
    for (outcome, lines) in &row.by_outcome {
        let share = |lines: u64| 100.0 * lines as f64 / row.lines.max(1) as f64;
        parts += &format!(
            "<rect class=\"{}\" x=\"{:.2}%\" width=\"{:.2}%\" height=\"100%\"><title>{} {}</title></rect>",
            outcome.code(),
            share(before),
            share(*lines),
            language.outcome(*outcome),
            grouped(*lines),
        );
        before += lines;
    }
    format!(
        "<svg class=\"bar\" role=\"img\" aria-label=\"{}\">{parts}</svg>",
        language.say("결과별 비율", "shares of the outcomes")
    )
}

/// The outcomes that this run has.
fn outcomes(tally: &Tally) -> Vec<Outcome> {
    let has = |outcome: &Outcome| tally.manifest.outcomes.contains_key(outcome.code());
    Outcome::ALL.into_iter().filter(has).collect()
}

pub(super) fn overview(tally: &Tally, language: Language) -> String {
    let mut whole = Row::default();
    tally.answers.iter().for_each(|(answer, answered)| whole.add(answer, answered));
    let keys = outcomes(tally).into_iter().map(|outcome| {
        let lines = whole.by_outcome.get(&outcome).copied().unwrap_or(0);
        let share = 100.0 * lines as f64 / whole.lines.max(1) as f64;
        format!(
            "<li><svg class=\"dot\" aria-hidden=\"true\"><rect class=\"{}\" width=\"100%\" height=\"100%\"/></svg>{} <b>{}</b> <span>{share:.1} %</span></li>",
            outcome.code(),
            language.outcome(outcome),
            grouped(lines)
        )
    });
    let words = match language {
        Language::Ko => format!(
            "요구 {}건의 서류 {}건에 모두 답했습니다. 제공한 기록은 {}건입니다.",
            grouped(tally.manifest.requests.requests),
            grouped(whole.lines),
            grouped(whole.records)
        ),
        Language::En => format!(
            "Every one of {} document lines of {} requests has its answer; {} records were delivered.",
            grouped(whole.lines),
            grouped(tally.manifest.requests.requests),
            grouped(whole.records)
        ),
    };
    format!(
        "<p>{words}</p>\n<div class=\"whole\">{}</div>\n<ul class=\"keys\">{}</ul>\n",
        bar(&whole, language),
        keys.collect::<String>()
    )
}

/// A table of rows, each under its name: the most lines first.
fn table(tally: &Tally, language: Language, of: &str, mut rows: Vec<(String, Option<u64>, Row)>) -> String {
    rows.sort_by(|a, b| b.2.lines.cmp(&a.2.lines).then_with(|| a.0.cmp(&b.0)));
    let outcomes = outcomes(tally);
    let with_bundles = rows.iter().any(|(_, bundles, _)| bundles.is_some());
    let mut head = vec![of, ""];
    head.extend(with_bundles.then(|| language.say("꾸러미", "bundles")));
    head.push(language.say("서류", "lines"));
    head.extend(outcomes.iter().map(|outcome| language.outcome(*outcome)));
    head.push(language.say("기록", "records"));
    let cells = rows.into_iter().map(|(name, bundles, row)| {
        let mut cells = vec![name, bar(&row, language)];
        cells.extend(with_bundles.then(|| grouped(bundles.unwrap_or(0))));
        cells.push(grouped(row.lines));
        cells.extend(outcomes.iter().map(|outcome| grouped(row.by_outcome.get(outcome).copied().unwrap_or(0))));
        cells.push(grouped(row.records));
        cells
    });
    cards("answers", &head, cells)
}

pub(super) fn by_holder(tally: &Tally, language: Language) -> String {
    let of = |answer: &Answer| answer.dataset.as_ref().map(|dataset| holder_of(&tally.names, dataset));
    let rows = grouped_by(tally, of).into_iter().map(|(code, row)| {
        let name = match code {
            Some(code) => holder(&tally.names, language, code),
            None => escape(language.say("서류를 특정하지 않은 요구", "requests without a document")),
        };
        (name, None, row)
    });
    table(tally, language, language.say("보유기관", "holder"), rows.collect())
}

pub(super) fn by_service(tally: &Tally, language: Language) -> String {
    let rows = grouped_by(tally, |answer| (answer.recipient.as_str(), answer.service.as_deref()));
    let bundles = |recipient: &str, service: Option<&str>| {
        let delivered = tally.deliveries.iter().filter(|delivery| delivery.recipient == recipient);
        delivered
            .filter(|delivery| delivery.service == service.unwrap_or("documents"))
            .map(|delivery| delivery.bundles)
            .sum()
    };
    let rows = rows.into_iter().map(|((recipient, service), row)| {
        let to = named(language, tally.names.recipients.get(recipient).map(String::as_str), recipient);
        let name = match service {
            Some(code) => named(language, tally.names.services.get(code).map(|name| name.name.as_str()), code),
            None => escape(language.service(&tally.names, None)),
        };
        (format!("{name}<br/><span class=\"to\">→ {to}</span>"), Some(bundles(recipient, service)), row)
    });
    table(tally, language, language.say("서비스 → 이용기관", "service → recipient"), rows.collect())
}

/// The datasets of which nothing was used, and other lines that wait.
pub(super) fn late(tally: &Tally, language: Language) -> String {
    let mut lines = BTreeMap::<(&str, &str), u64>::new();
    for (answer, answered) in tally.answers.iter().filter(|(answer, _)| answer.outcome == Outcome::Delayed) {
        let (Some(dataset), Some(reason)) = (&answer.dataset, &answer.reason) else { continue };
        *lines.entry((dataset, reason)).or_default() += answered.lines;
    }
    for (dataset, reason) in &tally.late {
        lines.entry((dataset, reason)).or_default();
    }
    if lines.is_empty() {
        return String::new();
    }
    let head = [
        language.say("보유기관", "holder"),
        language.say("데이터셋", "dataset"),
        language.say("사유", "why"),
        language.say("지연된 서류", "lines delayed"),
    ];
    let rows = lines.into_iter().map(|((code, reason), lines)| {
        let why = match (tally.late.contains_key(code), reason) {
            (false, "E_CONTRACT") => language.say("일부 행을 읽지 못함", "some rows could not be read"),
            _ => language.reason(reason),
        };
        vec![
            holder(&tally.names, language, holder_of(&tally.names, code)),
            dataset(&tally.names, language, code),
            format!("{} <small>{}</small>", escape(why), escape(reason)),
            grouped(lines),
        ]
    });
    let mut rows: Vec<Vec<String>> = rows.collect();
    rows.sort();
    let note = language.say(
        "지연된 서류는 답이 나올 때까지 다음 실행이 다시 요구합니다.",
        "Delayed lines are asked again by the next run, until they are answered.",
    );
    format!("<p>{note}</p>\n{}", cards("names", &head, rows.into_iter()))
}

/// Why lines were not answered in full.
pub(super) fn reasons(tally: &Tally, language: Language) -> String {
    let mut lines = BTreeMap::<(Outcome, &str), u64>::new();
    for (answer, answered) in &tally.answers {
        if let Some(reason) = &answer.reason {
            *lines.entry((answer.outcome, reason)).or_default() += answered.lines;
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    let head = [language.say("결과", "outcome"), language.say("사유", "why"), language.say("서류", "lines")];
    let rows = lines.into_iter().map(|((outcome, reason), lines)| {
        let why = format!("{} <small>{}</small>", escape(language.reason(reason)), escape(reason));
        vec![language.outcome(outcome).to_owned(), why, grouped(lines)]
    });
    let note = language.say(
        "R01–R11: 개인정보 보호법 시행령 제42조의8의 거절 사유.",
        "R01–R11: refusal grounds of article 42-8 of the decree of the Personal Information Protection Act.",
    );
    format!("{}<p class=\"soft\">{note}</p>\n", cards("names", &head, rows))
}
