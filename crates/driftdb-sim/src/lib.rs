//! The simulator: the real log, store and engine on a machine that breaks on purpose, held against a plain list of commits.
//!
//! # The idea
//! A run is a row of *steps*, all of them chosen by a seed: transactions that change rows and definitions, flushes,
//! compactions, restarts, readers that stay, reads of the past. Before some of them a *fault* is armed, which strikes at
//! one operation of the disk: a power cut, an error, a full disk, a read that gives the wrong bytes. Beside the database
//! the *model* keeps what a database is to be: a copy of everything at every commit. After every restart, and now and
//! then, tables, indexes, definitions and the list of commits are read at stamps old and new, and compared.
//! (The method is FoundationDB's: Zhou et al., "FoundationDB: A Distributed Unbundled Transactional Key Value Store", 2021.)
//!
//! # What must hold
//! * What was acknowledged is there, at its stamp, for ever. What was refused is not. Where a failure left open which it is
//!   (the disk failed in the midst of the commit), the restart settles it: all of the commit is there, or nothing.
//! * A fault is an error with the state of an I/O error, a full disk or damage, or is not noticed; it never changes an
//!   answer. Without a fault nothing fails. After a fault that leaves the disk usable the database goes on; after one that
//!   does not it refuses commits and says so.
//! * The disk may be damaged behind its back: then an opening or a read fails, or the answer is right; and the doctor
//!   names the file.
//!
//! # Repeatable
//! Everything follows from the seed. Work that the server does in the background is a step here, done by the one thread
//! that does all the others; or by a second one, which stops in the midst of it while the first goes on
//! ([`SimDisk::pause_after`](driftdb_env::SimDisk::pause_after)), so that no two ever run at once.

mod compare;
mod dice;
mod fault;
mod halt;
mod model;
mod rot;
mod simulation;
mod tally;
mod work;

pub use simulation::{Failure, simulate};
pub use tally::Tally;
