//! The one error type of the workspace: what failed, where, and what to do about it.

use std::fmt;

/// What kind of failure it is; decides the exit code that a scheduler branches on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A catalog, run definition or request file breaks its contract.
    Config,
    /// An export does not keep the contract of its dataset: format, encoding, columns.
    Contract,
    /// An export does not agree with its own control totals: manifest, counts, sums. Its holder sent something else than
    /// it meant to, or part of it; nothing that was read of it can be trusted.
    ControlTotals,
    /// A gate refused to publish; nothing was released.
    Gate,
    /// A file, store or disk could not be read or written; a retry may help.
    Temporary,
    /// Another run holds the lock.
    Locked,
    /// A key is missing, malformed or readable by others.
    Key,
    /// A digest, count or accounting identity does not hold.
    Integrity,
    /// Our bug.
    Internal,
}

impl ErrorKind {
    /// The exit code for this kind of failure. Codes are only ever added; a meaning never changes.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Gate => 4,
            Self::Temporary => 5,
            Self::Config | Self::Contract | Self::ControlTotals => 6,
            Self::Locked => 11,
            Self::Key => 12,
            Self::Integrity => 20,
        }
    }
}

/// A failure with its place and a hint. Never carries a value from a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What failed and what was expected.
    pub message: String,
    /// Where: pairs such as `("dataset", "passport_info")`, in the order they were added.
    pub context: Vec<(&'static str, String)>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Result with the workspace's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` that says what failed.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), context: Vec::new(), hint: None }
    }

    /// A contract of the configuration is broken.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// A contract of an export is broken.
    pub fn contract(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Contract, message)
    }

    /// An export does not agree with its control totals.
    pub fn control_totals(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ControlTotals, message)
    }

    /// Our bug.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Adds where it happened: `("line", 12)`, `("dataset", code)`. The same place is told once.
    #[must_use]
    pub fn at(mut self, field: &'static str, value: impl fmt::Display) -> Self {
        let place = (field, value.to_string());
        if !self.context.contains(&place) {
            self.context.push(place);
        }
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Error {
    /// The error as a warning tells it: what, where, and what to do.
    pub fn told(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{self}\n  hint: {hint}"),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for (field, value) in &self.context {
            write!(f, "\n  {field}: {value}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// `text` without what URLs in it may hold of secrets: user names, passwords and queries.
pub fn without_secrets(text: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ')' | '>' | '<' | ',');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + "://".len());
        let (url, after) = url.split_at(url.find(is_end).unwrap_or(url.len()));
        let (place, query) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
        let host_end = place.find('/').unwrap_or(place.len());
        let user_end = place[..host_end].rfind('@').map_or(0, |at| at + 1);
        shown.push_str(before);
        shown.push_str(&place[user_end..]);
        if !query.is_empty() {
            shown.push_str("?…");
        }
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// The name among `known` that is nearest to `wrong`, if one is near enough to be a slip of the pen.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this Jaro-Winkler similarity a suggestion confuses more than it helps.
    const NEAR_ENOUGH: f64 = 0.85;
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .filter(|(similarity, _)| *similarity >= NEAR_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_answered_with_the_nearest_name() {
        let known = ["passport_info", "basic_cert", "land_register"];
        assert_eq!(nearest("pasport_info", known), Some("passport_info"));
        assert_eq!(nearest("zzz", known), None);
    }

    #[test]
    fn a_url_is_told_without_its_secrets() {
        let shown = |text| without_secrets(text);
        assert_eq!(shown("get https://u:p@h:1/a?sig=x%2F (no)"), "get https://h:1/a?… (no)");
        assert_eq!(shown("postgresql://u@h/d, s3://b/p@q and //"), "postgresql://h/d, s3://b/p@q and //");
        assert_eq!(shown("한글 az://u:비밀@h"), "한글 az://h");
    }

    #[test]
    fn an_error_says_what_and_where_in_the_order_it_was_told() {
        let error = Error::contract("column `brno` is missing").at("dataset", "d").at("line", 3).at("dataset", "d");
        assert_eq!(error.to_string(), "column `brno` is missing\n  dataset: d\n  line: 3");
        assert_eq!(error.clone().hint("ask").told(), format!("{error}\n  hint: ask"));
        assert_eq!(error.kind.exit_code(), 6);
    }
}
