//! The commit log: the durable order of commits, and the only source of truth until a checkpoint.
//!
//! # The idea
//! A directory of preallocated files, the *log segments*, holds one long row of bytes. A position in it is an
//! [`Lsn`](driftdb_types::Lsn); a segment is named by the Lsn of its first byte. Into it go *records* (whatever the
//! layer above calls a commit), each in one *frame*, or in several where a segment ends:
//!
//! ```text
//!  00000000000000000000.log                          00000000000067108864.log
//! ┌────────┬───────┬───────┬──────────┬───────┬────┐ ┌────────┬───────┬───────┬ ─ ─ ─ ─ ─ ─
//! │ header │ whole │ whole │  whole   │ first │ pad│ │ header │ last  │ whole │ 0 0 0 0 …
//! └────────┴───────┴───────┴──────────┴───────┴────┘ └────────┴───────┴───────┴ ─ ─ ─ ─ ─ ─
//!          └ group ┘└──── group ─────┘└──────────────── group ───────┘└ group ┘ end
//! ```
//!
//! Every frame has a CRC-32C over its Lsn, its header and its payload, and carries the checksum of the frame before
//! it: the chain. So a hole, a swapped frame or a frame of another place shows. The frames of one
//! [`Log::append`] are a *group*: written by one write, made durable by one `fdatasync`, acknowledged together. Every
//! frame names the Lsn at which its group began.
//!
//! # Telling a torn tail from damage
//! After a crash the last group may be there in part, in any pattern of disk sectors: the file system keeps no
//! order within what was not synced. That is a *torn tail*; nobody was told that it is durable, and it is cut. But an
//! invalid frame in an *earlier* group is damage, because the log does not write a group before the one ahead of it is
//! synced. The two are told apart by the frames after the invalid one at position `p`:
//!
//! * a valid frame whose group began after `p`, or a later segment, proves that what is at `p` was once durable:
//!   damage, and [`Log::open`] refuses with [`LogError::Damaged`], naming file and offset;
//! * otherwise what is at `p` belongs to the last group: torn. The whole records before `p` are kept, the rest is
//!   overwritten with zeros, durably, before anything is appended, and reported ([`RecoveryReport::torn_bytes`]).
//!
//! Bit rot within the very last group looks exactly like a torn write of it, and so is cut and reported, not refused.
//! Nothing in the log can tell the two apart; the next group, or a checkpoint, ends that window.
//!
//! # What may be found where
//! * Space beyond the end is zero: segments are made anew (never recycled) and torn tails are overwritten. So a
//!   frame found after the end of the log can only be of the group being written at the crash.
//! * A new segment is prepared under another name: space set aside, its header and its first frames written and
//!   synced; only then it is renamed into the row, and that is synced too. So a segment of the row always has a valid
//!   header and at least one frame (but for the first of all), and all segments before it are whole to their end.
//! * Space for the segments a group needs is set aside before any byte of the group is written. So a full disk
//!   ([`LogError::Full`]) leaves the log exactly as it was, and usable.
//! * When a write, a sync or a rename fails after that, nobody knows what is durable, and asking again does not tell
//!   (fsyncgate; Rebello et al., "Can Applications Recover from fsync Failures?", 2020). The log is *poisoned*: this and
//!   every later append fails with [`LogError::Poisoned`], for ever. The records of that group may or may not be found
//!   when the log is opened again: their outcome is unknown, not "no".
//! * Opening again settles it: what is found whole is written once more and synced before it is handed out, since
//!   what the page cache shows may be what a failed sync never brought to the disk.
//! * A record of several frames may lack its end when the crash came between them. Its frames stay; the chain proves
//!   that nothing is missing between them and the next record, so the reader drops them when a new record begins.
//!
//! # Not here
//! The log does not know what a record means, and has no thread: the one caller that owns the [`Log`] is the writer.

mod check;
mod error;
mod frame;
#[cfg(test)]
mod fuzz_tests;
mod log;
mod plan;
mod recovery;
mod segment;

pub use check::{Finding, Salvage, Severity, check, salvage};
pub use error::LogError;
pub use log::{Log, LogOptions};
pub use recovery::{ApplyError, ApplyResult, RecoveryReport, TornTail};
