//! The answer to every document line, and the accounting identities that must hold before a run commits.

use std::fmt;

/// Refusal grounds of 개인정보보호법 시행령 42조의8 (R01–R11) and the reasons the engine gives itself (E_…).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Reason {
    /// Consent of the legal representative (child under 14) not confirmed.
    R01,
    /// A statutory restriction on access applies.
    R02,
    /// Would harm a third party's right or interest.
    R03,
    /// Agent's authority not confirmed.
    R04,
    /// Request not specific enough.
    R05,
    /// Identity not confirmed.
    R06,
    /// Stolen or improper credentials.
    R07,
    /// Recipient is not an eligible kind.
    R08,
    /// Abuse for crime, clear harm to the subject.
    R09,
    /// Excessive repetition without reason.
    R10,
    /// Signs of deceit or threat by a third party.
    R11,
    /// No record.
    NotFound,
    /// More than one candidate.
    Ambiguous,
    /// The export is older than the validity rule allows.
    Stale,
    /// The holder's export was not delivered.
    HolderMissing,
    /// The export's control totals do not agree.
    ControlTotals,
    /// The export does not keep the contract of its dataset: cut short, a column missing, too many unreadable rows.
    ContractBroken,
    /// About a protected person (주민등록법 시행규칙 13조의2, 가족관계등록법 15조의2, witnesses): answered before any export is read.
    Suppressed,
    /// No way to the dataset's key space from what the request names.
    NotReachable,
    /// Consent expired or not yet valid on the run's date.
    ConsentExpired,
    /// The consent record that the request names is not known, or cannot be read.
    ConsentUnknown,
    /// The consent record covers another recipient, purpose or item.
    ConsentScope,
    /// The same request was already received.
    Duplicate,
    /// A periodic request that is not due on the run's date.
    NotDue,
    /// The request is not well formed.
    Malformed,
}

impl Reason {
    /// The code written to outcomes and bundles.
    pub fn code(self) -> &'static str {
        match self {
            Self::R01 => "R01",
            Self::R02 => "R02",
            Self::R03 => "R03",
            Self::R04 => "R04",
            Self::R05 => "R05",
            Self::R06 => "R06",
            Self::R07 => "R07",
            Self::R08 => "R08",
            Self::R09 => "R09",
            Self::R10 => "R10",
            Self::R11 => "R11",
            Self::NotFound => "E_NOT_FOUND",
            Self::Ambiguous => "E_AMBIGUOUS",
            Self::Stale => "E_STALE",
            Self::HolderMissing => "E_HOLDER_MISSING",
            Self::ControlTotals => "E_CONTROL_TOTALS",
            Self::ContractBroken => "E_CONTRACT",
            Self::Suppressed => "E_SUPPRESSED",
            Self::NotReachable => "E_NOT_REACHABLE",
            Self::ConsentExpired => "E_CONSENT_EXPIRED",
            Self::ConsentUnknown => "E_CONSENT_UNKNOWN",
            Self::ConsentScope => "E_CONSENT_SCOPE",
            Self::Duplicate => "E_DUPLICATE",
            Self::NotDue => "E_NOT_DUE",
            Self::Malformed => "E_MALFORMED",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What became of one document line of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Records delivered with every item asked for.
    Provided,
    /// Records delivered, some items withheld.
    Partial,
    /// The export has no record of the subject.
    NotFound,
    /// More than one subject could be meant.
    Ambiguous,
    /// The dataset's key space cannot be reached from what the request names.
    NotReachable,
    /// Refused, with the reason.
    Refused,
    /// The holder's export is missing, stale or fails its control totals; carried over to the next run.
    Delayed,
    /// The subject withdrew the request.
    Withdrawn,
    /// No consent for this document: it goes on the paper list.
    NoConsent,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 9] = [
        Self::Provided,
        Self::Partial,
        Self::NotFound,
        Self::Ambiguous,
        Self::NotReachable,
        Self::Refused,
        Self::Delayed,
        Self::Withdrawn,
        Self::NoConsent,
    ];

    /// The outcome of this word.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.code() == code)
    }

    /// The word written to outcomes and bundles.
    pub fn code(self) -> &'static str {
        match self {
            Self::Provided => "provided",
            Self::Partial => "partial",
            Self::NotFound => "not_found",
            Self::Ambiguous => "ambiguous",
            Self::NotReachable => "not_reachable",
            Self::Refused => "refused",
            Self::Delayed => "delayed",
            Self::Withdrawn => "withdrawn",
            Self::NoConsent => "no_consent",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
