//! What can come of a statement.

use driftdb_log::LogError;
use driftdb_types::{Error, SqlState};

/// Why a step of a statement did not go through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// READ COMMITTED met something newer than the statement's snapshot. The caller takes back what the statement did
    /// ([`Transaction::rollback_to`](crate::Transaction::rollback_to)), begins it again
    /// ([`Transaction::begin_statement`](crate::Transaction::begin_statement)) and runs it once more; the locks stay.
    #[error("the statement has to run again on a newer snapshot")]
    Restart,
    /// The statement fails.
    #[error(transparent)]
    Error(#[from] Error),
}

impl StatementError {
    /// The client's error, where a restart is not to be expected (a statement that took its locks before its
    /// snapshot): then it is an internal error.
    pub fn into_error(self) -> Error {
        match self {
            StatementError::Restart => Error::internal("a statement asked to be restarted where none can be"),
            StatementError::Error(error) => error,
        }
    }
}

/// A row or a table changed after a REPEATABLE READ transaction's snapshot.
pub(crate) fn serialization_failure() -> Error {
    Error::new(SqlState::SERIALIZATION_FAILURE, "could not serialize access due to concurrent update")
        .hint("The transaction might succeed if retried.")
}

/// More locks than one may hold.
pub(crate) fn too_many_locks(who: &str, max: usize) -> Error {
    Error::new(SqlState::OUT_OF_MEMORY, format!("the {who} holds more than {max} locks"))
        .hint("Make the changes in several transactions.")
}

/// The engine is closed or being closed.
pub(crate) fn shutting_down() -> Error {
    Error::new(SqlState::ADMIN_SHUTDOWN, "the database is shutting down")
}

/// An I/O error, with its own state where the disk is full.
pub(crate) fn io_error(what: &str, error: &std::io::Error) -> Error {
    let state = if error.kind() == std::io::ErrorKind::StorageFull { SqlState::DISK_FULL } else { SqlState::IO_ERROR };
    Error::new(state, format!("{what}: {error}"))
}

/// What the commit log's error is to a client.
pub(crate) fn log_error(error: &LogError) -> Error {
    let state = match error {
        LogError::Full { .. } => SqlState::DISK_FULL,
        LogError::Io { .. } | LogError::Poisoned { .. } => SqlState::IO_ERROR,
        LogError::Damaged { .. } | LogError::Format { .. } | LogError::Apply { .. } => SqlState::DATA_CORRUPTED,
        LogError::Options(_) => SqlState::INVALID_PARAMETER_VALUE,
        _ => SqlState::INTERNAL_ERROR,
    };
    let sql = Error::new(state, error.to_string());
    if state == SqlState::DISK_FULL { sql.hint("Free space on the disk and try again.") } else { sql }
}
