use driftdb_types::{
    Column, ColumnId, DataType, IndexSchema, PrimaryKey, SqlState, TableSchema, TimeZone, TreeId, Value,
};

use super::access::{Access, Target, find_access};
use super::compile::{Compiler, ParamTypes, is_assignable, output_name};
use super::scalar::Env;
use super::scope::Scope;
use crate::parse::parse_expression;

fn table() -> TableSchema {
    let column = |id: u16, name: &str, data_type: DataType| Column {
        id: ColumnId(id),
        name: name.to_owned(),
        data_type,
        not_null: false,
        default: None,
        missing: None,
        dropped: false,
    };
    TableSchema {
        id: TreeId(100),
        name: "t".to_owned(),
        version: 1,
        columns: vec![
            column(0, "i", DataType::Int4),
            column(1, "s", DataType::Int2),
            column(2, "l", DataType::Int8),
            column(3, "f", DataType::Float8),
            column(4, "n", DataType::Numeric(Some((6, 2)))),
            column(5, "t", DataType::Varchar(Some(10))),
            column(6, "c", DataType::Char(4)),
            column(7, "d", DataType::Date),
            column(8, "b", DataType::Bool),
            column(9, "z", DataType::TimestampTz),
        ],
        primary_key: Some(PrimaryKey {
            name: "t_pkey".to_owned(),
            columns: vec![ColumnId(0), ColumnId(5)],
            index: None,
        }),
        indexes: vec![IndexSchema {
            id: TreeId(101),
            name: "t_l".to_owned(),
            columns: vec![ColumnId(2), ColumnId(7)],
            unique: true,
            constraint: false,
        }],
        options: Vec::new(),
        retention: None,
    }
}

fn row() -> Vec<Value> {
    vec![
        Value::Int4(7),
        Value::Int2(2),
        Value::Int8(5_000_000_000),
        Value::Float8(1.5),
        Value::Null,
        Value::Text("Ab".to_owned()),
        Value::Text("x".to_owned()),
        Value::Date(10),
        Value::Bool(true),
        Value::TimestampTz(0),
    ]
}

const PARAMS: [Value; 2] = [Value::Int4(3), Value::Null];

/// `None`: not covered.
fn eval(text: &str) -> Option<Result<(Value, DataType), SqlState>> {
    let scope = Scope::table(&table(), "t");
    let tz = TimeZone::utc();
    let mut compiler = Compiler::new(&scope, ParamTypes(vec![None, None]), &tz);
    let (scalar, data_type) = compiler.output(&parse_expression(text).unwrap())?;
    let env = Env { params: &PARAMS, tz: &tz, transaction_us: 86_400_000_000, statement_us: 1 };
    Some(scalar.eval(&row(), &env).map(|value| (value, data_type)).map_err(|error| error.state))
}

fn value(text: &str) -> Value {
    match eval(text) {
        Some(Ok((value, data_type))) => {
            let plain = value.data_type();
            assert!(
                plain.is_none_or(|plain| plain == data_type.without_modifiers() || data_type.is_text()),
                "{text}: {plain:?} is not {data_type:?}"
            );
            value
        }
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn arithmetic_has_postgresql_types_and_errors() {
    assert_eq!(value("i + s"), Value::Int4(9));
    assert_eq!(value("s + s"), Value::Int2(4));
    assert_eq!(value("i + l"), Value::Int8(5_000_000_007));
    assert_eq!(value("i * f"), Value::Float8(10.5));
    assert_eq!(value("i + $1"), Value::Int4(10));
    assert_eq!(value("n + 1"), Value::Null);
    assert_eq!(value("-i % 4"), Value::Int4(-3));
    assert_eq!(value("2147483648 + 0"), Value::Int8(2_147_483_648));
    assert_eq!(value("(-2147483647 - 1) % -1"), Value::Int4(0));
    assert_eq!(value("i + '5'"), Value::Int4(12));
    for (text, state) in [
        ("2147483647 + i", SqlState::NUMERIC_VALUE_OUT_OF_RANGE),
        ("s * 16384::smallint", SqlState::NUMERIC_VALUE_OUT_OF_RANGE),
        ("l * l", SqlState::NUMERIC_VALUE_OUT_OF_RANGE),
        ("(-2147483647 - 1) / -1", SqlState::NUMERIC_VALUE_OUT_OF_RANGE),
        ("i / 0", SqlState::DIVISION_BY_ZERO),
        ("i % 0", SqlState::DIVISION_BY_ZERO),
        ("f / 0", SqlState::DIVISION_BY_ZERO),
        ("1.5 / 0", SqlState::DIVISION_BY_ZERO),
        ("'1e308'::float8 * 10::float8", SqlState::NUMERIC_VALUE_OUT_OF_RANGE),
        ("i::smallint * 10000::smallint", SqlState::NUMERIC_VALUE_OUT_OF_RANGE),
    ] {
        assert_eq!(eval(text), Some(Err(state)), "{text}");
    }
}

#[test]
fn three_valued_logic() {
    let cases = [
        ("n = 1", Value::Null),
        ("n = 1 AND false", Value::Bool(false)),
        ("n = 1 OR true", Value::Bool(true)),
        ("n = 1 AND true", Value::Null),
        ("NOT (n = 1)", Value::Null),
        ("n IS NULL", Value::Bool(true)),
        ("i IS NOT NULL", Value::Bool(true)),
        ("(n = 1) IS TRUE", Value::Bool(false)),
        ("(n = 1) IS NOT FALSE", Value::Bool(true)),
        ("n IS DISTINCT FROM NULL", Value::Bool(false)),
        ("n IS NOT DISTINCT FROM 1", Value::Bool(false)),
        ("i IS DISTINCT FROM 8", Value::Bool(true)),
        ("i IN (1, 7)", Value::Bool(true)),
        ("i IN (1, NULL)", Value::Null),
        ("i NOT IN (1, NULL)", Value::Null),
        ("i NOT IN (1, 2)", Value::Bool(true)),
        ("i BETWEEN 1 AND 7", Value::Bool(true)),
        ("i NOT BETWEEN 1 AND 7", Value::Bool(false)),
        ("CASE WHEN n = 1 THEN 1 WHEN b THEN 2 END", Value::Int4(2)),
        ("CASE i WHEN 7 THEN 1 ELSE 2.5 END > 0", Value::Bool(true)),
        ("CASE WHEN false THEN 1 END", Value::Null),
        ("coalesce(n, 2)", Value::Numeric(driftdb_types::Decimal::from(2))),
        ("nullif(i, 7)", Value::Null),
        ("greatest(i, NULL, 9)", Value::Int4(9)),
        ("least(i, l)", Value::Int8(7)),
        // AND stops before what would fail.
        ("false AND i / 0 = 1", Value::Bool(false)),
        ("true OR i / 0 = 1", Value::Bool(true)),
    ];
    for (text, expected) in cases {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn literals_take_the_type_of_what_they_meet() {
    assert_eq!(value("d = '1970-01-11'"), Value::Bool(true));
    assert_eq!(value("'1970-01-10' < d"), Value::Bool(true));
    assert_eq!(value("t || 'c'"), Value::Text("Abc".to_owned()));
    assert_eq!(value("lower(t)"), Value::Text("ab".to_owned()));
    assert_eq!(value("length(t)"), Value::Int4(2));
    assert_eq!(value("'12'::int + 1"), Value::Int4(13));
    assert_eq!(value("CAST('abcdef' AS varchar(3))"), Value::Text("abc".to_owned()));
    assert_eq!(value("now() = current_timestamp"), Value::Bool(true));
    assert_eq!(value("current_date"), Value::Date(1));
    assert_eq!(value("i::text || t"), Value::Text("7Ab".to_owned()));
}

#[test]
fn what_is_not_covered_is_left_to_the_general_path() {
    for text in [
        "nope",
        "t.nope",
        "u.i",
        "i = 'x'",
        "d = 'today'",
        "c = 'x'",
        "c || 'x'",
        "i || 'x'",
        "f % 2",
        "f + '1e400'",
        "i = t",
        "b + 1",
        "random()",
        "i LIKE 'x'",
        "(SELECT 1)",
        "sum(i)",
        "i = ANY (ARRAY[1])",
        "n = f",
        "'a' || 'b'",
        "$1 = $2",
        "upper(i)",
        "interval '1 day' * 2",
        "z + interval '1 day'",
        "localtime",
        "i IS NOT DISTINCT FROM t",
        "CASE WHEN 1 THEN 2 END",
        "CASE WHEN b THEN 1 ELSE 'x' END",
        "i::uuid",
        "coalesce(i, t)",
        "i AND b",
    ] {
        assert_eq!(eval(text), None, "{text}");
    }
    let deep = format!("{}1{}", "(".repeat(49), ")".repeat(49));
    assert!(eval(&deep).is_some());
    let deep = vec!["i"; 80].join(" + ");
    assert_eq!(eval(&deep), None);
}

fn access(filter: &str, params: &[Value]) -> Option<(String, Option<Target>)> {
    let table = table();
    let scope = Scope::table(&table, "t");
    let tz = TimeZone::utc();
    let mut compiler = Compiler::new(&scope, ParamTypes(vec![None; params.len()]), &tz);
    let filter = compiler.condition(&parse_expression(filter).unwrap()).expect("compiles");
    let access = find_access(&table, &filter)?;
    let kind = match &access {
        Access::Row { .. } => "row",
        Access::Unique { .. } => "unique",
        Access::RowRange(_) => "rows",
        Access::IndexRange { .. } => "index",
    };
    let env = Env { params, tz: &tz, transaction_us: 0, statement_us: 0 };
    Some((kind.to_owned(), access.target(&env).unwrap()))
}

#[test]
fn finds_the_key_a_condition_fixes() {
    let kind = |filter: &str| access(filter, &[]).map(|(kind, _)| kind);
    assert_eq!(kind("i = 1 AND t = 'a'").as_deref(), Some("row"));
    assert_eq!(kind("'a' = t AND f > 1 AND 1 = i").as_deref(), Some("row"));
    assert_eq!(kind("l = 1 AND d = '2026-01-01'").as_deref(), Some("unique"));
    assert_eq!(kind("i = 1").as_deref(), Some("rows"));
    assert_eq!(kind("i > 1").as_deref(), Some("rows"));
    assert_eq!(kind("l = 1").as_deref(), Some("index"));
    assert_eq!(kind("l BETWEEN 1 AND 2").as_deref(), Some("index"));
    // One side of an index is not worth the jumps.
    assert_eq!(kind("l > 1"), None);
    assert_eq!(kind("i = 1 OR t = 'a'"), None);
    assert_eq!(kind("i <> 1"), None);
    assert_eq!(kind("i = s"), None);
    assert_eq!(kind("i + 1 = 2"), None);
    assert_eq!(kind("NOT (i = 1)"), None);
}

#[test]
fn keys_that_cannot_be_there_find_nothing() {
    let target = |filter: &str| access(filter, &[]).unwrap().1;
    assert_eq!(target("i = 3000000000 AND t = 'a'"), Some(Target::Nothing));
    assert_eq!(target("i = NULL AND t = 'a'"), Some(Target::Nothing));
    assert_eq!(target("i > 5 AND i < 3"), Some(Target::Nothing));
    // A fraction equals no integer, but it has a place in a range: the test on each row decides.
    assert_eq!(target("i = 1.5 AND t = 'a'"), None);
    assert!(matches!(target("i > 3000000000"), Some(Target::Range(_))));
    let (_, target) = access("i = $1 AND t = $2", &[Value::Int4(1), Value::Null]).unwrap();
    assert_eq!(target, Some(Target::Nothing));
}

#[test]
fn assignment_casts_are_postgresqls() {
    use DataType as T;
    assert!(is_assignable(T::Int8, T::Int2));
    assert!(is_assignable(T::Float8, T::Numeric(None)));
    assert!(is_assignable(T::Int4, T::Text));
    assert!(is_assignable(T::TimestampTz, T::Timestamp));
    assert!(!is_assignable(T::Text, T::Int4));
    assert!(!is_assignable(T::Bool, T::Int4));
    assert!(!is_assignable(T::Int4, T::Bool));
    assert!(!is_assignable(T::Text, T::Date));
}

#[test]
fn results_are_named_as_in_postgresql() {
    for (text, name) in [
        ("a", "a"),
        ("x.\"B\"", "B"),
        ("1 + a", "?column?"),
        ("a::int", "a"),
        ("1::int", "int4"),
        ("now()", "now"),
        ("CASE WHEN a THEN b END", "case"),
        ("CASE WHEN a THEN 1 ELSE b END", "b"),
        ("coalesce(a, 1)", "coalesce"),
        ("(a)", "a"),
        ("true", "bool"),
        ("(NULL::int)::text", "text"),
        ("(CASE WHEN a THEN 1 ELSE -b END)::text", "text"),
        ("(CASE WHEN a THEN 1 ELSE coalesce(b, 1) END)::text", "coalesce"),
        ("CASE WHEN a THEN b ELSE 1::float8 END", "case"),
        ("DATE '2026-01-01'", "date"),
        ("current_timestamp", "current_timestamp"),
    ] {
        assert_eq!(output_name(&parse_expression(text).unwrap()), name, "{text}");
    }
}
