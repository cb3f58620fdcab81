//! How tests look at what a cutter of nested rows makes of a text.

use crate::text::{Cut, Cutter};

/// The rows that a cutter cuts, `!` before those that are broken, and what it misses at the end: whatever of the text is in sight.
pub(crate) fn check<C: Cutter>(cutter: impl Fn() -> C, text: &str, expected: &[&str], missing: Option<&str>) {
    for window in [1, 3, 7, 1000] {
        let mut cutter = cutter();
        let (mut at, mut seen, mut found) = (0, window, Vec::new());
        while at < text.len() {
            seen = seen.max(at + 1).min(text.len());
            match cutter.cut(&text.as_bytes()[at..seen], seen == text.len()) {
                Cut::More => seen += window,
                Cut::Gap { next } => at += next,
                Cut::Row { end, next, .. } => {
                    found.push(text[at..at + end].to_owned());
                    at += next;
                }
                Cut::Broken { end, next, .. } => {
                    found.push(format!("!{}", &text[at..at + end]));
                    at += next;
                }
                cut => panic!("{cut:?}"),
            }
        }
        let expected: Vec<String> = expected.iter().map(|row| (*row).into()).collect();
        assert_eq!((found, cutter.missing()), (expected, missing), "{text}");
    }
}
