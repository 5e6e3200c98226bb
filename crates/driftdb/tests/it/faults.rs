//! Faults of the real machine, under the real binary: beside those that `driftdb-sim` simulates, these show that the
//! simulated ones are the right ones.
//!
//! - [`freeze`]: SIGSTOP, SIGCONT and SIGKILL, also while a flush or a compaction is at work;
//! - [`full`]: a small file system that fills up;
//! - [`failing`]: reads, writes, syncs and renames that fail with EIO, by a library that stands before libc ([`shim`]);
//! - [`order`]: what is written, synced and answered in which order, from a trace of the same library;
//! - [`flips`]: bits flipped in every kind of file.

mod database;
mod failing;
mod flips;
mod freeze;
mod full;
mod mount;
mod order;
mod shim;

use crate::server::setting;

/// How much of it all: once in the bounded form. Each test has its own measure of what that is.
fn rounds() -> u64 {
    setting("ROUNDS", 1, 20).max(1)
}
