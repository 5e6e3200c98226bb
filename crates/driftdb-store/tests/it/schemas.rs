//! The trees of the tests: one of rows, with a column of every type, and one of bytes.

use std::sync::Arc;

use driftdb_env::{Rand, SimRand};
use driftdb_store::{SchemaSource, TreeSchema};
use driftdb_types::{Column, ColumnId, DataType, Decimal, Interval, TableSchema, TreeId, Value, encode_row};
use parking_lot::Mutex;

pub(crate) const ROWS: TreeId = TreeId(100);
pub(crate) const BYTES: TreeId = TreeId(101);

/// Numbers that follow from a seed.
pub(crate) struct Dice(SimRand);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(SimRand::new(seed))
    }

    pub(crate) fn u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    pub(crate) fn below(&self, n: u64) -> u64 {
        self.u64() % n
    }

    pub(crate) fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Which definition `ROWS` has now.
pub(crate) struct Schemas {
    pub(crate) table: Mutex<Arc<TableSchema>>,
}

impl SchemaSource for Schemas {
    fn tree_schema(&self, tree: TreeId) -> Option<TreeSchema> {
        match tree {
            ROWS => Some(TreeSchema::Rows(Arc::clone(&self.table.lock()))),
            BYTES => Some(TreeSchema::Opaque),
            _ => None,
        }
    }
}

const TYPES: [DataType; 22] = [
    DataType::Bool,
    DataType::Int2,
    DataType::Int4,
    DataType::Int8,
    DataType::Float4,
    DataType::Float8,
    DataType::Numeric(None),
    DataType::Numeric(Some((38, 10))),
    DataType::Numeric(Some((9, 2))),
    DataType::Text,
    DataType::Varchar(Some(20)),
    DataType::Char(5),
    DataType::Bytea,
    DataType::Date,
    DataType::Time,
    DataType::Timestamp,
    DataType::TimestampTz,
    DataType::Interval,
    DataType::Uuid,
    DataType::Json,
    DataType::Jsonb,
    DataType::Varchar(None),
];

pub(crate) fn column(id: usize, name: &str, data_type: DataType) -> Column {
    Column {
        id: ColumnId(id.try_into().unwrap()),
        name: name.to_owned(),
        data_type,
        not_null: false,
        default: None,
        missing: None,
        dropped: false,
    }
}

/// A table with a column of every type.
pub(crate) fn table() -> TableSchema {
    let mut columns: Vec<Column> =
        TYPES.iter().enumerate().map(|(id, ty)| column(id, &format!("c{id}"), *ty)).collect();
    columns[3].name = "_key".to_owned(); // as a system column
    columns[4].name = "c5".to_owned(); // a dropped column whose name was used again
    columns[4].dropped = true;
    TableSchema {
        id: ROWS,
        name: "t".to_owned(),
        version: 1,
        columns,
        primary_key: None,
        indexes: Vec::new(),
        options: Vec::new(),
        retention: None,
    }
}

/// The next definition: one more column, with a value for the rows that lack it.
pub(crate) fn widened(table: &TableSchema) -> TableSchema {
    let mut table = table.clone();
    let id = table.columns.len();
    let mut added = column(id, &format!("added{id}"), DataType::Int4);
    added.missing = Some(id.to_string());
    table.columns.push(added);
    table.version += 1;
    table
}

pub(crate) fn row(dice: &Dice, table: &TableSchema) -> Vec<u8> {
    let values: Vec<Value> = table.columns.iter().map(|column| value(dice, column.data_type)).collect();
    encode_row(table, &values).unwrap()
}

fn text(dice: &Dice) -> String {
    (0..dice.below(6)).map(|_| ['a', 'ß', '"', '\\', '7', '\u{1F600}'][dice.below(6) as usize]).collect()
}

fn value(dice: &Dice, ty: DataType) -> Value {
    if dice.chance(25) {
        return Value::Null;
    }
    let bits = if dice.chance(50) { dice.u64() } else { dice.below(3) };
    let signed = bits.cast_signed();
    match ty {
        DataType::Bool => Value::Bool(bits % 2 == 0),
        DataType::Int2 => Value::Int2(signed as i16),
        DataType::Int4 => Value::Int4(signed as i32),
        DataType::Int8 => Value::Int8(signed),
        DataType::Float4 => Value::Float4((signed as f32) / 3.0),
        DataType::Float8 => Value::Float8((signed as f64) / -7.0),
        DataType::Numeric(None) => Value::Numeric(Decimal::new(signed.into(), (bits % 20) as u8).unwrap()),
        // Mostly of the column's scale, as assignment makes them; but if one is not, it has to survive.
        DataType::Numeric(Some((_, scale))) => {
            let scale = if dice.chance(90) { scale } else { scale + 1 };
            Value::Numeric(Decimal::new((signed % 10_000_000).into(), scale).unwrap())
        }
        DataType::Text | DataType::Varchar(_) => Value::Text(text(dice)),
        DataType::Char(_) => Value::Text("ab".to_owned()),
        DataType::Bytea => Value::Bytea(bits.to_le_bytes().to_vec()),
        DataType::Date => Value::Date(signed as i32),
        DataType::Time => Value::Time((bits % 86_400_000_000).cast_signed()),
        DataType::Timestamp => Value::Timestamp(signed),
        DataType::TimestampTz => Value::TimestampTz(signed),
        DataType::Interval => {
            Value::Interval(Interval { months: signed as i32, days: -(signed as i16 as i32), micros: signed })
        }
        DataType::Uuid => Value::Uuid([bits as u8; 16]),
        DataType::Json => Value::Json(format!("{{\"a\":  {}}}", bits % 100)),
        DataType::Jsonb => Value::Jsonb(format!("[{}]", bits % 100)),
    }
}
