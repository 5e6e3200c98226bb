//! Functions that tools ask the catalog with.

use driftdb_types::{ColumnId, DataType as T, Error, Result, SqlState, TableSchema, TreeId, Value};

use super::text::{function, int, quote_ident, text};
use super::{Builtin, Facts, Kind, Nulls, Overload, Returns, mismatch};
use crate::query::system::{relation_name, relation_oid, type_named};

pub(super) const FUNCTIONS: &[Builtin] = &[
    function!("\u{1}regclass", Strict, [(T::Text) => T::Int8, regclass; (T::Int8) => T::Int8, |_, a| Ok(a.first().cloned().unwrap_or(Value::Null))]),
    function!("\u{1}regclass_name", Strict, [(T::Int8) => T::Text, regclass_name]),
    function!("\u{1}regtype", Strict, [(T::Text) => T::Text, |_, a| Ok(Value::Text(text(a, 0)?.to_owned())); (T::Int8) => T::Text, format_type]),
    function!("to_regclass", Strict, [(T::Text) => T::Int8, |facts, a| regclass(facts, a).or(Ok(Value::Null))]),
    function!("to_regtype", Strict, [(T::Text) => T::Int8, |_, a| Ok(type_named(text(a, 0)?).map_or(Value::Null, |t| Value::Int8(t.oid().into())))]),
    function!("format_type", Called, [(T::Int8, T::Int4) => T::Text, format_type]),
    function!("pg_table_is_visible", Strict, [(T::Int8) => T::Bool, yes]),
    function!("pg_type_is_visible", Strict, [(T::Int8) => T::Bool, yes]),
    function!("pg_function_is_visible", Strict, [(T::Int8) => T::Bool, yes]),
    function!("pg_get_userbyid", Strict, [(T::Int8) => T::Text, |facts, _| Ok(Value::Text(facts.client.user.clone()))]),
    function!("pg_encoding_to_char", Strict, [(T::Int4) => T::Text, |_, _| Ok(Value::Text("UTF8".to_owned()))]),
    function!("obj_description", Called, [(T::Int8, T::Text) => T::Text, none; (T::Int8) => T::Text, none]),
    function!("col_description", Called, [(T::Int8, T::Int4) => T::Text, none]),
    function!("shobj_description", Called, [(T::Int8, T::Text) => T::Text, none]),
    function!("pg_get_expr", Called, [
        (T::Text, T::Int8) => T::Text, |_, a| Ok(a.first().cloned().unwrap_or(Value::Null));
        (T::Text, T::Int8, T::Bool) => T::Text, |_, a| Ok(a.first().cloned().unwrap_or(Value::Null))
    ]),
    function!("pg_get_indexdef", Strict, [
        (T::Int8) => T::Text, indexdef; (T::Int8, T::Int4, T::Bool) => T::Text, indexdef
    ]),
    function!("pg_get_constraintdef", Strict, [
        (T::Int8) => T::Text, constraintdef; (T::Int8, T::Bool) => T::Text, constraintdef
    ]),
    function!("pg_get_statisticsobjdef_columns", Strict, [(T::Int8) => T::Text, none]),
    function!("pg_relation_is_publishable", Strict, [(T::Int8) => T::Bool, |_, _| Ok(Value::Bool(false))]),
    function!("has_table_privilege", Called, [
        (T::Text, T::Text) => T::Bool, yes; (T::Int8, T::Text) => T::Bool, yes; (T::Text, T::Int8, T::Text) => T::Bool, yes;
        (T::Text, T::Text, T::Text) => T::Bool, yes
    ]),
    function!("has_schema_privilege", Called, [
        (T::Text, T::Text) => T::Bool, yes; (T::Int8, T::Text) => T::Bool, yes; (T::Text, T::Text, T::Text) => T::Bool, yes
    ]),
    function!("has_database_privilege", Called, [
        (T::Text, T::Text) => T::Bool, yes; (T::Int8, T::Text) => T::Bool, yes; (T::Text, T::Text, T::Text) => T::Bool, yes
    ]),
    // How much of the files belongs to one table is not known.
    function!("pg_table_size", Strict, [(T::Int8) => T::Int8, none]),
    function!("pg_relation_size", Strict, [(T::Int8) => T::Int8, none]),
    function!("pg_total_relation_size", Strict, [(T::Int8) => T::Int8, none]),
    function!("pg_indexes_size", Strict, [(T::Int8) => T::Int8, none]),
    function!("pg_database_size", Strict, [(T::Text) => T::Int8, none; (T::Int8) => T::Int8, none]),
    function!("pg_tablespace_size", Strict, [(T::Int8) => T::Int8, none]),
    function!("pg_tablespace_location", Strict, [(T::Int8) => T::Text, |_, _| Ok(Value::Text(String::new()))]),
    function!("pg_get_partkeydef", Strict, [(T::Int8) => T::Text, none]),
    function!("pg_get_ruledef", Strict, [(T::Int8) => T::Text, none; (T::Int8, T::Bool) => T::Text, none]),
    function!("pg_get_triggerdef", Strict, [(T::Int8) => T::Text, none; (T::Int8, T::Bool) => T::Text, none]),
    function!("pg_get_viewdef", Strict, [(T::Int8) => T::Text, none; (T::Int8, T::Bool) => T::Text, none]),
    function!("pg_char_to_encoding", Strict, [(T::Text) => T::Int4, |_, _| Ok(Value::Int4(6))]),
];

fn yes(_: &Facts, _: &[Value]) -> Result<Value> {
    Ok(Value::Bool(true))
}

fn none(_: &Facts, _: &[Value]) -> Result<Value> {
    Ok(Value::Null)
}

/// A relation's oid by its name, `public.` and quotes taken into account.
fn regclass(facts: &Facts, args: &[Value]) -> Result<Value> {
    let written = text(args, 0)?;
    if let Ok(number) = written.parse::<i64>() {
        return Ok(Value::Int8(number));
    }
    let name = written.strip_prefix("public.").or_else(|| written.strip_prefix("pg_catalog.")).unwrap_or(written);
    let name = match name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => name.to_lowercase(),
    };
    match relation_oid(&facts.catalog, &name) {
        Some(oid) => Ok(Value::Int8(oid)),
        None => Err(Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{written}\" does not exist"))),
    }
}

/// A relation's name by its oid; the number where there is none.
fn regclass_name(facts: &Facts, args: &[Value]) -> Result<Value> {
    let Some(Value::Int8(oid)) = args.first() else { return Err(mismatch("regclass", args)) };
    let name = relation_name(&facts.catalog, *oid);
    Ok(Value::Text(name.map_or_else(|| oid.to_string(), |name| quote_ident(&name))))
}

/// The name of a type by its oid and modifier.
fn format_type(_: &Facts, args: &[Value]) -> Result<Value> {
    let Some(Value::Int8(oid)) = args.first() else { return Ok(Value::Null) };
    let modifier = if args.len() > 1 && !args.get(1).is_none_or(Value::is_null) { int(args, 1)? } else { -1 };
    let Some(plain) = u32::try_from(*oid).ok().and_then(T::from_oid) else { return Ok(Value::Text("???".to_owned())) };
    let length = || u32::try_from(modifier - 4).ok();
    let shown = match (oid, plain) {
        (19, _) => "name".to_owned(),
        (26, _) => "oid".to_owned(),
        (1042, _) => length().map_or_else(|| "bpchar".to_owned(), |length| T::Char(length).sql_name()),
        (_, T::Varchar(_)) if modifier >= 4 => T::Varchar(length()).sql_name(),
        (_, T::Numeric(_)) if modifier >= 4 => {
            let packed = modifier - 4;
            format!("numeric({},{})", packed >> 16, packed & 0xffff)
        }
        (_, other) => other.sql_name(),
    };
    Ok(Value::Text(shown))
}

fn oid_of(args: &[Value]) -> Result<TreeId> {
    match args.first() {
        Some(Value::Int8(oid)) => Ok(TreeId(u32::try_from(*oid).unwrap_or(0))),
        _ => Err(mismatch("a catalog function", args)),
    }
}

fn column_names(table: &TableSchema, ids: &[ColumnId]) -> String {
    let names: Vec<String> =
        ids.iter().filter_map(|id| table.column_by_id(*id)).map(|column| quote_ident(&column.name)).collect();
    names.join(", ")
}

/// The oid that the catalog tables give to a clustered primary key's index, which has no tree of its own.
pub(crate) const CLUSTERED_INDEX_OID: u32 = 0x4000_0000;

/// The statement that makes an index like that one.
pub(crate) fn index_definition(table: &TableSchema, name: &str, columns: &[ColumnId], unique: bool) -> String {
    format!(
        "CREATE {}INDEX {} ON public.{} USING btree ({})",
        if unique { "UNIQUE " } else { "" },
        quote_ident(name),
        quote_ident(&table.name),
        column_names(table, columns)
    )
}

/// An index's definition, or of its column with a number, from 1, the name.
fn indexdef(facts: &Facts, args: &[Value]) -> Result<Value> {
    let id = oid_of(args)?;
    let number = if args.len() > 1 { usize::try_from(int(args, 1)?).unwrap_or(0) } else { 0 };
    let shown = |table: &TableSchema, name: &str, columns: &[ColumnId], unique: bool| match number.checked_sub(1) {
        None => index_definition(table, name, columns, unique),
        Some(place) => columns.get(place).map_or_else(String::new, |column| column_names(table, &[*column])),
    };
    for table in facts.catalog.tables() {
        if let Some(index) = table.indexes.iter().find(|index| index.id == id) {
            return Ok(Value::Text(shown(table, &index.name, &index.columns, index.unique)));
        }
        if let Some(key) = table.primary_key.as_ref().filter(|_| table.id.0 | CLUSTERED_INDEX_OID == id.0) {
            return Ok(Value::Text(shown(table, &key.name, &key.columns, true)));
        }
    }
    Ok(Value::Null)
}

fn constraintdef(facts: &Facts, args: &[Value]) -> Result<Value> {
    let id = oid_of(args)?;
    for table in facts.catalog.tables() {
        let key = table.primary_key.as_ref();
        if let Some(key) = key.filter(|key| key.index.map_or(table.id.0 | CLUSTERED_INDEX_OID, |index| index.0) == id.0)
        {
            return Ok(Value::Text(format!("PRIMARY KEY ({})", column_names(table, &key.columns))));
        }
        if let Some(index) = table.indexes.iter().find(|index| index.id == id && index.constraint) {
            return Ok(Value::Text(format!("UNIQUE ({})", column_names(table, &index.columns))));
        }
    }
    Ok(Value::Null)
}
