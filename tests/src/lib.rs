//! What crosses crates: the fences, the invariants by name, and whole nights on small exports.

pub mod faulty_store;
pub mod reference;
pub mod small_night;
