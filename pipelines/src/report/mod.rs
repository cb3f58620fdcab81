//! The report of a committed run as one page to hand to an auditor: counts, names and codes; no value of a row, no request.
//!
//! ```text
//!  head ─► matters to look at ─► requests, answers ─► late holders ─► rows, rejects ─► lineage ─► accounting ─► time
//! ```
//!
//! Both languages stand in the page; a switch without script shows one of them. Without telemetry, the same output gives the
//! same page.

mod accounting;
mod answers;
mod lineage;
mod matters;
mod rows;
mod time;
mod words;

use ieum_core::tally::{Names, Tally, UNKNOWN};

use crate::page::{self, escape, quantity::Quantity};
use crate::screen::grouped;
use crate::telemetry::Telemetry;

pub use words::Language;

/// What a report tells of.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// What the output says.
    pub tally: &'a Tally,
    /// What the run took, where it is known.
    pub telemetry: Option<&'a Telemetry>,
}

/// The page of a run, which opens in `first`.
pub fn html(run: Run<'_>, first: Language) -> String {
    let switch = |language: Language| {
        let (code, checked) = (language.code(), if language == first { " checked" } else { "" });
        format!("<input type=\"radio\" name=\"language\" id=\"in-{code}\"{checked}/>")
    };
    let name = |language: Language| {
        let (code, name) = (language.code(), language.say("한국어", "English"));
        format!("<label for=\"in-{code}\" lang=\"{code}\">{name}</label>")
    };
    let (korean, english) = rayon::join(|| text(run, Language::Ko), || text(run, Language::En));
    let body = format!(
        "{}<div class=\"switch\">{}</div>\n{}",
        Language::ALL.map(switch).concat(),
        Language::ALL.map(name).concat(),
        [korean, english].concat(),
    );
    let title = first.say("ieum 실행 보고서", "ieum run report");
    let title = format!("{title} {}", run.tally.manifest.as_of);
    page::html(first.code(), &title, include_str!("report.css"), &body)
}

/// A part of the page; without a body it is left out.
struct Section {
    title: &'static str,
    body: String,
}

/// The whole report in a language.
fn text(run: Run<'_>, language: Language) -> String {
    let tally = run.tally;
    let sections = [
        Section { title: language.say("확인할 사항", "To look at"), body: matters::told(tally, language) },
        Section {
            title: language.say("요구와 처리 결과", "Requests and answers"),
            body: answers::overview(tally, language),
        },
        Section {
            title: language.say("보유기관별 결과", "By holder"), body: answers::by_holder(tally, language)
        },
        Section {
            title: language.say("서비스별 결과", "By service"), body: answers::by_service(tally, language)
        },
        Section { title: language.say("지연된 보유기관", "Late holders"), body: answers::late(tally, language) },
        Section {
            title: language.say("제공하지 않은 사유", "Reasons"), body: answers::reasons(tally, language)
        },
        Section { title: language.say("자료 흐름", "Lineage"), body: lineage::picture(tally, language) },
        Section {
            title: language.say("데이터셋별 행 수", "Rows by dataset"), body: rows::by_dataset(tally, language)
        },
        Section { title: language.say("읽지 못한 행", "Rejected rows"), body: rows::rejects(tally, language) },
        Section { title: language.say("회계 검증", "Accounting"), body: accounting::told(tally, language) },
        Section { title: language.say("시간과 메모리", "Time and memory"), body: time::told(run, language) },
        Section { title: language.say("실행 정보", "The run"), body: facts(run, language) },
    ];
    let sections = sections.into_iter().filter(|section| !section.body.is_empty()).enumerate();
    let part =
        |(nr, Section { title, body })| format!("<section><h2>{}. {title}</h2>\n{body}</section>\n", nr + 1_usize);
    format!(
        "<main lang=\"{}\">\n{}{}{}</main>\n",
        language.code(),
        head(run, language),
        sections.map(part).collect::<String>(),
        foot(tally, language),
    )
}

fn head(run: Run<'_>, language: Language) -> String {
    let (tally, requests) = (run.tally, &run.tally.manifest.requests);
    let figures = [
        (requests.requests, language.say("요구", "requests"), ""),
        (requests.delivered, language.say("전부 제공", "delivered"), "good"),
        (requests.partial, language.say("일부 제공", "partly delivered"), ""),
        (requests.refused, language.say("거절", "refused"), ""),
        (requests.delayed, language.say("지연", "delayed"), if requests.delayed > 0 { "bad" } else { "" }),
    ];
    let figure = |(count, name, class): (u64, &str, &str)| {
        format!("<div class=\"figure {class}\"><b>{}</b><span>{name}</span></div>", grouped(count))
    };
    let approvals =
        [language.say("담당", "Prepared"), language.say("검토", "Reviewed"), language.say("승인", "Approved")];
    let approval = |name: &str| format!("<div><span>{name}</span><i></i></div>");
    let (class, verdict) = verdict(tally, language);
    format!(
        "<header><div><p class=\"kind\">{}</p><h1>{}</h1><p class=\"of\">{} <b>{}</b> · {} <code>{}</code></p></div>\
         <div class=\"approvals\">{}</div></header>\n<p class=\"verdict {class}\">{verdict}</p>\n\
         <div class=\"figures\">{}</div>\n",
        language.say("이음(ieum) 데이터 연계", "ieum dataset linkage"),
        language.say("일괄 실행 보고서", "Run report"),
        language.say("기준일", "declared date"),
        escape(&tally.manifest.as_of),
        language.say("실행 번호", "run"),
        escape(&tally.manifest.run_id),
        approvals.map(approval).concat(),
        figures.map(figure).concat(),
    )
}

/// Whether somebody has to look, in one sentence.
fn verdict(tally: &Tally, language: Language) -> (&'static str, String) {
    let broken = accounting::identities(tally, language).iter().filter(|identity| !identity.holds).count() as u64;
    let matters = matters::matters(tally, language).len() as u64;
    match (broken, matters) {
        (0, 0) => {
            ("fine", language.say("확정됨. 확인할 사항이 없습니다.", "Committed; nothing to look at.").to_owned())
        }
        (0, _) => {
            let matters = language.count(matters, "건", "matter", "matters");
            let look = language.say("확정됨. 확인할 사항", "Committed; to look at:");
            ("look", format!("{look} {matters}"))
        }
        _ => {
            let what = language.say("회계가 맞지 않습니다", "the accounting does not agree");
            ("wrong", format!("{what} ({broken})"))
        }
    }
}

fn facts(run: Run<'_>, language: Language) -> String {
    let (tally, manifest) = (run.tally, &run.tally.manifest);
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    let bundles: u64 = tally.deliveries.iter().map(|delivery| delivery.bundles).sum();
    let mut facts = vec![
        (language.say("실행 번호", "run"), manifest.run_id.clone()),
        (language.say("계보 UUID", "lineage UUID"), tally.lineage_id.clone()),
        (language.say("기준일", "declared date"), manifest.as_of.clone()),
        (language.say("카탈로그 해시", "catalog digest"), manifest.catalog_digest.clone()),
        (language.say("요구 파일 해시", "requests digest"), manifest.requests_digest.clone()),
        (
            language.say("가명 키", "pseudonym key"),
            format!("{} ({} {})", manifest.key_id, language.say("세대", "epoch"), manifest.key_epoch),
        ),
        (language.say("꾸러미", "bundles"), grouped(bundles)),
        (
            language.say("출력 파일", "files written"),
            format!("{} ({})", grouped(manifest.files.len() as u64), Quantity::Bytes.text(bytes as f64)),
        ),
        (language.say("실행 해시", "run digest"), manifest.run_digest.clone()),
    ];
    if let Some(late) = &manifest.taken_back {
        let words = language.say("요구 N건, 서류 M건", "requests: N, document lines: M");
        let told = words.replace('N', &grouped(late.requests)).replace('M', &grouped(late.documents));
        facts.push((language.say("실행 중 철회", "taken back meanwhile"), told));
    }
    if let Some(telemetry) = run.telemetry {
        let (limit, threads) = (Quantity::Bytes.text(telemetry.memory_limit_bytes as f64), telemetry.threads);
        facts.insert(2, (language.say("시작 시각", "began"), telemetry.began.clone()));
        facts.push((language.say("프로그램", "program"), format!("ieum {}", telemetry.version)));
        facts.push((
            language.say("설정", "settings"),
            language
                .say("스레드 N, 메모리 한도 M", "N threads, memory limit M")
                .replace('N', &threads.to_string())
                .replace('M', &limit),
        ));
    }
    let rows: String = facts.iter().map(|(name, fact)| page::row("", &[(*name).to_owned(), fact.clone()])).collect();
    let note = language.say(
        "이 보고서가 읽은 파일은 모두 manifest.json의 해시와 대조했습니다. 꾸러미까지 포함한 전체 검증은 다음 명령으로 합니다:",
        "Every file that this report was made from agrees with its digest in manifest.json. To verify all of the output, bundles included:",
    );
    format!(
        "<div class=\"wide\"><table class=\"words\"><tbody>\n{rows}</tbody></table></div>\n\
         <p class=\"soft\">{note} <code>ieum verify {}</code></p>\n",
        escape(&manifest.as_of)
    )
}

fn foot(tally: &Tally, language: Language) -> String {
    let words = language.say(
        "집계값과 코드·명칭만 담았으며, 개인정보와 식별자는 들어 있지 않습니다.",
        "Holds counts, codes and names only; no personal data and no identifier.",
    );
    format!(
        "<footer>{words} <code>{}</code></footer>\n",
        escape(&tally.manifest.run_digest[..16.min(tally.manifest.run_digest.len())])
    )
}

/// A code and its Korean name, the one that is of the language first.
fn named(language: Language, korean: Option<&str>, code: &str) -> String {
    match (language, korean) {
        (_, None) if code == UNKNOWN => escape(language.say("목록에 없는 코드", "not in the catalog")),
        (_, None) => escape(code),
        (Language::Ko, Some(name)) => format!("{} <small>{}</small>", escape(name), escape(code)),
        (Language::En, Some(name)) => format!("{} <small lang=\"ko\">{}</small>", escape(code), escape(name)),
    }
}

fn holder(names: &Names, language: Language, code: &str) -> String {
    named(language, names.holders.get(code).map(String::as_str), code)
}

fn dataset(names: &Names, language: Language, code: &str) -> String {
    named(language, names.datasets.get(code).map(|name| name.name.as_str()), code)
}

/// The code of a dataset's holder.
fn holder_of<'a>(names: &'a Names, dataset: &str) -> &'a str {
    names.datasets.get(dataset).map_or(UNKNOWN, |name| name.of.as_str())
}
