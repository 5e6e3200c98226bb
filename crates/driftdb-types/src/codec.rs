//! What can go wrong when stored bytes are read or written.

use crate::{DataType, Error, SqlState};

/// Why a row or a key could not be encoded or decoded. On a value just read from disk it means damage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end before the value does.
    #[error("{what} ends after {len} bytes")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// How many bytes there were.
        len: usize,
    },
    /// Bytes that no encoder writes.
    #[error("malformed {what}")]
    Malformed {
        /// What was being read.
        what: &'static str,
    },
    /// A format byte of a later (or no) release.
    #[error("unknown row format {0}")]
    UnknownFormat(u8),
    /// A value of another type than its column.
    #[error("a column of type {expected} cannot hold {found}")]
    WrongType {
        /// The column's type.
        expected: String,
        /// The value's type.
        found: String,
    },
    /// Not one value for each column of the table.
    #[error("{values} values for {columns} columns")]
    ColumnCount {
        /// Columns of the table, dropped ones included.
        columns: usize,
        /// Values given.
        values: usize,
    },
    /// The stand-in value of a column added later cannot be read.
    #[error("the missing value {text:?} of column {column:?} cannot be read")]
    MissingValue {
        /// The column's name.
        column: String,
        /// The stored text.
        text: String,
    },
    /// A column the table does not have.
    #[error("there is no column {0}")]
    NoColumn(u16),
    /// More bytes than a row may have.
    #[error("a row of {0} bytes is longer than a row can be")]
    TooLong(usize),
}

impl CodecError {
    /// A value of another type than asked for.
    pub(crate) fn wrong_type(expected: DataType, found: &crate::Value) -> CodecError {
        let found = found.data_type().map_or_else(|| "NULL".to_owned(), |ty| ty.sql_name());
        CodecError::WrongType { expected: expected.sql_name(), found }
    }
}

impl From<CodecError> for Error {
    fn from(error: CodecError) -> Error {
        let state = match &error {
            CodecError::WrongType { .. } | CodecError::ColumnCount { .. } | CodecError::NoColumn(_) => {
                SqlState::INTERNAL_ERROR
            }
            CodecError::TooLong(_) => SqlState::PROGRAM_LIMIT_EXCEEDED,
            _ => SqlState::DATA_CORRUPTED,
        };
        Error::new(state, error.to_string())
    }
}
