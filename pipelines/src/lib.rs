//! What an operator types and what a scheduler reads: command line, run definition, loading, screen.
//!
//! ```text
//!  arguments ─► cli ─► commands ─┬─► definition ─► load ─► Night ─► ieum-core
//!                                └─► screen ─► stdout: results, stderr: everything else
//! ```
//!
//! | module | knows |
//! |---|---|
//! | [`cli`] | the arguments and their help |
//! | [`commands`] | one file a command; the only place that reads the clock |
//! | [`definition`] | the TOML file of a run |
//! | [`load`] | files → catalog, requests, keys, exports → a [`ieum_core::night::Night`] |
//! | [`bench`] | nights at rising sizes, measured |
//! | [`generate`] | synthetic exports and requests for a catalog |
//! | [`judge`] | whether the answers of a run are the expected ones |
//! | [`log`] | the log as JSON |
//! | [`metrics`] | the latest run as Prometheus reads it |
//! | [`page`] | pages to read: tables and plots |
//! | [`place`] | files that others read while they are written anew |
//! | [`places`] | stores and databases by name, and their credentials |
//! | [`report`] | a committed run as one page |
//! | [`screen`] | the only place that prints |
//! | [`signals`] | what the system tells the process: stop, and that a file may not grow |
//! | [`status_lines`] | how far a run is, while it goes on |
//! | [`telemetry`] | what a run took: time by step, memory and bytes over time |

pub mod bench;
pub mod cli;
pub mod commands;
pub mod definition;
pub mod generate;
pub mod judge;
pub mod load;
pub mod log;
pub mod metrics;
pub mod page;
pub mod panics;
pub mod place;
pub mod places;
pub mod report;
pub mod screen;
pub mod signals;
pub mod status_lines;
pub mod telemetry;
