//! link and permit: one plan per dataset, requests as the build side, and no identifier above the join.
//!
//! ```text
//!  stage ◄─ permit: CASE WHEN shape IN (…) THEN item END ◄─ drop the key ◄─ ⋈ key ◄─ ExportScanExec
//!                                                                           └─ requests(line, shape, key)
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{JoinType, col, in_list, lit, when};
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use ieum_model::connector::{Connector, ReadCounts, RejectSink};
use ieum_model::dataset::Dataset;
use ieum_model::error::{Error, Result};
use rustc_hash::FxHashMap;

use crate::reach::identifier_kind;
use crate::scan::{ExportTable, KEY, Scan, WantedKeys};
use crate::{from_arrow, from_datafusion};

/// Column of the line ordinal, the only thing that says whose a row is above the join.
pub const LINE: &str = "__line";
const SHAPE: &str = "__shape";
const WANTED: &str = "__wanted";

/// One document line of a request, ready to be linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedLine {
    /// Line ordinal of the night.
    pub line: u32,
    /// Canonical keys by which the subject is found; several where a bridge led to several.
    pub keys: Vec<String>,
    /// Items that may be delivered, sorted.
    pub items: Arc<[String]>,
}

/// Everything one dataset's plan is made from.
pub struct GatherSpec {
    /// The dataset.
    pub dataset: Arc<Dataset>,
    /// Its export.
    pub connector: Arc<dyn Connector>,
    /// Key column the lines are found by.
    pub key_column: String,
    /// Key space of that column.
    pub space: String,
    /// The lines, in line order.
    pub lines: Vec<WantedLine>,
    /// Where unreadable rows go.
    pub rejects: Arc<dyn RejectSink>,
}

/// Distinct item lists of the lines: requests that ask for the same items share a shape.
struct Shapes<'a> {
    /// The lists in order; a list's place is its shape.
    lists: Vec<&'a [String]>,
    /// Shape by the list's address: lines of one service line share their list.
    by_address: FxHashMap<*const String, u32>,
}

impl<'a> Shapes<'a> {
    fn of(lines: &'a [WantedLine]) -> Self {
        let by_address: FxHashMap<*const String, &[String]> =
            lines.iter().map(|line| (line.items.as_ptr(), &*line.items)).collect();
        let distinct: BTreeSet<&[String]> = by_address.values().copied().collect();
        let lists: Vec<&[String]> = distinct.into_iter().collect();
        let shape =
            |items: &[String]| (0u32..).zip(&lists).find(|(_, list)| **list == items).map_or(0, |(shape, _)| shape);
        let by_address = by_address.into_iter().map(|(address, items)| (address, shape(items))).collect();
        Self { lists, by_address }
    }

    /// The shapes that hold an item.
    fn with(&self, item: &str) -> Vec<u32> {
        (0u32..)
            .zip(&self.lists)
            .filter(|(_, items)| items.iter().any(|code| code == item))
            .map(|(shape, _)| shape)
            .collect()
    }
}

/// A dataset's plan, with the counters its scan fills.
pub struct Gather {
    /// The plan up to permit.
    pub plan: DataFrame,
    /// Counts of the source, complete once the stream has ended.
    pub counts: Arc<Mutex<ReadCounts>>,
}

/// Plans one dataset: rows out are `__line` and the union of the requested items, in no order.
///
/// # Errors
/// When the plan cannot be built.
///
/// # Privacy
/// The key leaves at the join; cells that a line may not have are null.
pub fn plan(context: &SessionContext, spec: &GatherSpec) -> Result<Gather> {
    let shapes = Shapes::of(&spec.lines);
    let union: BTreeSet<&str> = shapes.lists.iter().copied().flatten().map(String::as_str).collect();
    let fields: Vec<Field> = union.iter().map(|code| spec.dataset.column_field(code)).collect();
    let keys = spec.lines.iter().flat_map(|line| &line.keys).map(|key| Box::from(key.as_bytes()));
    let kind = identifier_kind(&spec.space);
    let counts = Arc::new(Mutex::new(ReadCounts::default()));
    let scan = Scan {
        dataset: spec.dataset.code.clone(),
        connector: Arc::clone(&spec.connector),
        columns: Arc::new(Schema::new(fields)),
        key_column: Field::new(&spec.key_column, DataType::Utf8, true),
        kind,
        probe: Arc::new(WantedKeys::new(kind, keys)),
        rejects: Arc::clone(&spec.rejects),
        counts: Arc::clone(&counts),
    };
    let export = context.read_table(Arc::new(ExportTable(Arc::new(scan)))).map_err(from_datafusion)?;
    let requests = context.read_table(Arc::new(request_table(&spec.lines, &shapes)?)).map_err(from_datafusion)?;
    let linked = requests.join(export, JoinType::Inner, &[WANTED], &[KEY], None).map_err(from_datafusion)?;
    let mut columns = vec![col(LINE)];
    for item in &union {
        columns.push(permit(item, &shapes)?);
    }
    Ok(Gather { plan: linked.select(columns).map_err(from_datafusion)?, counts })
}

/// The item where the line's shape may have it, null elsewhere.
fn permit(item: &str, shapes: &Shapes<'_>) -> Result<datafusion::prelude::Expr> {
    let name = || datafusion::prelude::ident(item);
    let allowed = shapes.with(item);
    if allowed.len() == shapes.lists.len() {
        return Ok(name());
    }
    let listed = in_list(col(SHAPE), allowed.into_iter().map(lit).collect(), false);
    Ok(when(listed, name()).end().map_err(from_datafusion)?.alias(item))
}

/// One row per line and key.
fn request_table(lines: &[WantedLine], shapes: &Shapes<'_>) -> Result<MemTable> {
    let rows = || lines.iter().flat_map(|line| line.keys.iter().map(move |key| (line, key)));
    let line: UInt32Array = rows().map(|(line, _)| line.line).collect();
    let shape: UInt32Array = rows().map(|(line, _)| shapes.by_address[&line.items.as_ptr()]).collect();
    let key: StringArray = rows().map(|(_, key)| Some(key.as_str())).collect();
    let schema = Arc::new(Schema::new(vec![
        Field::new(LINE, DataType::UInt32, false),
        Field::new(SHAPE, DataType::UInt32, false),
        Field::new(WANTED, DataType::Utf8, false),
    ]));
    let columns: Vec<ArrayRef> = vec![Arc::new(line), Arc::new(shape), Arc::new(key)];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(from_arrow)?;
    MemTable::try_new(schema, vec![vec![batch]]).map_err(from_datafusion)
}

/// The physical plan as text.
pub fn plan_text(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(plan.as_ref()).indent(false).to_string()
}

/// Runs a plan and hands its batches on as they come.
///
/// # Errors
/// Whatever a reader or an operator met; nothing of the dataset counts then.
pub async fn execute(
    session: &SessionContext,
    plan: Arc<dyn ExecutionPlan>,
    counts: &Mutex<ReadCounts>,
    mut take: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<ReadCounts> {
    let mut stream = execute_stream(plan, session.task_ctx()).map_err(from_datafusion)?;
    while let Some(batch) = stream.next().await {
        take(batch.map_err(from_datafusion)?)?;
    }
    let counts = *counts.lock().map_err(|_| Error::internal("a reader stopped while counting"))?;
    if counts.balances() { Ok(counts) } else { Err(unbalanced(&counts)) }
}

fn unbalanced(counts: &ReadCounts) -> Error {
    Error::new(
        ieum_model::error::ErrorKind::Integrity,
        format!(
            "rows are not accounted for: read {} is not kept {} + filtered {} + rejected {}",
            counts.read, counts.kept, counts.filtered, counts.rejected
        ),
    )
}
