//! The store from outside: against a model, through crashes, and on failing disks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod crash;
mod damage;
mod faults;
mod harness;
mod model;
mod parquet_files;
mod schemas;
