//! What nested rows (JSON, XML) have in common: a row is a tree, an item is what a path of [`ieum_model::path`] finds in it.
//!
//! ```text
//!  file ─► Rows (the format's cutter) ─► glance: does a name of the key stand before a wanted key? ─► no: filtered
//!                                          └► maybe: parse ─► tree ─► path ─► values ─► column
//! ```
//!
//! A glance looks at every place in a row where the last name of the key's path stands, whatever stands around it. The key
//! is one of these places, so a row in which none holds a wanted key is not wanted; where a name could be spelled in another
//! way, or what follows it is not plain, the row is parsed. A row that misses is counted as filtered even if it is not well
//! formed further on.
//!
//! A row in which the first name of the key's path is absent is rejected (`missing`), for a key that its holder has renamed
//! must not pass for a row of nobody. Other items that are absent are null.

#[cfg(test)]
pub(crate) mod cutting;
pub mod decoder;
pub mod find;
pub mod reader;
pub mod values;
