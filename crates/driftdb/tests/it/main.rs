//! Black-box tests: they start the real binary on a free port and a temporary directory, talk to it with clients no one
//! here wrote, and stop it by its process id.
//!
//! `cargo xtask test` provides PostgreSQL's clients and a Python with pyarrow, psycopg and asyncpg; without them the tests that need them
//! fail and say so. Settings: `DRIFTDB_TEST_LONG=1` for the long forms, `DRIFTDB_TEST_{ROUNDS,SEED,SCALE,SECONDS}` for
//! parts of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "tests are on the outside: they use the machine's files and clock, and a panic is how they fail"
)]

mod anomalies;
mod client;
mod configuration;
mod crash;
mod directory;
mod doctor;
mod drivers;
mod erase;
mod faults;
mod files;
mod format;
mod histories;
mod limits;
mod model;
mod overload;
mod parquet;
mod password;
mod pgbench;
mod process;
mod python;
mod readme;
mod retention;
mod server;
mod shell;
mod shutdown;
mod sizes;
mod verify;
mod writers;
