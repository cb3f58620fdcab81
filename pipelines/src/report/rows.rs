//! Rows of exports: what was read, kept, turned away and rejected, and by which rule.

use ieum_core::tally::Tally;

use super::{Language, dataset, holder_of};
use crate::page::{cards, escape, quantity::Quantity};
use crate::screen::grouped;

pub(super) fn by_dataset(tally: &Tally, language: Language) -> String {
    let head = [
        language.say("보유기관", "holder"),
        language.say("데이터셋", "dataset"),
        language.say("읽음", "read"),
        language.say("선별", "kept"),
        language.say("제외", "filtered"),
        language.say("거부", "rejected"),
        language.say("연계됨", "linked"),
        language.say("읽은 양", "bytes read"),
    ];
    let holder = |code: &str| holder_of(&tally.names, code);
    let mut rows: Vec<_> = tally.rows.iter().collect();
    rows.sort_by_key(|(code, _)| (holder(code), code.as_str()));
    let of = |name: String, dataset: String, counts: [u64; 6]| {
        let [read, kept, filtered, rejected, staged, bytes] = counts;
        let mut cells = vec![name, dataset];
        cells.extend([read, kept, filtered, rejected, staged].map(grouped));
        cells.push(Quantity::Bytes.text(bytes as f64));
        cells
    };
    let mut sum = [0; 6];
    let mut cells = Vec::new();
    for (code, counts) in rows {
        let counts = [counts.read, counts.kept, counts.filtered, counts.rejected, counts.staged, counts.bytes];
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        cells.push(of(
            escape(language.holder(&tally.names, holder(code))),
            dataset(&tally.names, language, code),
            counts,
        ));
    }
    cells.push(of(format!("<b>{}</b>", language.say("합계", "all")), String::new(), sum));
    let note = language.say(
        "읽음 = 선별 + 제외 + 거부. 제외: 요구된 사람의 키가 아닌 행. 연계됨: 요구와 맞은 행으로, 한 행이 여러 요구에 쓰일 수 있습니다.",
        "read = kept + filtered + rejected. Filtered: rows whose key nobody asked for. Linked: rows that met a request; a row may meet several.",
    );
    format!("<p class=\"soft\">{note}</p>\n{}", cards("rows", &head, cells.into_iter()))
}

pub(super) fn rejects(tally: &Tally, language: Language) -> String {
    let mut body = String::new();
    if !tally.rejects.is_empty() {
        let head = [
            language.say("데이터셋", "dataset"),
            language.say("규칙", "rule"),
            language.say("열", "column"),
            language.say("행", "rows"),
        ];
        let rows = tally.rejects.iter().map(|((code, rule, column), count)| {
            let rule = format!("{} <small>{}</small>", escape(ruled(language, rule)), escape(rule));
            vec![dataset(&tally.names, language, code), rule, escape(column.as_deref().unwrap_or("–")), grouped(*count)]
        });
        body += &cards("names", &head, rows);
    }
    if !tally.malformed.is_empty() {
        let head = [language.say("요구 파일의 항목", "field of the request file"), language.say("요구", "requests")];
        let rows = tally.malformed.iter().map(|(field, count)| vec![escape(field), grouped(*count)]);
        body += &cards("names", &head, rows);
    }
    if body.is_empty() {
        return body;
    }
    let note = language.say(
        "원본 행은 rejects/에 빠짐없이 보관되며, 자료와 같은 수준으로 보호합니다. 여기에는 건수만 적습니다.",
        "The rows themselves stand complete in rejects/, protected like the data; here they are only counted.",
    );
    format!("{body}<p class=\"soft\">{note}</p>\n")
}

fn ruled(language: Language, rule: &str) -> &str {
    match rule {
        "ragged" => language.say("열 개수가 다름", "not as many cells as columns"),
        "type" => language.say("형식에 맞지 않는 값", "a value that is not of its type"),
        "key" => language.say("키가 없거나 잘못됨", "no usable key"),
        "encoding" => language.say("문자 부호화 오류", "not in its encoding"),
        "length" => language.say("길이가 다름", "not of its length"),
        _ => language.say("그 밖의 규칙", "another rule"),
    }
}
