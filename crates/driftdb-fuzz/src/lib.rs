//! Fuzzing of decoders, on the stable toolchain and in the ordinary tests: what reads bytes from a disk is given bytes that
//! are wrong.
//!
//! # The idea
//! A [`Target`] is a plain function of bytes that calls a decoder and asserts what must hold of its answer. It is run with
//! the inputs of its *corpus* first (valid ones of each shape, and all that ever failed), then with *mutations* of those:
//! flipped bits, numbers set to the edges of their range, stretches cut out, doubled, swapped or taken from another input;
//! and now and then with random bytes. There is no feedback from coverage, as AFL's (Zalewski, 2013) and libFuzzer's: that
//! wants a nightly compiler. In its place the inputs are close to valid, and targets repair the checksums in them, so that
//! what is behind a checksum is reached.
//!
//! # What must hold of every decoder
//! * It does not panic, not even where that is caught. A library under it may, where our code is made to survive that, or the
//!   target is ([`excuse_libraries`]).
//! * It does not ask for memory without bound: [`Target::memory_bytes_max`], counted on the thread that runs it.
//! * It comes to an end: after a minute over one input the process is ended, and says over which.
//! * What it accepts is encoded again as the same thing; which is for the target to assert.
//!
//! # Repeatable
//! An input follows from its seed and the corpus. `DRIFTDB_TEST_SEED` runs one seed, `DRIFTDB_TEST_ROUNDS` that many from
//! there on, `DRIFTDB_TEST_MINUTES` as many as there is time for; `cargo xtask fuzz` sets them. An input that fails is kept
//! in the corpus. One over which the process itself died (a stack that overflowed, memory that was refused) is found in
//! the directory for temporary files, as `driftdb-fuzz-<target>-<process>`: `DRIFTDB_TEST_INPUT` names a file that is to be the
//! only input, and `DRIFTDB_TEST_PANICS=1` has every panic printed, also those that are caught.
//! `DRIFTDB_TEST_CORPUS=write` makes the examples in the corpus anew, after a change of format.
//!
//! *Invariants of absence.* This crate knows no format and no crate of ours but `driftdb-env`; and only tests know it.
//! It is a crate, and not a module, because decoders are private to four crates whose tests all need it.

mod corpus;
mod mutate;
mod panics;
mod run;

pub use panics::excuse_libraries;
pub use run::Target;
