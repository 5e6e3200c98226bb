//! The server, seen from outside: by raw bytes, by tokio-postgres, by psql.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]
#![allow(missing_docs, reason = "a test crate has no callers")]

mod clients;
mod database;
mod extended;
mod harness;
mod malformed;
mod starting;
