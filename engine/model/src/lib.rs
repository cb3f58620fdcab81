//! The words of ieum: catalog, request, check, outcome, connector seam, error. No DataFusion, no tokio, no files.
//!
//! ```text
//!  catalog text ─► Catalog ─┐
//!  request rows ─► Request ─┴─► check ─► CheckedRequest | Refusal ─► (engine) ─► Outcome per document line
//! ```
//!
//! | module | knows |
//! |---|---|
//! | [`dataset`] | what a dataset promises: items, types, sensitivity, views, how its holder exports it |
//! | [`service`] | a bundle service (묶음정보) and its document lines |
//! | [`catalog`] | everything above, parsed and cross-checked as a whole |
//! | [`request`] | a request as received, withdrawals, and how often a periodic one is due |
//! | [`check`] | request × catalog × date → what may be delivered, or the refusal and its reason |
//! | [`outcome`] | the answer to every document line, and the accounting identities |
//! | [`connector`] | the seam between formats and the machine |
//! | [`digits`] | the number that a key's or an amount's digits make, as a scan reads millions of them |
//! | [`path`] | where the value of an item stands in a nested row |
//! | [`error`] | the one error type: what failed, where, what to do, exit code |

pub mod catalog;
pub mod check;
pub mod connector;
pub mod consent;
pub mod dataset;
pub mod digits;
pub mod error;
pub mod outcome;
pub mod path;
pub mod request;
pub mod service;
