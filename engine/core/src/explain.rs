//! explain: which files and columns a night would read, for whose sake, and by which plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::dataframe::DataFrame;
use datafusion::physical_plan::displayable;
use ieum_model::error::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::gather::{self, GatherSpec, WantedLine};
use crate::night::{self, ExportState, KeptRejects, Night, Source};
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
    /// `ready`.
    pub state: String,
    /// The physical plan.
    pub plan: String,
}

/// Memory of the session that only prints plans.
const PLANNING_BYTES: u64 = 64 << 20;

/// The physical plan of a source as stable text: planned for one thread, so that it is the same on every machine.
pub(crate) async fn stable_text(spec: &GatherSpec) -> Result<String> {
    plan_text(gather::plan(&session::open(1, PLANNING_BYTES)?, spec)?.plan).await
}

async fn plan_text(plan: DataFrame) -> Result<String> {
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
    let mut courses = night::courses(night);
    let mut explained = Vec::new();
    for (_, bridge, needs) in &courses.bridges {
        let source = Source {
            dataset: bridge.dataset.clone(),
            key_column: bridge.from.clone(),
            space: bridge.from_space.clone(),
            wave: 1,
        };
        let line = |ordinal: &usize| WantedLine { line: *ordinal as u32, keys: vec![], items: vec![bridge.to.clone()] };
        explained.push((source, needs.iter().map(line).collect::<Vec<_>>()));
    }
    for (_, bridge, needs) in courses.bridges.clone() {
        for ordinal in needs {
            courses.keys[ordinal].entry(bridge.to_space.clone()).or_default().insert(String::new());
        }
    }
    explained.extend(night::wanted_lines(night, &mut courses));
    explained.into_iter().map(|(source, lines)| runtime.block_on(one(night, &source, lines))).collect()
}

async fn one(night: &Night, source: &Source, lines: Vec<WantedLine>) -> Result<DatasetExplanation> {
    let requests = lines.len() as u64;
    let mut asked: BTreeMap<String, u64> = BTreeMap::new();
    for item in lines.iter().flat_map(|line| &line.items) {
        *asked.entry(item.clone()).or_default() += 1;
    }
    let key_asked = asked.remove(&source.key_column).unwrap_or(0);
    let columns = std::iter::once((source.key_column.clone(), key_asked)).chain(asked).collect();
    let files = match night.exports.get(&source.dataset) {
        Some(ExportState::Ready(connector)) => connector.partitions().to_vec(),
        _ => Vec::new(),
    };
    let spec = night::spec(night, source, lines, Arc::new(KeptRejects::default()))
        .ok_or_else(|| Error::internal("source has no export"))?;
    let plan = stable_text(&spec).await?;
    Ok(DatasetExplanation {
        dataset: source.dataset.clone(),
        wave: source.wave,
        space: source.space.clone(),
        key_column: source.key_column.clone(),
        files,
        columns,
        requests,
        state: "ready".into(),
        plan,
    })
}
