//! The statements DriftDB runs: the allow-list itself.

use driftdb_engine::{Isolation, LockMode};
use driftdb_types::{DataType, Interval};

use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectName, OnConflict, Query, SelectItem, TableWithJoins, With};

use super::Statement;
use super::names::TableName;
use crate::copy::CopyOptions;
use crate::query::ExplainOptions;

/// One statement, parsed and checked.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// SELECT, VALUES, WITH.
    Query(Box<QueryStatement>),
    Insert(Box<InsertStatement>),
    Update(Box<UpdateStatement>),
    Delete(Box<DeleteStatement>),
    Explain(Box<ExplainStatement>),
    CreateTable(Box<CreateTable>),
    CreateTableAs(Box<CreateTableAs>),
    DropTable {
        names: Vec<TableName>,
        if_exists: bool,
    },
    AlterTable(Box<AlterTable>),
    CreateIndex(Box<CreateIndex>),
    DropIndex {
        names: Vec<TableName>,
        if_exists: bool,
    },
    Truncate {
        names: Vec<TableName>,
    },
    /// No retention: unlimited.
    SetRetention {
        table: TableName,
        if_exists: bool,
        retention: Option<Interval>,
    },
    Erase(Box<EraseStatement>),
    CreatePin(Box<CreatePin>),
    DropPin {
        names: Vec<String>,
        if_exists: bool,
    },
    /// VACUUM and ANALYZE: nothing to reclaim or to count, but the tables must exist.
    Maintain {
        tag: &'static str,
        names: Vec<TableName>,
    },
    Checkpoint,
    Begin {
        tag: &'static str,
        modes: TransactionModes,
    },
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    SetTransaction {
        modes: TransactionModes,
        session: bool,
    },
    /// SET; no value: to the default.
    Set {
        local: bool,
        name: String,
        value: Option<String>,
    },
    Reset(String),
    ResetAll,
    /// A command that ends what there is none of, such as cursors: its tag.
    Nothing(&'static str),
    Show(String),
    ShowAll,
    Discard(&'static str),
    Copy(Box<CopyStatement>),
    Prepare(Box<PrepareStatement>),
    Execute {
        name: String,
        arguments: Vec<Expr>,
    },
    /// No name: all.
    Deallocate(Option<String>),
}

impl Kind {
    /// Whether it is prepared by a plan, and may have parameters. The others are carried out as they stand.
    pub(crate) fn is_planned(&self) -> bool {
        matches!(
            self,
            Kind::Query(_) | Kind::Insert(_) | Kind::Update(_) | Kind::Delete(_) | Kind::Erase(_) | Kind::Explain(_)
        )
    }
}

/// How a statement locks the rows it reads: FOR UPDATE, FOR SHARE and their like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowLocking {
    pub(crate) mode: LockMode,
    pub(crate) blocked: Blocked,
}

/// What is done about a row that somebody else has locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    Wait,
    NoWait,
    SkipLocked,
}

#[derive(Clone, Debug)]
pub(crate) struct QueryStatement {
    /// Without its FOR UPDATE.
    pub(crate) query: Query,
    pub(crate) lock: Option<RowLocking>,
}

#[derive(Clone, Debug)]
pub(crate) enum InsertSource {
    DefaultValues,
    Values(Vec<Vec<Expr>>),
    Query(Box<Query>),
}

#[derive(Clone, Debug)]
pub(crate) struct InsertStatement {
    pub(crate) table: TableName,
    pub(crate) alias: Option<Ident>,
    pub(crate) columns: Vec<Ident>,
    pub(crate) source: InsertSource,
    pub(crate) on_conflict: Option<OnConflict>,
    pub(crate) returning: Option<Vec<SelectItem>>,
}

/// `column = value`.
#[derive(Clone, Debug)]
pub(crate) struct SetColumn {
    pub(crate) column: Ident,
    /// `None`: DEFAULT.
    pub(crate) value: Option<Expr>,
}

#[derive(Clone, Debug)]
pub(crate) struct UpdateStatement {
    pub(crate) with: Option<With>,
    pub(crate) table: TableName,
    pub(crate) alias: Option<Ident>,
    pub(crate) set: Vec<SetColumn>,
    pub(crate) from: Vec<TableWithJoins>,
    pub(crate) selection: Option<Expr>,
    pub(crate) returning: Option<Vec<SelectItem>>,
}

#[derive(Clone, Debug)]
pub(crate) struct DeleteStatement {
    pub(crate) with: Option<With>,
    pub(crate) table: TableName,
    pub(crate) alias: Option<Ident>,
    pub(crate) using: Vec<TableWithJoins>,
    pub(crate) selection: Option<Expr>,
    pub(crate) returning: Option<Vec<SelectItem>>,
}

/// `ERASE FROM`.
#[derive(Clone, Debug)]
pub(crate) struct EraseStatement {
    pub(crate) table: TableName,
    pub(crate) alias: Option<Ident>,
    pub(crate) selection: Option<Expr>,
}

#[derive(Clone, Debug)]
pub(crate) struct ExplainStatement {
    pub(crate) options: ExplainOptions,
    pub(crate) statement: Kind,
}

#[derive(Clone, Debug)]
pub(crate) struct NewColumn {
    pub(crate) name: Ident,
    pub(crate) data_type: DataType,
    pub(crate) not_null: bool,
    pub(crate) default: Option<String>,
}

/// A PRIMARY KEY or UNIQUE constraint.
#[derive(Clone, Debug)]
pub(crate) struct KeyConstraint {
    pub(crate) name: Option<Ident>,
    pub(crate) columns: Vec<Ident>,
    pub(crate) primary: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct CreateTable {
    pub(crate) table: TableName,
    pub(crate) if_not_exists: bool,
    pub(crate) columns: Vec<NewColumn>,
    pub(crate) keys: Vec<KeyConstraint>,
    pub(crate) options: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub(crate) struct CreateTableAs {
    pub(crate) table: TableName,
    pub(crate) if_not_exists: bool,
    /// Names for the query's columns, from the first on.
    pub(crate) columns: Vec<Ident>,
    pub(crate) options: Vec<(String, String)>,
    pub(crate) query: Box<Query>,
}

#[derive(Clone, Debug)]
pub(crate) enum AlterOperation {
    AddColumn { column: NewColumn, if_not_exists: bool, keys: Vec<KeyConstraint> },
    DropColumn { name: Ident, if_exists: bool },
    RenameColumn { from: Ident, to: Ident },
    RenameTable { to: Ident },
    AddKey(KeyConstraint),
    DropConstraint { name: Ident, if_exists: bool },
    SetNotNull(Ident),
    DropNotNull(Ident),
    SetDefault(Ident, String),
    DropDefault(Ident),
}

#[derive(Clone, Debug)]
pub(crate) struct AlterTable {
    pub(crate) table: TableName,
    pub(crate) if_exists: bool,
    pub(crate) operations: Vec<AlterOperation>,
}

#[derive(Clone, Debug)]
pub(crate) struct CreateIndex {
    pub(crate) name: Option<Ident>,
    pub(crate) table: TableName,
    pub(crate) columns: Vec<Ident>,
    pub(crate) unique: bool,
    pub(crate) if_not_exists: bool,
}

/// The read point of a transaction that only reads.
#[derive(Clone, Debug)]
pub(crate) struct AsOf {
    pub(crate) expr: Expr,
    /// `@SEQ:n`
    pub(crate) is_seq: bool,
}

/// `CREATE PIN`.
#[derive(Clone, Debug)]
pub(crate) struct CreatePin {
    pub(crate) name: String,
    pub(crate) if_not_exists: bool,
    /// `None`: as of the statement's snapshot.
    pub(crate) as_of: Option<AsOf>,
    /// For how long; `None`: until it is dropped.
    pub(crate) retain: Option<Interval>,
}

/// A level by the name it was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IsolationLevel {
    /// What PostgreSQL makes of it: READ COMMITTED.
    ReadUncommitted,
    #[default]
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl IsolationLevel {
    const ALL: [IsolationLevel; 4] = [
        IsolationLevel::ReadUncommitted,
        IsolationLevel::ReadCommitted,
        IsolationLevel::RepeatableRead,
        IsolationLevel::Serializable,
    ];

    /// As settings write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            IsolationLevel::ReadUncommitted => "read uncommitted",
            IsolationLevel::ReadCommitted => "read committed",
            IsolationLevel::RepeatableRead => "repeatable read",
            IsolationLevel::Serializable => "serializable",
        }
    }

    /// The level of that name, in lower case.
    pub(crate) fn named(name: &str) -> Option<IsolationLevel> {
        IsolationLevel::ALL.into_iter().find(|level| level.name() == name)
    }

    /// What it means to the engine.
    pub(crate) fn isolation(self) -> Isolation {
        match self {
            IsolationLevel::ReadUncommitted | IsolationLevel::ReadCommitted => Isolation::ReadCommitted,
            IsolationLevel::RepeatableRead => Isolation::RepeatableRead,
            IsolationLevel::Serializable => Isolation::Serializable,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct TransactionModes {
    pub(crate) isolation: Option<IsolationLevel>,
    pub(crate) read_only: Option<bool>,
    pub(crate) deferrable: Option<bool>,
    pub(crate) as_of: Option<AsOf>,
}

#[derive(Clone, Debug)]
pub(crate) enum CopyWhat {
    Table { table: ObjectName, columns: Vec<Ident> },
    Query(Box<Query>),
}

#[derive(Clone, Debug)]
pub(crate) struct CopyStatement {
    pub(crate) what: CopyWhat,
    /// FROM STDIN, not TO STDOUT.
    pub(crate) from_stdin: bool,
    pub(crate) options: CopyOptions,
}

#[derive(Clone, Debug)]
pub(crate) struct PrepareStatement {
    pub(crate) name: String,
    pub(crate) types: Vec<DataType>,
    pub(crate) statement: Statement,
}
