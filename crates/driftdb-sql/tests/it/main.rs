//! SQL as a client sees it, below the wire.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod concurrency;
mod copy;
mod differential;
mod pgbench;
mod runner;

macro_rules! scripts {
    ($($name:ident),* $(,)?) => { $(
        #[test]
        fn $name() {
            runner::run(stringify!($name), include_str!(concat!("slt/", stringify!($name), ".slt")));
        }
    )* };
}

scripts!(
    ddl,
    dml,
    functions_json,
    functions_numbers,
    functions_text,
    functions_time,
    keeping,
    point,
    query_conditions,
    query_functions,
    query_history,
    query_numerics,
    query_prepared,
    query_select,
    temporal,
    temporal_snapshots,
    transactions
);

// What sqlparser does not read by itself, or reads otherwise.
scripts!(ways_of_writing);
