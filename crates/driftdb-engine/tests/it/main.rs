//! The engine as the layer above sees it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::disallowed_methods,
    reason = "tests stop where something is not as expected"
)]

mod advisory;
mod concurrency;
mod constraints;
mod durability;
mod erase;
mod history;
mod one_history;
mod repair;
mod retention;
mod schema;
mod serializable;
mod support;
mod verify;
