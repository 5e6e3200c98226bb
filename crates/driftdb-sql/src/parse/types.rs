//! Type names.

use datafusion::sql::sqlparser::ast::{
    CharacterLength, DataType as AstType, ExactNumberInfo, ObjectNamePart, TimezoneInfo,
};
use driftdb_types::{DataType, Error, Result, SqlState};

use super::names::name_of;

/// The data type a type name means.
pub(crate) fn data_type(ast: &AstType) -> Result<DataType> {
    Ok(match ast {
        AstType::Bool | AstType::Boolean => DataType::Bool,
        AstType::SmallInt(None) | AstType::Int2(None) => DataType::Int2,
        AstType::Int(None) | AstType::Integer(None) | AstType::Int4(None) => DataType::Int4,
        AstType::BigInt(None) | AstType::Int8(None) => DataType::Int8,
        AstType::Real | AstType::Float4 => DataType::Float4,
        AstType::Float8 | AstType::DoublePrecision | AstType::Double(ExactNumberInfo::None) => DataType::Float8,
        AstType::Float(ExactNumberInfo::None) => DataType::Float8,
        AstType::Float(ExactNumberInfo::Precision(bits @ 1..=24)) if *bits <= 24 => DataType::Float4,
        AstType::Float(ExactNumberInfo::Precision(25..=53)) => DataType::Float8,
        AstType::Numeric(info) | AstType::Decimal(info) | AstType::Dec(info) => DataType::Numeric(numeric(info)?),
        AstType::Text => DataType::Text,
        AstType::Varchar(length) | AstType::CharacterVarying(length) | AstType::CharVarying(length) => {
            DataType::Varchar(characters(length.as_ref())?)
        }
        AstType::Char(length) | AstType::Character(length) => DataType::Char(characters(length.as_ref())?.unwrap_or(1)),
        AstType::Bytea => DataType::Bytea,
        AstType::Date => DataType::Date,
        AstType::Time(precision, zone) => {
            microseconds(*precision, ast)?;
            match zone {
                TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => DataType::Time,
                TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => return refuse(ast),
            }
        }
        AstType::Timestamp(precision, zone) => {
            microseconds(*precision, ast)?;
            match zone {
                TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => DataType::Timestamp,
                TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => DataType::TimestampTz,
            }
        }
        AstType::Interval { fields: None, precision } => {
            microseconds(*precision, ast)?;
            DataType::Interval
        }
        AstType::Uuid => DataType::Uuid,
        AstType::JSON => DataType::Json,
        AstType::JSONB => DataType::Jsonb,
        AstType::Custom(name, modifiers) => {
            let mut parts = name.0.iter().map(|part| match part {
                ObjectNamePart::Identifier(ident) => name_of(ident),
                ObjectNamePart::Function(_) => String::new(),
            });
            let mut last = parts.next().unwrap_or_default();
            if last == "pg_catalog" {
                last = parts.next().unwrap_or_default();
            }
            return custom(&last, modifiers, ast);
        }
        other => return refuse(other),
    })
}

fn custom(name: &str, modifiers: &[String], ast: &AstType) -> Result<DataType> {
    let length = |modifiers: &[String]| match modifiers {
        [] => Ok(None),
        [length] => length.parse::<u64>().map(Some).map_err(|_| Error::unsupported(format!("the type {ast}"))),
        _ => Err(Error::unsupported(format!("the type {ast}"))),
    };
    Ok(match name {
        "varchar" => DataType::Varchar(length(modifiers)?.map(check_length).transpose()?),
        "bpchar" => match length(modifiers)? {
            Some(n) => DataType::Char(check_length(n)?),
            None => DataType::Text,
        },
        _ if !modifiers.is_empty() => return refuse(ast),
        "bool" | "boolean" => DataType::Bool,
        "int2" | "smallint" => DataType::Int2,
        "int4" | "int" | "integer" => DataType::Int4,
        "int8" | "bigint" => DataType::Int8,
        "float4" => DataType::Float4,
        "float8" => DataType::Float8,
        "numeric" => DataType::Numeric(None),
        "text" | "name" => DataType::Text,
        "bytea" => DataType::Bytea,
        "date" => DataType::Date,
        "time" => DataType::Time,
        "timestamp" => DataType::Timestamp,
        "timestamptz" => DataType::TimestampTz,
        "interval" => DataType::Interval,
        "uuid" => DataType::Uuid,
        "json" => DataType::Json,
        "jsonb" => DataType::Jsonb,
        "serial" | "serial2" | "serial4" | "serial8" | "smallserial" | "bigserial" => {
            return Err(Error::unsupported(format!("the type {name}")));
        }
        "timetz" | "money" | "xml" | "inet" | "cidr" | "macaddr" | "bit" | "varbit" | "point" | "oid" | "regclass"
        | "tsvector" | "tsquery" | "int4range" | "int8range" | "tsrange" | "tstzrange" | "daterange" | "numrange" => {
            return Err(Error::unsupported(format!("the type {name}")));
        }
        _ => return Err(Error::new(SqlState::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))),
    })
}

fn refuse(ast: &AstType) -> Result<DataType> {
    Err(Error::unsupported(format!("the type {ast}")))
}

fn numeric(info: &ExactNumberInfo) -> Result<Option<(u8, u8)>> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(None),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    if precision == 0 || precision > 1000 {
        return Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("NUMERIC precision {precision} must be between 1 and 1000"),
        ));
    }
    match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) if scale <= precision => Ok(Some((precision, scale))),
        _ => Err(Error::unsupported(format!("numeric({precision},{scale})")).hint("At most 38 digits are kept.")),
    }
}

fn characters(length: Option<&CharacterLength>) -> Result<Option<u32>> {
    match length {
        None => Ok(None),
        Some(CharacterLength::IntegerLength { length, unit: None }) => check_length(*length).map(Some),
        Some(_) => Err(Error::unsupported("this length of a character type")),
    }
}

fn check_length(length: u64) -> Result<u32> {
    match u32::try_from(length) {
        Ok(length @ 1..=10_485_760) => Ok(length),
        _ => Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("length {length} for a character type must be between 1 and 10485760"),
        )),
    }
}

fn microseconds(precision: Option<u64>, ast: &AstType) -> Result<()> {
    match precision {
        None | Some(6) => Ok(()),
        Some(_) => refuse(ast).map(|_| ()),
    }
}
