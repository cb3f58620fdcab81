//! Words that many requests have in common, kept once by the thread that reads them.

use std::cell::RefCell;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::RequestedDocument;

/// Kept of each sort. A file that keeps to a catalog has fewer; beyond, a request keeps its words alone.
const MOST: usize = 1024;

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

#[derive(Default)]
struct Kept {
    words: FxHashMap<Box<str>, Arc<str>>,
    codes: FxHashMap<Box<str>, Arc<[Box<str>]>>,
    documents: FxHashMap<Box<str>, Arc<[RequestedDocument]>>,
}

/// The word, as every request of this thread has it.
pub(super) fn word(text: &str) -> Arc<str> {
    KEPT.with_borrow_mut(|kept| once(&mut kept.words, text, || text.into()))
}

/// The list of codes that `make` reads of `text`.
pub(super) fn codes(text: &str, make: impl FnOnce() -> Arc<[Box<str>]>) -> Arc<[Box<str>]> {
    KEPT.with_borrow_mut(|kept| once(&mut kept.codes, text, make))
}

/// The documents that `make` reads of `text`; what cannot be read is not kept.
pub(super) fn documents(
    text: &str,
    make: impl FnOnce() -> Option<Arc<[RequestedDocument]>>,
) -> Option<Arc<[RequestedDocument]>> {
    KEPT.with_borrow_mut(|kept| match kept.documents.get(text) {
        Some(known) => Some(Arc::clone(known)),
        None => make().map(|documents| once(&mut kept.documents, text, || documents)),
    })
}

fn once<T: ?Sized>(kept: &mut FxHashMap<Box<str>, Arc<T>>, text: &str, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
    if let Some(known) = kept.get(text) {
        return Arc::clone(known);
    }
    let made = make();
    if kept.len() < MOST {
        kept.insert(text.into(), Arc::clone(&made));
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_kept_once_and_too_many_words_are_not_kept() {
        assert!(Arc::ptr_eq(&word("tax"), &word("tax")));
        let many: Vec<_> = (0..2 * MOST).map(|number| word(&number.to_string())).collect();
        assert!(many.iter().zip(0..).all(|(word, number)| **word == number.to_string()));
        assert!(KEPT.with_borrow(|kept| kept.words.len()) <= MOST);
        assert!(Arc::ptr_eq(&word("tax"), &word("tax")));
    }
}
