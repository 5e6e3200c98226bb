//! Tests of the public API.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod postgres;
mod properties;
mod types;
mod values;
