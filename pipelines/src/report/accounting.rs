//! The accounting identities with their numbers.

use ieum_core::tally::Tally;
use ieum_model::outcome::Outcome;

use super::Language;
use crate::page::cards;
use crate::screen::grouped;

/// Two sides that have to be equal.
pub(super) struct Identity {
    what: &'static str,
    sides: String,
    /// Whether they are.
    pub holds: bool,
}

fn identity(what: &'static str, left: (&str, u64), right: &[(&str, u64)]) -> Identity {
    let term = |(name, count): &(&str, u64)| format!("{} <small>{name}</small>", grouped(*count));
    let right_side: Vec<String> = right.iter().map(term).collect();
    let holds = left.1 == right.iter().map(|(_, count)| count).sum::<u64>();
    let sign = if holds { "=" } else { "≠" };
    Identity { what, sides: format!("{} {sign} {}", term(&left), right_side.join(" + ")), holds }
}

pub(super) fn identities(tally: &Tally, language: Language) -> Vec<Identity> {
    let (manifest, say) =
        (&tally.manifest, |korean: &'static str, english: &'static str| language.say(korean, english));
    let requests = &manifest.requests;
    let sum = |count: fn(&ieum_core::manifest::SourceCounts) -> u64| tally.rows.values().map(count).sum::<u64>();
    let lines: u64 = tally.answers.values().map(|answered| answered.lines).sum();
    let with_records: u64 = tally.answers.values().map(|answered| answered.with_records).sum();
    let records: u64 = tally.answers.values().map(|answered| answered.records).sum();
    let outcomes: Vec<(&str, u64)> = Outcome::ALL
        .into_iter()
        .filter_map(|outcome| Some((language.outcome(outcome), *manifest.outcomes.get(outcome.code())?)))
        .collect();
    let delayed = manifest.outcomes.get(Outcome::Delayed.code()).copied().unwrap_or(0);
    let balanced = manifest.sources.values().filter(|c| c.read == c.kept + c.filtered + c.rejected).count() as u64;
    vec![
        identity(
            say("요구", "requests"),
            (say("요구", "requests"), requests.requests),
            &[
                (say("전부 제공", "delivered"), requests.delivered),
                (say("일부 제공", "partly delivered"), requests.partial),
                (say("거절", "refused"), requests.refused),
                (say("지연", "delayed"), requests.delayed),
            ],
        ),
        identity(
            say("행", "rows"),
            (say("읽음", "read"), sum(|c| c.read)),
            &[
                (say("선별", "kept"), sum(|c| c.kept)),
                (say("제외", "filtered"), sum(|c| c.filtered)),
                (say("거부", "rejected"), sum(|c| c.rejected)),
            ],
        ),
        identity(
            say("읽기마다", "each reading"),
            (say("읽기", "readings"), manifest.sources.len() as u64),
            &[(say("행 수가 맞는 읽기", "whose rows add up"), balanced)],
        ),
        identity(say("답", "answers"), ("outcomes.parquet", lines), &outcomes),
        identity(
            say("이월", "carried over"),
            ("carried_over.parquet", tally.carried_over),
            &[(say("지연", "delayed"), delayed), (say("요구 미접수", "request not received"), manifest.carried_on)],
        ),
        identity(
            say("거부된 행", "rejected rows"),
            ("rejects/rows.ndjson", tally.rejects.values().sum()),
            &[("manifest.json", sum(|c| c.rejected))],
        ),
        identity(
            say("통계: 제공 서류", "statistics: lines with records"),
            ("statistics.csv", tally.published.0),
            &[("outcomes.parquet", with_records)],
        ),
        identity(
            say("통계: 제공 기록", "statistics: records"),
            ("statistics.csv", tally.published.1),
            &[("outcomes.parquet", records)],
        ),
    ]
}

pub(super) fn told(tally: &Tally, language: Language) -> String {
    let head = ["", language.say("등식", "identity"), ""];
    let rows = identities(tally, language).into_iter().map(|identity| {
        let (class, word) = match identity.holds {
            true => ("yes", language.say("맞음", "holds")),
            false => ("no", language.say("틀림", "does not hold")),
        };
        vec![identity.what.to_owned(), identity.sides, format!("<b class=\"{class}\">{word}</b>")]
    });
    cards("identities", &head, rows)
}
