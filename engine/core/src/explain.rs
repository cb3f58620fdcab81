//! explain: which files and columns a night would read, for whose sake, and by which plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::prelude::SessionContext;
use ieum_model::connector::{Reject, RejectSink};
use ieum_model::error::{Error, ErrorKind, Result};
use ieum_model::outcome::Outcome;
use serde::Serialize;

use crate::course::{self, Course, Courses, Reading};
use crate::gather;
use crate::input::{ExportState, Night};
use crate::reach::Bridge;
use crate::waves;
use crate::{from_datafusion, session};

/// What one dataset's plan would read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatasetExplanation {
    /// Dataset code.
    pub dataset: String,
    /// Wave: 1, or later where bridges lead to its key space; 0 for registers of changed numbers.
    pub wave: u32,
    /// Key space.
    pub space: String,
    /// Key column.
    pub key_column: String,
    /// Files below the exports folder.
    pub files: Vec<String>,
    /// Columns decoded; the key column comes first.
    pub columns: Vec<AskedColumn>,
    /// Document lines that the plan answers.
    pub requests: u64,
    /// Columns read only to reach another key space, the space, and the requests that need it; they reach no bundle.
    pub bridges: Vec<(String, String, u64)>,
    /// `ready`, or `not read` and the reason its lines are delayed for.
    pub state: String,
    /// The physical plan.
    pub plan: String,
}

/// A column that is decoded, and for whose sake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AskedColumn {
    /// Column, by item code.
    pub column: String,
    /// Document lines that ask for it; none for a key that only links.
    pub lines: u64,
    /// The same by service; lines of requests that name documents stand under `single documents`.
    pub by: BTreeMap<String, u64>,
}

impl AskedColumn {
    fn new(column: &str) -> Self {
        Self { column: column.to_owned(), lines: 0, by: BTreeMap::new() }
    }
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
    let session = session::open(night.settings.memory_bytes)?;
    let mut courses = course::courses(night);
    let mut explained = Vec::new();
    for wave in 0..=courses.waves() {
        for reading in courses.readings(wave) {
            explained.push(runtime.block_on(one(night, &session, &courses, &reading))?);
            courses.walk_blindly(&reading);
        }
    }
    explained.extend(not_read(night, &courses));
    Ok(explained)
}

fn files(night: &Night, dataset: &str) -> Vec<String> {
    match night.exports.get(dataset) {
        Some(ExportState::Ready(connector)) => connector.partitions().to_vec(),
        _ => Vec::new(),
    }
}

/// The key column, then every item in code order, with the services whose lines ask for it.
pub(crate) fn asked_columns(night: &Night, courses: &Courses, reading: &Reading) -> Vec<AskedColumn> {
    let key = reading.source.key_column.as_str();
    let mut asked: BTreeMap<&str, AskedColumn> = BTreeMap::new();
    for line in &reading.lines {
        let request = &night.checked.requests[line.request as usize];
        let service = request.service.as_deref().unwrap_or("single documents");
        let place = (line.line - courses.first_line[line.request as usize]) as usize;
        for item in request.lines[place].items.iter() {
            let column = asked.entry(item).or_insert_with(|| AskedColumn::new(item));
            column.lines += 1;
            *column.by.entry(service.to_owned()).or_default() += 1;
        }
    }
    for bridge in &reading.bridges {
        asked.entry(&bridge.to).or_insert_with(|| AskedColumn::new(&bridge.to));
    }
    let key_column = asked.remove(key).unwrap_or_else(|| AskedColumn::new(key));
    std::iter::once(key_column).chain(asked.into_values()).collect()
}

/// A plan that is only explained rejects nothing.
struct NothingIsRead;

impl RejectSink for NothingIsRead {
    fn reject(&self, _: Reject) -> Result<()> {
        Err(Error::internal("a plan that is only explained was run"))
    }
}

/// Datasets whose lines are delayed before anything is read.
fn not_read(night: &Night, courses: &Courses) -> Vec<DatasetExplanation> {
    let mut delayed: BTreeMap<(&str, &'static str), u64> = BTreeMap::new();
    let lines = night.checked.requests.iter().flat_map(|request| request.lines.iter());
    for (line, course) in lines.zip(&courses.lines) {
        if let Course::Decided(Outcome::Delayed, Some(reason)) = course {
            *delayed.entry((&line.document, reason.code())).or_default() += 1;
        }
    }
    let explanation = |((dataset, reason), requests): ((&str, &str), u64)| DatasetExplanation {
        dataset: dataset.to_owned(),
        wave: 0,
        space: String::new(),
        key_column: String::new(),
        files: files(night, dataset),
        columns: Vec::new(),
        requests,
        bridges: Vec::new(),
        state: format!("not read: {reason}"),
        plan: String::new(),
    };
    delayed.into_iter().map(explanation).collect()
}

async fn one(
    night: &Night,
    session: &SessionContext,
    courses: &Courses,
    reading: &Reading,
) -> Result<DatasetExplanation> {
    let bridge = |(place, bridge): (usize, &Bridge)| {
        (bridge.to.clone(), bridge.to_space.clone(), reading.needs_of(place) as u64)
    };
    let columns = asked_columns(night, courses, reading);
    let wanted = waves::wanted(night, courses, reading)?;
    let source = &reading.source;
    let files = files(night, &source.dataset);
    let spec = waves::spec(night, source, wanted, Arc::new(NothingIsRead))
        .ok_or_else(|| Error::internal("source has no export"))?;
    let physical = gather::plan(session, &spec)?.plan.create_physical_plan().await.map_err(from_datafusion)?;
    Ok(DatasetExplanation {
        dataset: source.dataset.clone(),
        wave: source.wave,
        space: source.space.clone(),
        key_column: source.key_column.clone(),
        files,
        columns,
        requests: reading.lines.len() as u64,
        bridges: reading.bridges.iter().enumerate().map(bridge).collect(),
        state: "ready".into(),
        plan: gather::plan_text(&physical),
    })
}
