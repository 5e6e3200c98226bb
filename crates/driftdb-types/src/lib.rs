//! The vocabulary every layer of DriftDB shares: stamps, ids, data types, values, schemas, the byte codecs of rows
//! and keys, and the error that reaches a client.
//!
//! This crate does no I/O and knows nothing of SQL, of files or of the wire protocol: bytes in, values out.

mod binary;
mod cast;
mod civil;
mod codec;
mod decimal;
mod digest;
mod error;
mod ids;
mod interval;
mod json;
mod key;
mod row;
mod schema;
mod text;
mod types;
mod value;
mod wide;
mod zone;

pub use codec::CodecError;
pub use decimal::Decimal;
pub use digest::{Digest, Digester};
pub use error::{Error, Result, SqlState};
pub use ids::{ColumnId, CommitSeq, Lsn, Stamp, TreeId, TxnId};
pub use interval::Interval;
pub use json::{
    JsonKind, json_along, json_element, json_elements, json_kind, json_member, json_members, json_quoted,
    json_unquoted, jsonb_contains, jsonb_key,
};
pub use key::{KeyRange, decode_key, decode_key_prefix, encode_key, encode_key_value, next_key};
pub use row::{RowDecoder, RowLayout, decode_row, encode_row, encode_row_as};
pub use schema::{Column, IndexSchema, PrimaryKey, TableSchema};
pub use text::{format_value, parse_value, parse_value_at, write_value};
pub use types::DataType;
pub use value::Value;
pub use zone::TimeZone;
