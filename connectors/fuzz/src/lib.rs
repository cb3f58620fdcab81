//! What each fuzz target does with its input: the bodies, so that a test of the ordinary suite can run the corpus through
//! them without a fuzzer.
//!
//! ```text
//!  input ─► first bytes choose one of some exports and a chunk ─► the rest is the holder's file
//!        ─► read whole ─┬─ in small chunks: the same rows, rejects and error
//!                       ├─ with a probe: what filtering afterwards keeps
//!                       ├─ one column: never fewer rows
//!                       └─ rejects stand in the file where they say, and are rejected again when replayed
//! ```
//!
//! | module | knows |
//! |---|---|
//! | `place` | the folder in which the input lies as a file |
//! | `reading` | what was read of an export, and what must hold of it |
//! | `texts` | delimited text, byte-counted records, JSON and XML |
//! | `tables` | workbooks, Arrow IPC and Parquet |
//! | `packed` | archives and compressed files |
//! | `guesses` | what is guessed of a file, and copybooks |

mod guesses;
mod packed;
mod place;
mod reading;
mod tables;
mod texts;

pub use guesses::{copybook, discover};
pub use packed::{compressed, tar, zip};
pub use tables::{arrow, parquet, workbook};
pub use texts::{csv, fixed_width, json, json_lines, records, xml};

/// The name of a target and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All of them. A body panics where something does not hold.
pub const TARGETS: [Target; 14] = [
    ("arrow", arrow),
    ("compressed", compressed),
    ("copybook", copybook),
    ("csv", csv),
    ("discover", discover),
    ("fixed_width", fixed_width),
    ("json", json),
    ("json_lines", json_lines),
    ("parquet", parquet),
    ("records", records),
    ("tar", tar),
    ("workbook", workbook),
    ("xml", xml),
    ("zip", zip),
];
