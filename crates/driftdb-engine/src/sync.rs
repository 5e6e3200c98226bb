//! What threads meet at: mutexes, condition variables and atomics.
//!
//! In the database they are parking_lot's and the standard library's. With the feature `shuttle` they are made of
//! shuttle's, under which a test decides at each of them who goes on: see [docs/threading.md](../../../docs/threading.md).

#[cfg(feature = "shuttle")]
mod shuttled;

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::{hash::RandomState, sync::atomic};

#[cfg(not(feature = "shuttle"))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
#[cfg(feature = "shuttle")]
pub(crate) use shuttled::{Condvar, Mutex, MutexGuard, RandomState, atomic};
