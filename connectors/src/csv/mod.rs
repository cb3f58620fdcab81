//! Delimited text: quotes after RFC 4180, every line end, with or without header. Quotes count only at a cell's start.

pub mod decoder;
pub mod reader;
pub mod skim;

pub use reader::open;
