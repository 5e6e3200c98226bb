//! Why a step ends before its end.

use driftdb_engine::StatementError;
use driftdb_store::StoreError;
use driftdb_types::{CodecError, Error};

#[derive(Clone, Debug)]
pub(crate) enum Halt {
    /// The database refused. Whether it may depends on the faults of the moment.
    Refused(Error),
    /// It did what no database may do.
    Wrong(String),
}

pub(crate) type Result<T, E = Halt> = std::result::Result<T, E>;

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        Halt::Refused(error)
    }
}

impl From<CodecError> for Halt {
    fn from(error: CodecError) -> Halt {
        Halt::Refused(error.into())
    }
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Halt {
        Halt::Refused(error.into())
    }
}

impl From<StatementError> for Halt {
    fn from(error: StatementError) -> Halt {
        Halt::Refused(error.into_error())
    }
}

/// Ends the step: this is wrong.
macro_rules! wrong {
    ($($what:tt)*) => {
        return Err($crate::halt::Halt::Wrong(format!($($what)*)))
    };
}

/// Ends the step unless it holds.
macro_rules! hold {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            $crate::halt::wrong!($($what)*);
        }
    };
}

pub(crate) use {hold, wrong};
