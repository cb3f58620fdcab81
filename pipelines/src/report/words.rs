//! The two languages of a report, and what the codes of the program are called in them.

use clap::ValueEnum;
use ieum_core::tally::{Names, OwnName, UNKNOWN};
use ieum_model::outcome::Outcome;

/// A language of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Korean.
    Ko,
    /// English.
    En,
}

impl Language {
    /// Both, in the order of the switch.
    pub const ALL: [Self; 2] = [Self::Ko, Self::En];

    /// As HTML names it.
    pub fn code(self) -> &'static str {
        self.say("ko", "en")
    }

    /// The one of two texts that is in this language.
    pub fn say<'a>(self, korean: &'a str, english: &'a str) -> &'a str {
        match self {
            Self::Ko => korean,
            Self::En => english,
        }
    }

    /// `3건`, `1 row`, `3 rows`.
    pub fn count(self, count: u64, korean: &str, one: &str, many: &str) -> String {
        let number = crate::screen::grouped(count);
        match self {
            Self::Ko => format!("{number}{korean}"),
            Self::En => format!("{number} {}", if count == 1 { one } else { many }),
        }
    }

    /// The name of a holder, or its code where names are not in this language.
    pub fn holder<'a>(self, names: &'a Names, code: &'a str) -> &'a str {
        self.name(names.holders.get(code).map(String::as_str), code)
    }

    /// The name of a dataset.
    pub fn dataset<'a>(self, names: &'a Names, code: &'a str) -> &'a str {
        self.name(names.datasets.get(code).map(own), code)
    }

    /// The name of a recipient.
    pub fn recipient<'a>(self, names: &'a Names, code: &'a str) -> &'a str {
        self.name(names.recipients.get(code).map(String::as_str), code)
    }

    /// The name of a service, or what stands for none.
    pub fn service<'a>(self, names: &'a Names, code: Option<&'a str>) -> &'a str {
        match code {
            None => self.say("개별 서류 지정", "single documents"),
            Some(code) => self.name(names.services.get(code).map(own), code),
        }
    }

    fn name<'a>(self, name: Option<&'a str>, code: &'a str) -> &'a str {
        match (self, name) {
            (_, None) if code == UNKNOWN => self.say("목록에 없는 코드", "not in the catalog"),
            (Self::Ko, Some(name)) => name,
            _ => code,
        }
    }

    /// What an outcome is called.
    pub fn outcome(self, outcome: Outcome) -> &'static str {
        match outcome {
            Outcome::Provided => self.say("제공", "provided"),
            Outcome::Partial => self.say("일부 제공", "partial"),
            Outcome::NotFound => self.say("기록 없음", "not found"),
            Outcome::Ambiguous => self.say("대상 불명확", "ambiguous"),
            Outcome::NotReachable => self.say("연결 불가", "not reachable"),
            Outcome::Refused => self.say("거절", "refused"),
            Outcome::Delayed => self.say("지연", "delayed"),
            Outcome::Withdrawn => self.say("철회", "withdrawn"),
            Outcome::NoConsent => self.say("동의 없음", "no consent"),
        }
    }

    /// What the code of a reason means. R01 to R11: 개인정보 보호법 시행령 제42조의8.
    pub fn reason(self, code: &str) -> &'static str {
        match code {
            "R01" => {
                self.say("법정대리인 동의 미확인(14세 미만)", "legal representative's consent not confirmed (under 14)")
            }
            "R02" => self.say("법률에 따른 열람 제한", "a statutory restriction on access applies"),
            "R03" => self.say("제3자의 권리·이익 침해 우려", "would harm a third party's right or interest"),
            "R04" => self.say("대리권 미확인", "agent's authority not confirmed"),
            "R05" => self.say("요구 내용 불특정", "request not specific enough"),
            "R06" => self.say("본인 확인 불가", "identity not confirmed"),
            "R07" => self.say("인증수단 도용·부정 사용", "stolen or improper credentials"),
            "R08" => self.say("수신자 자격 미비", "recipient not eligible"),
            "R09" => self.say("범죄 악용 등 명백한 해악", "abuse for crime, clear harm to the subject"),
            "R10" => self.say("정당한 사유 없는 과도한 반복", "excessive repetition without reason"),
            "R11" => self.say("제3자의 기망·협박 정황", "signs of deceit or threat by a third party"),
            "E_NOT_FOUND" => self.say("해당 기록 없음", "no record"),
            "E_AMBIGUOUS" => self.say("둘 이상의 대상에 해당", "more than one candidate"),
            "E_STALE" => self.say("자료가 유효기간을 지남", "export older than the validity rule allows"),
            "E_HOLDER_MISSING" => self.say("보유기관 자료 미도착", "the holder delivered no export"),
            "E_CONTROL_TOTALS" => self.say("검증 합계 불일치", "control totals do not agree"),
            "E_CONTRACT" => self.say("자료 형식 위반", "the export, or a row of it, breaks its contract"),
            "E_SUPPRESSED" => self.say("보호 대상 기록", "protected record"),
            "E_NOT_REACHABLE" => self.say("요구된 식별자로 연결 불가", "no way from the identifiers of the request"),
            "E_CONSENT_EXPIRED" => self.say("동의 기간 아님", "consent expired or not yet valid"),
            "E_CONSENT_UNKNOWN" => self.say("동의 기록을 확인할 수 없음", "consent record not known or not readable"),
            "E_CONSENT_SCOPE" => self.say("동의 범위 밖", "consent covers another recipient, purpose or item"),
            "E_DUPLICATE" => self.say("중복 요구", "the same request was received already"),
            "E_NOT_DUE" => self.say("정기 제공일 아님", "periodic request not due"),
            "E_MALFORMED" => self.say("요구 형식 오류", "request not well formed"),
            _ => self.say("그 밖의 사유", "another reason"),
        }
    }

    /// What a step of a run is called.
    pub fn step(self, step: &str) -> &str {
        match step {
            "load" => self.say("점검", "load"),
            "plan" => self.say("계획", "plan"),
            "gather" => self.say("수집", "gather"),
            "assemble" => self.say("조립", "assemble"),
            "records" => self.say("기록", "records"),
            "commit" => self.say("확정", "commit"),
            other => other,
        }
    }
}

fn own(name: &OwnName) -> &str {
    &name.name
}
