//! What the lineage says of the run as a whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ieum_model::error::Result;
use serde::Deserialize;

use super::unreadable;
use crate::verify::broken;

/// What codes are called.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Names {
    /// Data holders.
    pub holders: BTreeMap<String, String>,
    /// Datasets, and their holders.
    pub datasets: BTreeMap<String, OwnName>,
    /// Services, and their recipients.
    pub services: BTreeMap<String, OwnName>,
    /// Recipients.
    pub recipients: BTreeMap<String, String>,
}

/// A name, and the code of the body it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OwnName {
    /// Korean name.
    pub name: String,
    /// Code of the holder or recipient.
    pub of: String,
}

/// Bundles that went to a recipient for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Recipient code.
    pub recipient: String,
    /// Service code, or `documents` of requests that name documents themselves.
    pub service: String,
    /// How many.
    pub bundles: u64,
}

pub(super) struct Run {
    pub id: String,
    pub names: Names,
    pub late: BTreeMap<String, String>,
    pub deliveries: Vec<Delivery>,
}

#[derive(Deserialize)]
struct Event {
    run: RunOfEvent,
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RunOfEvent {
    run_id: String,
    facets: Facets,
}

#[derive(Deserialize)]
struct Facets {
    ieum_names: Names,
    ieum_delays: Delays,
}

#[derive(Deserialize)]
struct Delays {
    datasets: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    namespace: String,
    name: String,
    output_facets: OutputFacets,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OutputFacets {
    output_statistics: Statistics,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statistics {
    row_count: u64,
}

/// Reads the event of the completed run, the last line of the file.
pub(super) fn run(path: &Path) -> Result<Run> {
    let text = fs::read_to_string(path).map_err(unreadable(path))?;
    let event: Event = serde_json::from_str(text.lines().next_back().unwrap_or_default())
        .map_err(|_| broken("the last line is no event of a completed run", path))?;
    let delivery = |output: Output| {
        let recipient = output.namespace.rsplit('/').next().unwrap_or_default().to_owned();
        Delivery { recipient, service: output.name, bundles: output.output_facets.output_statistics.row_count }
    };
    Ok(Run {
        id: event.run.run_id,
        names: event.run.facets.ieum_names,
        late: event.run.facets.ieum_delays.datasets,
        deliveries: event.outputs.into_iter().map(delivery).collect(),
    })
}
