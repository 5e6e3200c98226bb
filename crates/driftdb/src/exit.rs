//! What the exit code says, for those who start the program from another.

use std::process::ExitCode;

use driftdb_types::{Error, SqlState};
use driftdb_wire::ServerError;

/// What `--help` says about it.
pub(crate) const HELP: &str = "Exit codes: 0 done; 1 failed; 2 wrong arguments; 3 the data directory is in use; \
    4 a file is damaged; 5 the address cannot be listened on";

/// Something failed.
pub(crate) const FAILURE: u8 = 1;
/// Another process has the data directory.
pub(crate) const IN_USE: u8 = 3;
/// A file is damaged.
pub(crate) const DAMAGED: u8 = 4;
/// The address cannot be listened on.
pub(crate) const CANNOT_LISTEN: u8 = 5;

/// The code for an error.
pub(crate) fn code(error: &anyhow::Error) -> ExitCode {
    let state = error.downcast_ref::<Error>().map(|error| error.state);
    let listen = matches!(error.downcast_ref::<ServerError>(), Some(ServerError::Listen { .. }));
    ExitCode::from(match state {
        Some(SqlState::OBJECT_IN_USE) => IN_USE,
        Some(SqlState::DATA_CORRUPTED) => DAMAGED,
        _ if listen => CANNOT_LISTEN,
        _ => FAILURE,
    })
}
