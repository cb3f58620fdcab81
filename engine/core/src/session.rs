//! The one place where a DataFusion session is set up.

use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::optimizer::OptimizerRule;
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::ensure_coop::EnsureCooperative;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use ieum_model::error::Result;
use std::num::NonZeroUsize;

use crate::from_datafusion;

/// Rows per batch: a third fewer CPU seconds than DataFusion's default on wide exports.
pub const BATCH_ROWS: usize = 32_768;
/// The pool counts reserved bytes only; resident memory was measured at about twice that, so it gets half the limit.
const POOL_SHARE: u64 = 2;
const NAMED_CONSUMERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);

/// A session whose operators share `memory_bytes / 2`.
///
/// It plans for one partition on every machine, so that plan texts are the same everywhere: a plan runs in parallel over
/// the files of its export, and a night over its datasets.
///
/// # Errors
/// When the runtime cannot be set up.
pub fn open(memory_bytes: u64) -> Result<SessionContext> {
    let pool = FairSpillPool::new(usize::try_from(memory_bytes / POOL_SHARE).unwrap_or(usize::MAX));
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, NAMED_CONSUMERS)))
        .build_arc()
        .map_err(from_datafusion)?;
    let mut config = SessionConfig::new().with_target_partitions(1).with_batch_size(BATCH_ROWS);
    let optimizer = &mut config.options_mut().optimizer;
    optimizer.max_passes = 1;
    // The requests are always the build side and are never repartitioned: one hash table, streamed past by the export.
    optimizer.hash_join_single_partition_threshold = usize::MAX;
    optimizer.hash_join_single_partition_threshold_rows = usize::MAX;
    optimizer.enable_dynamic_filter_pushdown = false;
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_analyzer_rules(Vec::new())
        .with_optimizer_rules(rules())
        .with_physical_optimizer_rules(physical_rules())
        .build();
    Ok(SessionContext::new_with_state(state))
}

/// The rules that change one of our plans. DataFusion's full list gives the same plans in five times the time, and a night
/// plans hundreds.
fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ]
}

/// As [`rules`]; the last one refuses a plan that another rule should have changed.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    vec![Arc::new(ProjectionPushdown::new()), Arc::new(EnsureCooperative::new()), Arc::new(SanityCheckPlan::new())]
}
