//! Tests of the public API.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod fuzz;
mod key_order;
mod postgres;
mod properties;
mod types;
mod values;
