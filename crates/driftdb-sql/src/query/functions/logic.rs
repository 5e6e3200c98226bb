//! Functions that choose among values or speak of the session.

use std::cmp::Ordering;

use driftdb_types::{DataType as T, Error, Result, SqlState, Value, jsonb_key};

use super::text::{function, text};
use super::{Builtin, Facts, Kind, Nulls, Overload, Returns};

pub(super) const FUNCTIONS: &[Builtin] = &[
    Builtin {
        name: "greatest",
        nulls: Nulls::Called,
        volatile: false,
        overloads: &[Overload {
            args: &[Kind::Same],
            rest: Some(Kind::Same),
            returns: Returns::Same,
            eval: |_, args| extreme(args, true),
        }],
    },
    Builtin {
        name: "least",
        nulls: Nulls::Called,
        volatile: false,
        overloads: &[Overload {
            args: &[Kind::Same],
            rest: Some(Kind::Same),
            returns: Returns::Same,
            eval: |_, args| extreme(args, false),
        }],
    },
    // The resolver makes DataFusion's own of it, which evaluates no more arguments than it needs.
    Builtin {
        name: "coalesce",
        nulls: Nulls::Called,
        volatile: false,
        overloads: &[Overload { args: &[Kind::Same], rest: Some(Kind::Same), returns: Returns::Same, eval: coalesce }],
    },
    Builtin {
        name: "nullif",
        nulls: Nulls::Called,
        volatile: false,
        overloads: &[Overload { args: &[Kind::Same, Kind::Same], rest: None, returns: Returns::Same, eval: nullif }],
    },
    Builtin {
        name: "num_nulls",
        nulls: Nulls::Called,
        volatile: false,
        overloads: &[Overload {
            args: &[],
            rest: Some(Kind::Any),
            returns: Returns::Is(T::Int4),
            eval: |_, args| nulls(args, true),
        }],
    },
    Builtin {
        name: "num_nonnulls",
        nulls: Nulls::Called,
        volatile: false,
        overloads: &[Overload {
            args: &[],
            rest: Some(Kind::Any),
            returns: Returns::Is(T::Int4),
            eval: |_, args| nulls(args, false),
        }],
    },
    Builtin {
        name: super::ALIVE,
        nulls: Nulls::Strict,
        volatile: true,
        overloads: &[Overload {
            args: &[],
            rest: None,
            returns: Returns::Is(T::Bool),
            eval: |_, _| Ok(Value::Bool(true)),
        }],
    },
    // The resolver puts the name of the type there.
    Builtin {
        name: "pg_typeof",
        nulls: Nulls::Called,
        volatile: false,
        overloads: &[Overload { args: &[Kind::Any], rest: None, returns: Returns::Is(T::Text), eval: type_name }],
    },
    function!("version", Strict, [() => T::Text, |_, _| Ok(Value::Text(version()))]),
    function!("driftdb.version", Strict, [() => T::Text, |_, _| Ok(Value::Text(env!("CARGO_PKG_VERSION").to_owned()))]),
    function!("driftdb_version", Strict, [() => T::Text, |_, _| Ok(Value::Text(env!("CARGO_PKG_VERSION").to_owned()))]),
    function!("current_user", Strict, [() => T::Text, user]),
    function!("session_user", Strict, [() => T::Text, user]),
    function!("user", Strict, [() => T::Text, user]),
    function!("current_role", Strict, [() => T::Text, user]),
    function!("current_database", Strict, [() => T::Text, database]),
    function!("current_catalog", Strict, [() => T::Text, database]),
    function!("current_schema", Strict, [() => T::Text, |_, _| Ok(Value::Text("public".to_owned()))]),
    function!("pg_is_in_recovery", Strict, [() => T::Bool, |_, _| Ok(Value::Bool(false))]),
    function!("pg_backend_pid", Strict, [() => T::Int4, |facts, _| Ok(Value::Int4(facts.client.backend_pid))]),
    function!("current_setting", Strict, [(T::Text) => T::Text, current_setting; (T::Text, T::Bool) => T::Text, current_setting]),
];

fn type_name(_: &Facts, _: &[Value]) -> Result<Value> {
    Err(Error::internal("pg_typeof was not resolved"))
}

fn version() -> String {
    format!("PostgreSQL {} (DriftDB {})", crate::settings::SERVER_VERSION, env!("CARGO_PKG_VERSION"))
}

fn user(facts: &Facts, _: &[Value]) -> Result<Value> {
    Ok(Value::Text(facts.client.user.clone()))
}

fn database(facts: &Facts, _: &[Value]) -> Result<Value> {
    Ok(Value::Text(facts.client.database.clone()))
}

fn current_setting(facts: &Facts, args: &[Value]) -> Result<Value> {
    let name = text(args, 0)?;
    match (facts.settings.get(name), args.get(1)) {
        (Some(value), _) => Ok(Value::Text(value)),
        (None, Some(Value::Bool(true))) => Ok(Value::Null),
        (None, _) => {
            Err(Error::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\"")))
        }
    }
}

/// SQL's order of two values. That of jsonb is not that of its text, and so not that of its keys.
fn order(left: &Value, right: &Value) -> Result<Option<Ordering>> {
    match (left, right) {
        (Value::Jsonb(left), Value::Jsonb(right)) => Ok(Some(jsonb_key(left)?.cmp(&jsonb_key(right)?))),
        _ => Ok(left.compare(right)),
    }
}

fn extreme(args: &[Value], greatest: bool) -> Result<Value> {
    let mut best: Option<&Value> = None;
    for value in args.iter().filter(|value| !value.is_null()) {
        let better = match best {
            None => true,
            Some(before) => {
                let order = order(value, before)?.ok_or_else(|| super::mismatch("greatest", args))?;
                if greatest { order.is_gt() } else { order.is_lt() }
            }
        };
        if better {
            best = Some(value);
        }
    }
    Ok(best.cloned().unwrap_or(Value::Null))
}

fn coalesce(_: &Facts, args: &[Value]) -> Result<Value> {
    Ok(args.iter().find(|value| !value.is_null()).cloned().unwrap_or(Value::Null))
}

fn nullif(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [left, right] if order(left, right)?.is_some_and(Ordering::is_eq) => Ok(Value::Null),
        [left, _] => Ok(left.clone()),
        other => Err(super::mismatch("nullif", other)),
    }
}

fn nulls(args: &[Value], null: bool) -> Result<Value> {
    let count = args.iter().filter(|value| value.is_null() == null).count();
    i32::try_from(count).map(Value::Int4).map_err(|_| super::out_of_range("integer"))
}
