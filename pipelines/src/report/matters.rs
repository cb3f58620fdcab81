//! What somebody should look at: why the run ended with exit code 3.

use std::collections::BTreeSet;

use ieum_core::tally::Tally;
use ieum_model::outcome::Outcome;

use super::Language;
use crate::page::escape;
use crate::screen::grouped;

/// Matters as sentences; none of a run in which nothing is to be looked at.
pub(super) fn matters(tally: &Tally, language: Language) -> Vec<String> {
    let mut matters = Vec::new();
    let holder = |dataset: &String| super::holder_of(&tally.names, dataset);
    let holders: BTreeSet<&str> = tally.late.keys().map(holder).collect();
    for late in holders {
        let (mut datasets, mut reasons) = (Vec::new(), BTreeSet::new());
        for (dataset, reason) in tally.late.iter().filter(|(dataset, _)| holder(dataset) == late) {
            datasets.push(language.dataset(&tally.names, dataset));
            reasons.insert(language.reason(reason));
        }
        let reasons: Vec<&str> = reasons.into_iter().collect();
        let what = language.say("자료를 쓰지 못함", "exports not used");
        matters.push(format!(
            "{}: {what} — {} ({})",
            language.holder(&tally.names, late),
            datasets.join(", "),
            reasons.join("; ")
        ));
    }
    let delayed = tally.manifest.outcomes.get(Outcome::Delayed.code()).copied().unwrap_or(0);
    let rejected: u64 = tally.rows.values().map(|rows| rows.rejected).sum();
    let malformed: u64 = tally.malformed.values().sum();
    let counted = [
        (
            delayed,
            "지연된 서류 #건: 다음 실행이 다시 요구합니다",
            "document lines delayed: #; the next run asks for them again",
        ),
        (
            tally.manifest.carried_on,
            "요구가 접수되지 않아 열려 있는 이전 서류 #건",
            "lines of earlier runs that stay open, because their request was not received: #",
        ),
        (rejected, "읽지 못한 행 #건 (rejects/rows.ndjson)", "rows that could not be read: # (rejects/rows.ndjson)"),
        (
            malformed,
            "형식에 맞지 않는 요구 #건 (rejects/requests.ndjson)",
            "malformed requests: # (rejects/requests.ndjson)",
        ),
    ];
    for (count, korean, english) in counted.into_iter().filter(|(count, ..)| *count > 0) {
        matters.push(language.say(korean, english).replace('#', &grouped(count)));
    }
    matters
}

pub(super) fn told(tally: &Tally, language: Language) -> String {
    let matters = matters(tally, language);
    if matters.is_empty() {
        return format!("<p>{}</p>\n", language.say("없음", "Nothing."));
    }
    let items: String = matters.iter().map(|matter| format!("<li>{}</li>\n", escape(matter))).collect();
    format!("<ul class=\"matters\">\n{items}</ul>\n")
}
