//! What a run writes down on its way.

use serde::{Deserialize, Serialize};

use super::begun::Begun;
use crate::manifest::SourceCounts;
use crate::rejects::First;
use crate::spill::Segment;

/// An entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// The first one: what the run is made from.
    Begun(Box<Begun>),
    /// The run was stopped before this entry, and goes on.
    Resumed,
    /// A wave of readings begins.
    Wave {
        /// Its number.
        number: u32,
        /// That of the last one.
        last: u32,
        /// How many readings it has.
        readings: u64,
    },
    /// A reading is gathered, and everything that the run needs of it stands aside.
    Gathered(Box<KeptReading>),
    /// Everything is gathered; bundles are made.
    Assembling {
        /// Of so many shards.
        shards: u32,
    },
    /// The bundles of a shard are handed to the output. What stands of their files is told by the files.
    Shard {
        /// Its number, from 0.
        number: u32,
        /// How many requests it has.
        requests: u64,
    },
    /// Withdrawals came while the run was made; what they name is not delivered.
    TakenBack {
        /// Requests as a whole.
        requests: u64,
        /// Document lines, those of these requests too.
        documents: u64,
    },
    /// The output is whole but for its manifest.
    Committing,
}

/// What a reading gave: its counts, and where in the files of the stage the rest of it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptReading {
    /// Name of the reading.
    pub reading: String,
    /// Its counts.
    pub counts: SourceCounts,
    /// SHA-256 of its plan text.
    pub plan: String,
    /// Staged rows, by shard.
    pub rows: Vec<(u32, Segment)>,
    /// Keys that its bridges gave.
    pub keys: Option<Segment>,
    /// Ordinals that a row which could not be read has a key of.
    pub unreadable: Option<Segment>,
    /// A row that could not be read may be anybody's.
    pub is_anybodys: bool,
    /// Rejects, by export file.
    pub rejects: Vec<(String, Vec<Segment>)>,
    /// The first of them.
    pub first: Option<First>,
}
