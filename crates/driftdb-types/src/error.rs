//! The error that reaches a client.

use std::fmt;

/// A five-character SQLSTATE code (PostgreSQL manual, appendix A).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SqlState(&'static str);

macro_rules! sqlstates {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl SqlState {
            $($(#[$doc])* pub const $name: SqlState = SqlState($code);)*
            /// Every code DriftDB gives.
            pub const ALL: &'static [SqlState] = &[$(SqlState::$name),*];
        }
    };
}

sqlstates! {
    /// The server is shutting down.
    ADMIN_SHUTDOWN = "57P01";
    /// Another session waits for this one, which waits for it.
    DEADLOCK_DETECTED = "40P01";
    /// No room on the disk.
    DISK_FULL = "53100";
    /// An object the statement depends on is still used.
    DEPENDENT_OBJECTS = "2BP01";
    /// x / 0.
    DIVISION_BY_ZERO = "22012";
    /// A negative length in substring or overlay.
    SUBSTRING_ERROR = "22011";
    /// A LIKE pattern that ends with its escape character.
    INVALID_ESCAPE_SEQUENCE = "22025";
    /// A logarithm of zero or less.
    INVALID_ARGUMENT_FOR_LOGARITHM = "2201E";
    /// A root or power that is no real number.
    INVALID_ARGUMENT_FOR_POWER_FUNCTION = "2201F";
    /// A regular expression that cannot be read.
    INVALID_REGULAR_EXPRESSION = "2201B";
    /// Two tables of one FROM have one name.
    DUPLICATE_ALIAS = "42712";
    /// LIMIT is negative.
    INVALID_ROW_COUNT_IN_LIMIT = "2201W";
    /// OFFSET is negative.
    INVALID_ROW_COUNT_IN_OFFSET = "2201X";
    /// A column of that name exists.
    DUPLICATE_COLUMN = "42701";
    /// A prepared statement of that name exists.
    DUPLICATE_PREPARED_STATEMENT = "42P05";
    /// A cursor of that name exists.
    DUPLICATE_CURSOR = "42P03";
    /// An object (index, constraint) of that name exists.
    DUPLICATE_OBJECT = "42710";
    /// A table or index of that name exists.
    DUPLICATE_TABLE = "42P07";
    /// Parts of the system lack the setting that was named or the value is out of bounds.
    INVALID_PARAMETER_VALUE = "22023";
    /// SET or SHOW of a setting that does not exist.
    UNDEFINED_OBJECT = "42704";
    /// The setting cannot be changed now.
    CANT_CHANGE_RUNTIME_PARAM = "55P02";
    /// The statement is right but not supported.
    FEATURE_NOT_SUPPORTED = "0A000";
    /// A value that is too long for varchar(n) or char(n).
    STRING_DATA_RIGHT_TRUNCATION = "22001";
    /// The transaction has failed and waits for ROLLBACK.
    IN_FAILED_SQL_TRANSACTION = "25P02";
    /// A session was idle for too long, within a transaction.
    IDLE_IN_TRANSACTION_SESSION_TIMEOUT = "25P03";
    /// A session was idle for too long.
    IDLE_SESSION_TIMEOUT = "57P05";
    /// A transaction took longer than it may.
    TRANSACTION_TIMEOUT = "25P04";
    /// The statement cannot run inside a transaction block.
    ACTIVE_SQL_TRANSACTION = "25001";
    /// COMMIT, ROLLBACK or SAVEPOINT outside a transaction block.
    NO_ACTIVE_SQL_TRANSACTION = "25P01";
    /// Column reference is ambiguous.
    AMBIGUOUS_COLUMN = "42702";
    /// The call fits more than one function.
    AMBIGUOUS_FUNCTION = "42725";
    /// Not a boolean, or no operator for these types.
    DATATYPE_MISMATCH = "42804";
    /// A date or time out of bounds.
    DATETIME_FIELD_OVERFLOW = "22008";
    /// A date or time that cannot be read.
    INVALID_DATETIME_FORMAT = "22007";
    /// An interval out of bounds.
    INTERVAL_FIELD_OVERFLOW = "22015";
    /// A time zone's offset out of bounds.
    INVALID_TIME_ZONE_DISPLACEMENT = "22009";
    /// A character that text cannot hold, such as `\u0000` in jsonb.
    UNTRANSLATABLE_CHARACTER = "22P05";
    /// Malformed COPY data.
    BAD_COPY_FILE_FORMAT = "22P04";
    /// A value that its type cannot read.
    INVALID_TEXT_REPRESENTATION = "22P02";
    /// A binary parameter that its type cannot read.
    INVALID_BINARY_REPRESENTATION = "22P03";
    /// Bytes that are not valid in the encoding.
    CHARACTER_NOT_IN_REPERTOIRE = "22021";
    /// A name that is too long.
    NAME_TOO_LONG = "42622";
    /// GROUP BY rules.
    GROUPING_ERROR = "42803";
    /// The user may not do this.
    INSUFFICIENT_PRIVILEGE = "42501";
    /// The state asked for is older than what retention keeps. Ours: PostgreSQL has no past.
    BEYOND_RETENTION_HORIZON = "TT001";
    /// An invariant was found broken.
    INTERNAL_ERROR = "XX000";
    /// A stored file is damaged.
    DATA_CORRUPTED = "XX001";
    /// The user name is unknown or the authentication data malformed.
    INVALID_AUTHORIZATION = "28000";
    /// No such database.
    INVALID_CATALOG_NAME = "3D000";
    /// No such schema.
    INVALID_SCHEMA_NAME = "3F000";
    /// ON CONFLICT names no unique constraint.
    INVALID_COLUMN_REFERENCE = "42P10";
    /// No such cursor or portal.
    INVALID_CURSOR_NAME = "34000";
    /// A constraint or key definition that makes no sense.
    INVALID_TABLE_DEFINITION = "42P16";
    /// A column definition that makes no sense.
    INVALID_COLUMN_DEFINITION = "42611";
    /// Wrong password.
    INVALID_PASSWORD = "28P01";
    /// No such savepoint.
    INVALID_SAVEPOINT = "3B001";
    /// No such prepared statement.
    UNDEFINED_PREPARED_STATEMENT = "26000";
    /// The wrong transaction state for this.
    INVALID_TRANSACTION_STATE = "25000";
    /// Reading or writing a file failed.
    IO_ERROR = "58030";
    /// lock_timeout, or NOWAIT.
    LOCK_NOT_AVAILABLE = "55P03";
    /// NULL where NOT NULL.
    NOT_NULL_VIOLATION = "23502";
    /// CHECK is false.
    CHECK_VIOLATION = "23514";
    /// A number out of bounds.
    NUMERIC_VALUE_OUT_OF_RANGE = "22003";
    /// The object is not in the state the statement needs.
    OBJECT_NOT_IN_PREREQUISITE_STATE = "55000";
    /// The object is in use.
    OBJECT_IN_USE = "55006";
    /// Memory bound reached.
    OUT_OF_MEMORY = "53200";
    /// A limit of the implementation.
    PROGRAM_LIMIT_EXCEEDED = "54000";
    /// More columns than a table may have.
    TOO_MANY_COLUMNS = "54011";
    /// A message the protocol does not allow here.
    PROTOCOL_VIOLATION = "08P01";
    /// Cancelled by the user or a time limit.
    QUERY_CANCELED = "57014";
    /// Writing in a read-only transaction.
    READ_ONLY_SQL_TRANSACTION = "25006";
    /// A row changed since the snapshot.
    SERIALIZATION_FAILURE = "40001";
    /// The statement cannot be parsed.
    SYNTAX_ERROR = "42601";
    /// Connection limit reached.
    TOO_MANY_CONNECTIONS = "53300";
    /// The server is starting or stopping.
    CANNOT_CONNECT_NOW = "57P03";
    /// No such column.
    UNDEFINED_COLUMN = "42703";
    /// No such function, or none for these types.
    UNDEFINED_FUNCTION = "42883";
    /// No such parameter ($n).
    UNDEFINED_PARAMETER = "42P02";
    /// The type of a parameter cannot be found.
    INDETERMINATE_DATATYPE = "42P18";
    /// No such table.
    UNDEFINED_TABLE = "42P01";
    /// A unique constraint holds this key already.
    UNIQUE_VIOLATION = "23505";
    /// The name fits the wrong kind of object.
    WRONG_OBJECT_TYPE = "42809";
    /// A subquery used as a value gave more than one row.
    CARDINALITY_VIOLATION = "21000";
    /// The function cannot take this argument.
    INVALID_ARGUMENT = "22000";
    /// Nothing is wrong: the class of plain notices.
    SUCCESS = "00000";
    /// No stated class.
    WARNING = "01000";
    /// A value cannot be cast to this type.
    CANNOT_COERCE = "42846";
}

impl SqlState {
    /// The five characters.
    pub fn code(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// An error as a client sees it: one SQLSTATE, what was wrong with which value, and where there is one thing to do, a
/// hint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Its class.
    pub state: SqlState,
    /// What was wrong, with the value.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// The one thing to do.
    pub hint: Option<String>,
    /// Where in the statement's text, counted in characters from 1.
    pub position: Option<usize>,
    /// What it is about, for programs: they should not have to take the message apart. Boxed, as most errors have none
    /// and every result has room for an error.
    pub subject: Option<Box<Subject>>,
}

/// The objects an error is about, each in a field of its own, as PostgreSQL's protocol has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The schema of the table.
    pub schema: Option<String>,
    /// The table.
    pub table: Option<String>,
    /// The column, when the error is about one.
    pub column: Option<String>,
    /// The constraint, when one was broken.
    pub constraint: Option<String>,
    /// The routine of PostgreSQL's source that would have said so: some drivers tell errors of one SQLSTATE apart by it.
    pub routine: Option<&'static str>,
}

/// A result with the client-facing error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of class `state`.
    pub fn new(state: SqlState, message: impl Into<String>) -> Error {
        Error { state, message: message.into(), detail: None, hint: None, position: None, subject: None }
    }

    /// Something the dialect has but this version does not do; `what` names the clause.
    pub fn unsupported(what: impl fmt::Display) -> Error {
        Error::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} is not supported"))
    }

    /// An invariant was found broken; `what` says what was found.
    pub fn internal(what: impl Into<String>) -> Error {
        Error::new(SqlState::INTERNAL_ERROR, what)
    }

    /// The same with a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Error {
        self.detail = Some(detail.into());
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a position in the statement's text, in characters from 1.
    #[must_use]
    pub fn at(mut self, position: usize) -> Error {
        self.position = Some(position);
        self
    }

    /// The same, about a table of this schema.
    #[must_use]
    pub fn about_table(mut self, schema: impl Into<String>, table: impl Into<String>) -> Error {
        let subject = self.subject.get_or_insert_default();
        subject.schema = Some(schema.into());
        subject.table = Some(table.into());
        self
    }

    /// The same, about a column of the table.
    #[must_use]
    pub fn about_column(mut self, column: impl Into<String>) -> Error {
        self.subject.get_or_insert_default().column = Some(column.into());
        self
    }

    /// The same, about a constraint of the table.
    #[must_use]
    pub fn about_constraint(mut self, constraint: impl Into<String>) -> Error {
        self.subject.get_or_insert_default().constraint = Some(constraint.into());
        self
    }

    /// The same, with the routine of PostgreSQL's that gives this error.
    #[must_use]
    pub fn routine(mut self, routine: &'static str) -> Error {
        self.subject.get_or_insert_default().routine = Some(routine);
        self
    }
}
