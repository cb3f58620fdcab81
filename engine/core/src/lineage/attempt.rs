//! The events of an attempt that committed nothing. They stand beside the output, not in it: when it began and ended differs
//! from one attempt to the next, and nothing of that is in the bytes of an output.
//!
//! # Privacy
//! What is told of a failure is what the screen tells: never a value.

use ieum_model::error::{Error, Result};

use super::event::{ErrorMessage, NominalTime, PRODUCER, ProcessingEngine, Run, RunEvent, RunFacets, RunFacts, Says};
use super::{job, uuid_of};
use crate::input::Night;

/// How an attempt ended without a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By an error.
    Failed,
    /// From outside: by a signal, or its time limit.
    Aborted,
}

/// What an attempt is known by, kept for when it ends.
#[derive(Debug, Clone)]
pub struct Attempt {
    run_id: String,
    as_of: String,
    catalog_digest: String,
    requests_digest: String,
    key_id: String,
    key_epoch: u32,
    /// When it began, RFC 3339.
    began: String,
}

impl Attempt {
    /// That of a night which began at `began`, RFC 3339.
    pub fn of(night: &Night, began: &str) -> Self {
        Self {
            run_id: night.run_id(),
            as_of: night.as_of.to_string(),
            catalog_digest: night.catalog_digest.clone(),
            requests_digest: night.requests_digest.clone(),
            key_id: night.master.key_id().to_owned(),
            key_epoch: night.master.epoch(),
            began: began.to_owned(),
        }
    }

    /// START, and FAIL or ABORT with the reason: one JSON object a line.
    ///
    /// # Errors
    /// Only for a bug.
    pub fn events(&self, ended: Ended, at: &str, message: &str) -> Result<Vec<u8>> {
        let nominal = format!("{}T00:00:00Z", self.as_of);
        let began = RunFacets {
            nominal_time: NominalTime { nominal_start_time: &nominal }.facet(),
            processing_engine: ProcessingEngine { version: env!("CARGO_PKG_VERSION"), name: "ieum" }.facet(),
            error_message: None,
            ieum_run: RunFacts {
                run_id: &self.run_id,
                as_of: &self.as_of,
                catalog_digest: &self.catalog_digest,
                requests_digest: &self.requests_digest,
                key_id: &self.key_id,
                key_epoch: self.key_epoch,
            }
            .facet(),
            ieum_requests: None,
            ieum_delays: None,
            ieum_names: None,
        };
        let why = ErrorMessage { message, programming_language: "Rust" };
        let over = RunFacets { error_message: Some(why.facet()), ..began.clone() };
        let kind = match ended {
            Ended::Failed => "FAIL",
            Ended::Aborted => "ABORT",
        };
        let run_id = uuid_of(&self.run_id);
        let mut out = Vec::new();
        for (event_type, event_time, facets) in [("START", self.began.as_str(), began), (kind, at, over)] {
            let run = Run { run_id: &run_id, facets };
            let (producer, schema_url, job) = (PRODUCER, RunEvent::SCHEMA, job());
            let event = RunEvent { event_type, event_time, producer, schema_url, run, job, inputs: &[], outputs: &[] };
            serde_json::to_writer(&mut out, &event).map_err(|error| Error::internal(error.to_string()))?;
            out.push(b'\n');
        }
        Ok(out)
    }
}
