//! The SQL data types.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A column's or an expression's type, with its modifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DataType {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric` or `numeric(precision, scale)`; at most 38 digits.
    Numeric(Option<(u8, u8)>),
    /// `text`
    Text,
    /// `varchar` or `varchar(n)`, n in characters.
    Varchar(Option<u32>),
    /// `char(n)`: held without its trailing blanks, padded when shown.
    Char(u32),
    /// `bytea`
    Bytea,
    /// `date`
    Date,
    /// `time` without time zone
    Time,
    /// `timestamp` without time zone
    Timestamp,
    /// `timestamp with time zone`
    TimestampTz,
    /// `interval`
    Interval,
    /// `uuid`
    Uuid,
    /// `json`: the text as given
    Json,
    /// `jsonb`: normalised
    Jsonb,
}

impl DataType {
    /// The type as `format_type` prints it, modifiers included: `character varying(10)`.
    pub fn sql_name(&self) -> String {
        let name = match self {
            DataType::Bool => "boolean",
            DataType::Int2 => "smallint",
            DataType::Int4 => "integer",
            DataType::Int8 => "bigint",
            DataType::Float4 => "real",
            DataType::Float8 => "double precision",
            DataType::Numeric(None) => "numeric",
            DataType::Numeric(Some((precision, scale))) => return format!("numeric({precision},{scale})"),
            DataType::Text => "text",
            DataType::Varchar(None) => "character varying",
            DataType::Varchar(Some(length)) => return format!("character varying({length})"),
            DataType::Char(length) => return format!("character({length})"),
            DataType::Bytea => "bytea",
            DataType::Date => "date",
            DataType::Time => "time without time zone",
            DataType::Timestamp => "timestamp without time zone",
            DataType::TimestampTz => "timestamp with time zone",
            DataType::Interval => "interval",
            DataType::Uuid => "uuid",
            DataType::Json => "json",
            DataType::Jsonb => "jsonb",
        };
        name.to_owned()
    }

    /// The type's short name in `pg_type`: `int4`, `varchar`, `bpchar`.
    pub fn type_name(&self) -> &'static str {
        match self {
            DataType::Bool => "bool",
            DataType::Int2 => "int2",
            DataType::Int4 => "int4",
            DataType::Int8 => "int8",
            DataType::Float4 => "float4",
            DataType::Float8 => "float8",
            DataType::Numeric(_) => "numeric",
            DataType::Text => "text",
            DataType::Varchar(_) => "varchar",
            DataType::Char(_) => "bpchar",
            DataType::Bytea => "bytea",
            DataType::Date => "date",
            DataType::Time => "time",
            DataType::Timestamp => "timestamp",
            DataType::TimestampTz => "timestamptz",
            DataType::Interval => "interval",
            DataType::Uuid => "uuid",
            DataType::Json => "json",
            DataType::Jsonb => "jsonb",
        }
    }

    /// The type's oid in PostgreSQL's `pg_type`.
    pub fn oid(&self) -> u32 {
        match self {
            DataType::Bool => 16,
            DataType::Bytea => 17,
            DataType::Int8 => 20,
            DataType::Int2 => 21,
            DataType::Int4 => 23,
            DataType::Text => 25,
            DataType::Json => 114,
            DataType::Float4 => 700,
            DataType::Float8 => 701,
            DataType::Char(_) => 1042,
            DataType::Varchar(_) => 1043,
            DataType::Date => 1082,
            DataType::Time => 1083,
            DataType::Timestamp => 1114,
            DataType::TimestampTz => 1184,
            DataType::Interval => 1186,
            DataType::Numeric(_) => 1700,
            DataType::Uuid => 2950,
            DataType::Jsonb => 3802,
        }
    }

    /// The type with that oid, without modifiers (`bpchar` is `text` then, as a length of 1 would cut values);
    /// `unknown`, `name` and `"char"` are read as text.
    pub fn from_oid(oid: u32) -> Option<DataType> {
        Some(match oid {
            16 => DataType::Bool,
            17 => DataType::Bytea,
            20 => DataType::Int8,
            21 => DataType::Int2,
            23 => DataType::Int4,
            18 | 19 | 25 | 705 | 1042 => DataType::Text,
            114 => DataType::Json,
            700 => DataType::Float4,
            701 => DataType::Float8,
            1043 => DataType::Varchar(None),
            1082 => DataType::Date,
            1083 => DataType::Time,
            1114 => DataType::Timestamp,
            1184 => DataType::TimestampTz,
            1186 => DataType::Interval,
            1700 => DataType::Numeric(None),
            2950 => DataType::Uuid,
            3802 => DataType::Jsonb,
            _ => return None,
        })
    }

    /// PostgreSQL's `atttypmod`: the modifiers in one number, -1 for none.
    pub fn typmod(&self) -> i32 {
        const HEADER: i32 = 4;
        match *self {
            DataType::Numeric(Some((precision, scale))) => {
                ((i32::from(precision) << 16) | i32::from(scale)).saturating_add(HEADER)
            }
            DataType::Varchar(Some(length)) | DataType::Char(length) => {
                i32::try_from(length).unwrap_or(i32::MAX).saturating_add(HEADER)
            }
            _ => -1,
        }
    }

    /// PostgreSQL's `typlen`: bytes of a fixed-size type, -1 for a variable one.
    pub fn type_len(&self) -> i16 {
        match self {
            DataType::Bool => 1,
            DataType::Int2 => 2,
            DataType::Int4 | DataType::Float4 | DataType::Date => 4,
            DataType::Int8 | DataType::Float8 | DataType::Time | DataType::Timestamp | DataType::TimestampTz => 8,
            DataType::Interval | DataType::Uuid => 16,
            _ => -1,
        }
    }

    /// The same type without its modifiers; `char(n)` has none without and becomes `text`.
    #[must_use]
    pub fn without_modifiers(self) -> DataType {
        match self {
            DataType::Numeric(_) => DataType::Numeric(None),
            DataType::Varchar(_) => DataType::Varchar(None),
            DataType::Char(_) => DataType::Text,
            other => other,
        }
    }

    /// Whether it is `text`, `varchar` or `char`.
    pub fn is_text(&self) -> bool {
        matches!(self, DataType::Text | DataType::Varchar(_) | DataType::Char(_))
    }

    /// Whether it is an integer.
    pub fn is_integer(&self) -> bool {
        matches!(self, DataType::Int2 | DataType::Int4 | DataType::Int8)
    }

    /// Whether it is a number of any kind.
    pub fn is_number(&self) -> bool {
        self.is_integer() || matches!(self, DataType::Float4 | DataType::Float8 | DataType::Numeric(_))
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sql_name())
    }
}
