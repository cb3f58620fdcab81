//! A file of receipts: the terms and statements of one recipient and service, and at its end how it hangs on the run's root.
//!
//! ```text
//! {"terms":"ieum-terms/1", …}        before the first statement on them
//! {"receipt":"ieum-receipt/1", …}    a statement: a leaf of the file's tree
//! …
//! {"file_index":3, …}                path to the run's root, head, signature
//! ```
//!
//! It proves all of its statements at once, and gives the receipt of each.

use std::collections::BTreeMap;

use ieum_model::error::{Error, Result};
use ieum_privacy::PublicKey;
use rayon::prelude::*;

use super::merkle::{Hash, Tree};
use super::receipt::{FileName, FileProof, REFUSED_FILE, Receipt, Statement, Terms, decode, refused};
use crate::manifest::hex;

/// How the lines of terms and of the proof begin.
const TERMS_LINE: &[u8] = b"{\"terms\":";
const PROOF_LINE: &[u8] = b"{\"file_index\":";

/// A file of receipts, as read; every statement is on terms of the file, and all terms stand before their first statement.
pub struct ReceiptFile {
    terms: Vec<Terms<'static>>,
    /// Statements in the order of the bundles, each with the place of its terms.
    pub(super) statements: Vec<(Statement<'static>, usize)>,
    leaves: Vec<Hash>,
    pub(super) proof: FileProof,
}

impl ReceiptFile {
    /// Whether bytes are meant to be a file of receipts rather than a receipt; nothing else of them is checked.
    pub fn is_meant_by(bytes: &[u8]) -> bool {
        bytes.starts_with(TERMS_LINE)
    }

    /// Reads a file of receipts; whether its root is covered and signed is asked of it afterwards.
    ///
    /// # Errors
    /// [`ieum_model::error::ErrorKind::Integrity`] with the line that is not as it was written.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let last = lines.pop().filter(|line| line.starts_with(PROOF_LINE));
        let last =
            last.ok_or_else(|| refused("the file of receipts does not end as it was written: it is cut short"))?;
        let proof: FileProof = decode("the proof of the file", last)?;
        let (mut terms, mut by_digest) = (Vec::<Terms<'static>>::new(), BTreeMap::new());
        let mut stated = Vec::with_capacity(lines.len());
        // Terms whose first statement is still to come: it is the next line.
        let mut open = None;
        for (number, line) in (1..).zip(lines) {
            let out_of_place = || refused("terms stand where they were not written").at("line", number);
            if !line.starts_with(TERMS_LINE) {
                stated.push((number, line, open.take()));
                continue;
            }
            let read: Terms<'static> = decode("the terms", line).map_err(|error| error.at("line", number))?;
            if open.replace(terms.len()).is_some() || by_digest.insert(read.digest()?, terms.len()).is_some() {
                return Err(out_of_place());
            }
            terms.push(read);
        }
        if open.is_some() {
            return Err(refused("the last terms have no receipt"));
        }
        let read = |(number, line, open): (u64, &[u8], Option<usize>)| -> Result<(Statement<'static>, usize, Hash)> {
            let at = |error: Error| error.at("line", number);
            let statement: Statement<'static> = decode("the receipt", line).map_err(at)?;
            let place = by_digest.get(&*statement.terms).copied();
            let place =
                place.ok_or_else(|| at(statement.refused("the terms of a receipt are not there, or were changed")))?;
            if open.is_some_and(|open| open != place) {
                return Err(at(refused("terms stand where they were not written")));
            }
            statement.is_on(&terms[place]).map_err(at)?;
            let leaf = statement.leaf()?;
            Ok((statement, place, leaf))
        };
        let read: Vec<_> = stated.into_par_iter().map(read).collect::<Result<_>>()?;
        let leaves = read.iter().map(|(.., leaf)| *leaf).collect();
        let statements: Vec<_> = read.into_iter().map(|(statement, terms, _)| (statement, terms)).collect();
        let file = Self { terms, statements, leaves, proof };
        file.is_of_one_piece()?;
        Ok(file)
    }

    /// All statements are of one recipient and service, or all refusals, and as many as there were.
    fn is_of_one_piece(&self) -> Result<()> {
        let name = self.name();
        if self.stated().any(|(statement, terms)| statement.file(terms) != name) {
            return Err(refused("the file has receipts of two recipients or services"));
        }
        if self.statements.len() as u64 != self.proof.bundles {
            return Err(refused(format!("the file has not the receipts of {} bundles", self.proof.bundles)));
        }
        Ok(())
    }

    /// Recipient and service.
    pub(super) fn name(&self) -> FileName<'_> {
        self.stated().next().map_or(("", ""), |(statement, terms)| statement.file(terms))
    }

    /// Whether it states requests that were refused as a whole.
    pub(super) fn is_of_refusals(&self) -> bool {
        self.name() == REFUSED_FILE
    }

    /// The root over its statements.
    pub(super) fn root(&self) -> Hash {
        Tree::new(self.leaves.clone()).root()
    }

    /// Whether the file is covered by the root in its head.
    ///
    /// # Errors
    /// [`ieum_model::error::ErrorKind::Integrity`] if it is not.
    pub(super) fn is_covered(&self) -> Result<()> {
        if self.statements.is_empty() {
            return Err(refused("the file holds no receipt"));
        }
        self.proof.covers(self.name(), Some(self.root()))
    }

    /// Whether the root that covers it is signed by this key.
    ///
    /// # Errors
    /// [`ieum_model::error::ErrorKind::Integrity`] with what disagrees.
    pub fn is_signed(&self, public: &PublicKey) -> Result<()> {
        self.is_covered()?;
        self.proof.head.is_signed(&self.proof.signature, public)
    }

    /// Statements with their terms, in the order of the bundles.
    pub(super) fn stated(&self) -> impl ExactSizeIterator<Item = (&Statement<'static>, &Terms<'static>)> {
        self.statements.iter().map(|(statement, terms)| (statement, &self.terms[*terms]))
    }

    /// The receipt of a request, to be handed to somebody.
    pub fn receipt(&self, request_id: &str) -> Option<Receipt> {
        let place = self.statements.iter().position(|(statement, _)| statement.request_id == request_id)?;
        let (statement, terms) = &self.statements[place];
        let tree = Tree::new(self.leaves.clone());
        Some(Receipt {
            statement: statement.clone(),
            terms: self.terms[*terms].clone(),
            leaf_index: place as u64,
            path: tree.path(place as u64).map(|hash| hex(hash)).collect(),
            file: self.proof.clone(),
        })
    }
}
