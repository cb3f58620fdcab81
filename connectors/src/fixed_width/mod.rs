//! Byte-counted records (전문): header, data, trailer. Widths are bytes of the encoded text.
//!
//! | record | fields |
//! |---|---|
//! | H | kind `11`, dataset X(30), holder X(7), base date 9(8), created at 9(14), record length 9(5), data count 9(10), filler |
//! | D | kind `22`, serial 9(10), change X(1) I/U/D, the fields of the layout, filler |
//! | T | kind `33`, data count 9(10), with `count_and_sums` one S9(18) per money field of the layout, filler |
//!
//! Dataset, holder and base date of a header are compared with the catalog; what it leaves blank is not. A code that is
//! longer than its field is cut off.
//!
//! S9(18) is a sign (`-`, `+` or blank) and 18 digits: 19 bytes. The record length counts everything before the line
//! end. Records end with LF or CRLF, or follow each other without one.

pub mod decoder;
pub mod head;
pub mod reader;

pub use reader::{base_date, open};

/// What stands in the head of a data record and tells what a change does, as a column.
pub(crate) const CHANGE: &str = "__change";
