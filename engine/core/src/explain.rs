//! explain: which files and columns a night would read, for whose sake, and by which plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::dataframe::DataFrame;
use datafusion::physical_plan::displayable;
use datafusion::prelude::SessionContext;
use ieum_model::error::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::course::{self, Courses, Reading};
use crate::gather;
use crate::night::{ExportState, Night};
use crate::reach::Bridge;
use crate::waves::{self, KeptRejects};
use crate::{from_datafusion, session};

/// What one dataset's plan would read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatasetExplanation {
    /// Dataset code.
    pub dataset: String,
    /// Wave: 1, or later where bridges lead to its key space.
    pub wave: u32,
    /// Key space.
    pub space: String,
    /// Key column.
    pub key_column: String,
    /// Files below the exports folder.
    pub files: Vec<String>,
    /// Columns decoded, with the number of document lines asking for each; the key column comes first.
    pub columns: Vec<(String, u64)>,
    /// Document lines that the plan answers.
    pub requests: u64,
    /// Columns read only to reach another key space, the space, and the requests that need it; they reach no bundle.
    pub bridges: Vec<(String, String, u64)>,
    /// `ready`.
    pub state: String,
    /// The physical plan.
    pub plan: String,
}

/// The physical plan as text.
pub(crate) async fn plan_text(plan: DataFrame) -> Result<String> {
    let physical = plan.create_physical_plan().await.map_err(from_datafusion)?;
    Ok(displayable(physical.as_ref()).indent(false).to_string())
}

/// Explains every plan of the night. Keys that only a bridge can give are not known before the run: such a dataset is
/// planned with the lines that may need it.
///
/// # Errors
/// When a plan cannot be built.
pub fn explain(night: &Night) -> Result<Vec<DatasetExplanation>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| Error::new(ErrorKind::Temporary, format!("a thread cannot be started: {error}")))?;
    let session = session::planning()?;
    let mut courses = course::courses(night);
    let mut explained = Vec::new();
    for wave in 1..=courses.waves() {
        for reading in courses.readings(&night.checked.requests, wave) {
            explained.push(runtime.block_on(one(night, &session, &courses, &reading))?);
            for (bridge, needs) in &reading.bridges {
                for ordinal in needs {
                    courses.keys[*ordinal].insert(bridge.to_space.as_str().into(), String::new());
                }
            }
        }
    }
    Ok(explained)
}

async fn one(
    night: &Night,
    session: &SessionContext,
    courses: &Courses,
    reading: &Reading<'_>,
) -> Result<DatasetExplanation> {
    let (source, lines) = (&reading.source, reading.wanted(courses));
    let bridge =
        |(bridge, needs): &(Bridge, BTreeSet<usize>)| (bridge.to.clone(), bridge.to_space.clone(), needs.len() as u64);
    let requests = reading.lines.len() as u64;
    let mut asked: BTreeMap<String, u64> = BTreeMap::new();
    for item in reading.lines.iter().flat_map(|line| line.items.iter()) {
        *asked.entry(item.clone()).or_default() += 1;
    }
    let key_asked = asked.remove(&source.key_column).unwrap_or(0);
    let columns = std::iter::once((source.key_column.clone(), key_asked)).chain(asked).collect();
    let files = match night.exports.get(&source.dataset) {
        Some(ExportState::Ready(connector)) => connector.partitions().to_vec(),
        _ => Vec::new(),
    };
    let spec = waves::spec(night, source, lines, Arc::new(KeptRejects::default()))
        .ok_or_else(|| Error::internal("source has no export"))?;
    let plan = plan_text(gather::plan(session, &spec)?.plan).await?;
    Ok(DatasetExplanation {
        dataset: source.dataset.clone(),
        wave: source.wave,
        space: source.space.clone(),
        key_column: source.key_column.clone(),
        files,
        columns,
        requests,
        bridges: reading.bridges.iter().map(bridge).collect(),
        state: "ready".into(),
        plan,
    })
}
