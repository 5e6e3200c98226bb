//! Table definitions as stored in the catalog.

use serde::{Deserialize, Serialize};

use crate::{ColumnId, DataType, Interval, TreeId};

/// One column of a table. Dropped columns stay in the definition, so that every stored row can be decoded for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its position in [`TableSchema::columns`].
    pub id: ColumnId,
    /// Its name (of a dropped column: the name it had).
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// The DEFAULT expression's SQL text.
    pub default: Option<String>,
    /// The value, in text form, of rows stored before the column was added. `None` is NULL.
    pub missing: Option<String>,
    /// Whether the column was dropped: it is in no reader's view any more, and new rows hold NULL in it.
    pub dropped: bool,
}

/// A table's primary key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrimaryKey {
    /// The constraint's name.
    pub name: String,
    /// The key's columns in order.
    pub columns: Vec<ColumnId>,
    /// `None`: the rows themselves are kept in the order of this key. `Some`: the key was added to an existing table, whose
    /// rows are kept by row number, and this unique index serves it.
    pub index: Option<TreeId>,
}

/// A secondary index, unique or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexSchema {
    /// The tree of its entries.
    pub id: TreeId,
    /// Its name, unique among tables and indexes.
    pub name: String,
    /// The indexed columns in order.
    pub columns: Vec<ColumnId>,
    /// Whether two rows may not hold the same non-NULL values.
    pub unique: bool,
    /// Whether it belongs to a constraint (UNIQUE, or a primary key added later) and so cannot be dropped by DROP INDEX.
    pub constraint: bool,
}

/// A table as of one stamp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableSchema {
    /// The tree of its rows.
    pub id: TreeId,
    /// Its name.
    pub name: String,
    /// Rises with every change of the definition.
    pub version: u32,
    /// Every column the table ever had, dropped ones included; a column's id is its position here.
    pub columns: Vec<Column>,
    /// The primary key, if there is one.
    pub primary_key: Option<PrimaryKey>,
    /// Secondary indexes, the one of a later-added primary key included.
    pub indexes: Vec<IndexSchema>,
    /// Table-level options that SQL accepts and that have no effect on results (such as `fillfactor`), as given.
    #[serde(default)]
    pub options: Vec<(String, String)>,
    /// For how long versions are kept after they ended; `None`: for ever.
    #[serde(default)]
    pub retention: Option<Interval>,
}

impl TableSchema {
    /// The columns a reader of this definition sees, in order.
    pub fn live_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.dropped)
    }

    /// The column of that name, unless dropped.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.live_columns().find(|column| column.name == name)
    }

    /// The column with this id, dropped or not.
    pub fn column_by_id(&self, id: ColumnId) -> Option<&Column> {
        self.columns.get(usize::from(id.0))
    }

    /// Whether rows are kept in the order of the primary key; if not, they are kept by row number.
    pub fn is_clustered(&self) -> bool {
        self.primary_key.as_ref().is_some_and(|key| key.index.is_none())
    }
}
