//! A value that must not reach a log by accident.

use std::fmt;

/// Holds a value that has no [`fmt::Display`] and prints as `<redacted>` in [`fmt::Debug`].
///
/// # Privacy
/// [`Sensitive::expose`] is the only way to the value, so that a reviewer can search for it.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Sensitive<T>(T);

impl<T> Sensitive<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, on purpose.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, on purpose, without the wrapper.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> From<T> for Sensitive<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_print_the_value() {
        let held = Some(Sensitive::new("991231-3000002"));
        assert_eq!(format!("{held:?}"), "Some(<redacted>)");
        assert_eq!(held.map(|s| *s.expose()), Some("991231-3000002"));
    }
}
