//! link and permit: one plan per dataset, requests as the build side, and no identifier above the join.
//!
//! ```text
//!  stage ◄─ permit: CASE WHEN shape IN (…) THEN item END ◄─ drop the key ◄─ ⋈ key ◄─ ExportScanExec
//!                                                                           └─ requests(line, shape, key)
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray, StringArray, StringBuilder, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use arrow::record_batch::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{JoinType, col, in_list, lit, when};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use ieum_model::connector::{Connector, ReadCounts, RejectSink};
use ieum_model::dataset::Dataset;
use ieum_model::error::{Error, Result};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::reach::identifier_kind;
use crate::scan::{ExportTable, KEY, Scan, WantedKeys};
use crate::{from_arrow, from_datafusion, session};

/// Column of the line ordinal, the only thing that says whose a row is above the join.
pub const LINE: &str = "__line";
/// Column of the line's shape, between link and permit.
pub const SHAPE: &str = "__shape";
const WANTED: &str = "__wanted";

/// The requests of one reading: who wants what by which key.
pub struct Wanted {
    /// One row per line and key: line ordinal, shape, canonical key.
    rows: RecordBatch,
    /// Distinct item lists, in their order; a list's place is its shape.
    shapes: Vec<Arc<[String]>>,
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
    /// The requests.
    pub wanted: Wanted,
    /// Where unreadable rows go.
    pub rejects: Arc<dyn RejectSink>,
}

/// Collects the rows of [`Wanted`].
#[derive(Default)]
pub struct WantedBuilder {
    lines: Vec<u32>,
    shapes: Vec<u32>,
    keys: StringBuilder,
    lists: Vec<Arc<[String]>>,
    /// Place in `lists` by the list's address: lines that ask the same share their list.
    by_address: FxHashMap<*const String, u32>,
}

impl WantedBuilder {
    /// Adds a line that may have `items`, sorted, wherever one of `keys` is found.
    pub fn add<'k>(&mut self, line: u32, items: &Arc<[String]>, keys: impl Iterator<Item = &'k str>) {
        let lists = &mut self.lists;
        let shape = *self.by_address.entry(items.as_ptr()).or_insert_with(|| {
            lists.push(Arc::clone(items));
            u32::try_from(lists.len() - 1).unwrap_or(u32::MAX)
        });
        for key in keys {
            self.lines.push(line);
            self.shapes.push(shape);
            self.keys.append_value(key);
        }
    }

    /// The rows, and their shapes in an order that depends on the item lists only.
    ///
    /// # Errors
    /// Only for a bug: the columns are of one length.
    pub fn finish(mut self) -> Result<Wanted> {
        let distinct: BTreeSet<&Arc<[String]>> = self.lists.iter().collect();
        let shapes: Vec<Arc<[String]>> = distinct.into_iter().cloned().collect();
        let place = |list| shapes.binary_search(list).ok().and_then(|place| u32::try_from(place).ok()).unwrap_or(0);
        let places: Vec<u32> = self.lists.iter().map(place).collect();
        let shape: UInt32Array = self.shapes.iter().map(|list| places[*list as usize]).collect();
        let schema = Schema::new(vec![
            Field::new(LINE, DataType::UInt32, false),
            Field::new(SHAPE, DataType::UInt32, false),
            Field::new(WANTED, DataType::Utf8, false),
        ]);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(UInt32Array::from(self.lines)), Arc::new(shape), Arc::new(self.keys.finish())];
        Ok(Wanted { rows: RecordBatch::try_new(Arc::new(schema), columns).map_err(from_arrow)?, shapes })
    }
}

impl Wanted {
    fn keys(&self) -> &StringArray {
        self.rows.column(2).as_string::<i32>()
    }

    /// The ordinals that look for one of `found`, as often as they name it.
    pub fn looking_for(&self, found: &FxHashSet<String>) -> Vec<u32> {
        if found.is_empty() {
            return Vec::new();
        }
        let ordinals = self.rows.column(0).as_primitive::<UInt32Type>().values();
        let keys = self.keys().iter().map(|key| key.is_some_and(|key| found.contains(key)));
        ordinals.iter().zip(keys).filter(|(_, is_found)| *is_found).map(|(ordinal, _)| *ordinal).collect()
    }

    /// The shapes that hold an item.
    fn with(&self, item: &str) -> Vec<u32> {
        let holds = |(_, items): &(u32, &Arc<[String]>)| items.iter().any(|code| code == item);
        (0u32..).zip(&self.shapes).filter(holds).map(|(shape, _)| shape).collect()
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
    let wanted = &spec.wanted;
    let union: BTreeSet<&str> = wanted.shapes.iter().flat_map(|items| items.iter()).map(String::as_str).collect();
    let fields: Vec<Field> = union.iter().map(|code| spec.dataset.column_field(code)).collect();
    let keys = wanted.keys().iter().flatten().map(str::as_bytes);
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
    let rows = vec![vec![wanted.rows.clone()]];
    let requests = MemTable::try_new(wanted.rows.schema(), rows).map_err(from_datafusion)?;
    let requests = context.read_table(Arc::new(requests)).map_err(from_datafusion)?;
    let linked = requests.join(export, JoinType::Inner, &[WANTED], &[KEY], None).map_err(from_datafusion)?;
    let mut columns = vec![col(LINE)];
    for item in &union {
        columns.push(permit(item, wanted)?);
    }
    Ok(Gather { plan: linked.select(columns).map_err(from_datafusion)?, counts })
}

/// The item where the line's shape may have it, null elsewhere.
fn permit(item: &str, wanted: &Wanted) -> Result<datafusion::prelude::Expr> {
    let name = || datafusion::prelude::ident(item);
    let allowed = wanted.with(item);
    if allowed.len() == wanted.shapes.len() {
        return Ok(name());
    }
    let listed = in_list(col(SHAPE), allowed.into_iter().map(lit).collect(), false);
    Ok(when(listed, name()).end().map_err(from_datafusion)?.alias(item))
}

/// permit alone, as [`plan`] plans it above the join: for batches that are linked already, to be measured.
pub struct Permit {
    schema: SchemaRef,
    columns: Vec<Arc<dyn PhysicalExpr>>,
}

impl Permit {
    /// The step for batches of `linked`: `__line`, `__shape` and items.
    ///
    /// # Errors
    /// When an expression cannot be built.
    pub fn try_new(linked: &SchemaRef, wanted: &Wanted) -> Result<Self> {
        /// Expressions take none of it.
        const MEMORY_BYTES: u64 = 1 << 20;
        let session = session::open(MEMORY_BYTES)?;
        let names = || linked.fields().iter().map(|field| field.name()).filter(|name| *name != SHAPE);
        let input = DFSchema::try_from(Arc::clone(linked)).map_err(from_datafusion)?;
        let physical = |name: &String| {
            let column = if name == LINE { col(LINE) } else { permit(name, wanted)? };
            session.create_physical_expr(column, &input).map_err(from_datafusion)
        };
        let columns = names().map(physical).collect::<Result<_>>()?;
        let fields: Vec<Field> = names()
            .filter_map(|name| linked.field_with_name(name).ok())
            .map(|field| field.clone().with_nullable(true))
            .collect();
        Ok(Self { schema: Arc::new(Schema::new(fields)), columns })
    }

    /// `__line` and the items, those that a line may not have blanked.
    ///
    /// # Errors
    /// When the batch is not as the step was made for.
    pub fn evaluate(&self, linked: &RecordBatch) -> Result<RecordBatch> {
        let value = |column: &Arc<dyn PhysicalExpr>| column.evaluate(linked)?.into_array(linked.num_rows());
        let columns = self.columns.iter().map(value).collect::<datafusion::error::Result<_>>();
        RecordBatch::try_new(Arc::clone(&self.schema), columns.map_err(from_datafusion)?).map_err(from_arrow)
    }
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
