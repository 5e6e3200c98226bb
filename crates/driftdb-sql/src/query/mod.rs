//! Queries: planned by DataFusion with PostgreSQL's rules put around it, run over the store's read points.
//!
//! The way of a query: the syntax tree is rewritten so that what DataFusion would read differently becomes a call of a
//! function of ours (`rewrite`); DataFusion's planner turns it into a logical plan, with tables and functions from us
//! (`planner`); the resolver gives every literal and parameter its type by PostgreSQL's rules and inserts the casts
//! (`resolve`); DataFusion optimises it. A plan holds no read point of "now": a scan finds the reader of the execution it
//! runs in (`scan`).
//!
//! *Invariants of absence.* Nothing here writes. Nothing outside of this module knows Arrow or a DataFusion plan.

mod aggregates;
mod append;
mod errors;
mod explain;
mod float_window;
mod functions;
mod guard;
mod keyed;
mod keys;
mod lanes;
mod nodes;
mod numeric;
mod pace;
mod plan;
mod planner;
mod provider;
mod resolve;
mod rewrite;
mod runtime;
mod scan;
mod series;
mod single;
mod slices;
mod system;
#[cfg(test)]
mod tests;
mod types;
mod watch;
mod widening;

pub(crate) use explain::{ExplainOptions, explain};
pub(crate) use functions::is_volatile;
use plan::constant_of;
use plan::eval_const_typed;
pub(crate) use plan::{PlannedQuery, eval_const, plan_query, plan_query_for, run_query};
pub(crate) use runtime::QueryRuntime;

/// The hidden column of row keys, which queries that DML builds name.
pub(crate) const ROW_KEY_COLUMN: &str = "_row_key";

/// Whether each table has a hidden column of that name.
pub(crate) fn is_hidden_column(name: &str) -> bool {
    rewrite::HIDDEN_COLUMNS.contains(&name) || name == ROW_KEY_COLUMN
}
