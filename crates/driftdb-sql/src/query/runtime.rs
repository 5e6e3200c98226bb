//! What all queries of a database share: the bound on memory, the spill directory, DataFusion's state, and the threads its
//! own tasks run on.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::optimizer::Optimizer;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use driftdb_types::{Error, Result};

use super::append::APPEND_UNIONS;
use super::errors::from_datafusion;
use super::lanes::Lanes;
use super::pace::Pace;
use super::scan::Execution;
use super::slices::SLICE_PROJECTIONS;
use super::watch::WATCH_JOINS;
use crate::database::SqlOptions;
use crate::read::QueryContext;

/// Shared by all queries of a database.
pub(crate) struct QueryRuntime {
    state: SessionState,
    /// The rules that a plan with its parameters put in is run through again: they fold the constants and push them down.
    pub(super) bound_optimizer: Optimizer,
    tasks: Tasks,
    pub(super) batch: BatchBounds,
    pub(super) lanes: Arc<Lanes>,
    /// Rows a result hands on at a time, at most.
    pub(super) result_rows: usize,
}

/// How much a batch may hold: it ends at whichever comes first. A query holds a few of them that no budget counts, so they
/// are the smaller the less memory there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchBounds {
    pub(super) rows: usize,
    /// Of rows as they are stored, or of texts; one row more than that may be in it.
    pub(super) bytes: usize,
}

impl BatchBounds {
    fn within(memory_limit_bytes: usize) -> BatchBounds {
        BatchBounds {
            rows: (memory_limit_bytes / (32 << 10)).clamp(512, 8192),
            bytes: (memory_limit_bytes / 256).clamp(64 << 10, 1 << 20),
        }
    }

    /// How many rows have room that are as long as those of `batch`.
    pub(super) fn rows_like(self, batch: &RecordBatch) -> usize {
        batch.num_rows().saturating_mul(self.bytes) / bytes_of(batch).max(1)
    }
}

impl std::fmt::Debug for QueryRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryRuntime").finish_non_exhaustive()
    }
}

impl QueryRuntime {
    pub(crate) fn new(options: &SqlOptions) -> Result<QueryRuntime> {
        let consumers = std::num::NonZeroUsize::new(3).ok_or_else(|| Error::internal("three is zero"))?;
        let pool: Arc<dyn MemoryPool> =
            Arc::new(TrackConsumersPool::new(FairSpillPool::new(options.memory_limit_bytes), consumers));
        let disk = match &options.spill_dir {
            Some(dir) => DiskManagerMode::Directories(vec![dir.clone()]),
            None => DiskManagerMode::Disabled,
        };
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(pool)
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(disk))
            .build_arc()
            .map_err(from_datafusion)?;
        let mut physical_rules = PhysicalOptimizer::new().rules;
        // It takes a condition below an outer join's projection for one on the column of the same name on the other side
        // (DataFusion 55). What is to be pushed down, the logical rules have.
        physical_rules.retain(|rule| !rule.name().starts_with("FilterPushdown"));
        // It swaps a projection with a filter below it and takes the columns of one for those of the other. The logical
        // rules have left out what is not needed already.
        physical_rules.retain(|rule| rule.name() != "ProjectionPushdown");
        physical_rules.insert(0, Arc::new(APPEND_UNIONS));
        // Last, so that no other rule misses a join it looks for.
        physical_rules.push(Arc::new(WATCH_JOINS));
        physical_rules.push(Arc::new(SLICE_PROJECTIONS));
        let batch = BatchBounds::within(options.memory_limit_bytes);
        let state = SessionStateBuilder::new()
            .with_config(config(options.memory_limit_bytes, batch))
            .with_runtime_env(environment)
            .with_physical_optimizer_rules(physical_rules)
            .with_aggregate_functions(datafusion::functions_aggregate::all_default_aggregate_functions())
            .with_optimizer_rules(optimizer().rules)
            .build();
        // DataFusion starts tasks only where it spills.
        let tasks = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("driftdb-query")
            .build()
            .map_err(|error| Error::internal(format!("the query threads could not be started: {error}")))?;
        let tasks = Tasks { handle: tasks.handle().clone(), runtime: Some(tasks) };
        Ok(QueryRuntime {
            state,
            bound_optimizer: optimizer(),
            tasks,
            batch,
            lanes: Lanes::new(options.long_queries_max),
            result_rows: options.batch_rows.max(1),
        })
    }

    /// DataFusion's state for one execution.
    pub(super) fn state(&self, ctx: &QueryContext) -> SessionState {
        let mut state = self.state.clone();
        state.config_mut().set_extension(Arc::new(Execution { context: ctx.clone(), pace: None }));
        state
    }

    /// The same for one that may be moved to another thread when it takes long.
    pub(super) fn paced_state(&self, ctx: &QueryContext, pace: &Arc<Pace>) -> SessionState {
        let mut state = self.state.clone();
        let execution = Execution { context: ctx.clone(), pace: Some(Arc::clone(pace)) };
        state.config_mut().set_extension(Arc::new(execution));
        state
    }

    /// How many of a batch's rows are turned into values at a time: a join may have made wide rows of narrow ones.
    pub(super) fn rows_at_once(&self, batch: &RecordBatch) -> usize {
        self.batch.rows_like(batch).clamp(1, self.result_rows)
    }

    /// DataFusion's state where nothing is executed.
    pub(super) fn planning_state(&self) -> &SessionState {
        &self.state
    }

    /// Inside of this guard DataFusion finds the threads for its tasks.
    pub(super) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.tasks.handle.enter()
    }
}

/// How many bytes a batch has, without what else is in the buffers that it is a slice of.
fn bytes_of(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}

/// The threads of DataFusion's own tasks.
struct Tasks {
    handle: tokio::runtime::Handle,
    /// There until the drop.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Tasks {
    /// A runtime that is simply dropped waits for its threads, and panics when that is inside of another runtime, where a
    /// program that embeds the database may well be.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// DataFusion's rules but one: it turns `sum(a)` beside a DISTINCT into the sum of sums, and the sum of bigints is numeric
/// here, not bigint.
fn optimizer() -> Optimizer {
    let mut optimizer = Optimizer::new();
    optimizer.rules.retain(|rule| rule.name() != "single_distinct_aggregation_to_group_by");
    optimizer
}

fn config(memory_limit_bytes: usize, batch: BatchBounds) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(1)
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false)
        .with_batch_size(batch.rows);
    let options = config.options_mut();
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.collect_spans = true;
    options.optimizer.repartition_joins = false;
    options.optimizer.repartition_aggregations = false;
    options.optimizer.repartition_windows = false;
    options.optimizer.repartition_sorts = false;
    // What a sort keeps back for merging what it spilled must leave room for the sort itself.
    options.execution.sort_spill_reservation_bytes = (memory_limit_bytes / 16).min(10 << 20);
    // The logical and the physical schema may differ in metadata, which says nothing of the values.
    options.execution.skip_physical_aggregate_schema_check = true;
    config
}
