//! Advisory locks (PostgreSQL manual, "Advisory Lock Functions").
//!
//! Those that PostgreSQL has return void give an empty text, which is what clients see of void.

use driftdb_engine::{AdvisoryKey, AdvisoryMode, AdvisoryScope, AdvisoryWait};
use driftdb_types::{DataType as T, Result, Value};

use super::{Builtin, Facts, Kind, Nulls, Overload, Returns, mismatch};

const ONE: &[Kind] = &[Kind::Is(T::Int8)];
const TWO: &[Kind] = &[Kind::Is(T::Int4), Kind::Is(T::Int4)];

macro_rules! of_a_key {
    ($name:literal, $returns:expr, $eval:expr) => {
        Builtin {
            name: $name,
            nulls: Nulls::Strict,
            volatile: true,
            overloads: &[
                Overload { args: ONE, rest: None, returns: Returns::Is($returns), eval: $eval },
                Overload { args: TWO, rest: None, returns: Returns::Is($returns), eval: $eval },
            ],
        }
    };
}

macro_rules! waits {
    ($name:literal, $mode:ident, $scope:ident) => {
        of_a_key!($name, T::Text, |facts, args| {
            lock(facts, args, AdvisoryMode::$mode, AdvisoryScope::$scope, true).map(|_| Value::Text(String::new()))
        })
    };
}

macro_rules! tries {
    ($name:literal, $mode:ident, $scope:ident) => {
        of_a_key!($name, T::Bool, |facts, args| {
            lock(facts, args, AdvisoryMode::$mode, AdvisoryScope::$scope, false).map(Value::Bool)
        })
    };
}

macro_rules! gives_back {
    ($name:literal, $mode:ident) => {
        of_a_key!($name, T::Bool, |facts, args| {
            Ok(Value::Bool(facts.locks.unlock(key(args)?, AdvisoryMode::$mode)))
        })
    };
}

pub(super) const FUNCTIONS: &[Builtin] = &[
    waits!("pg_advisory_lock", Exclusive, Session),
    waits!("pg_advisory_lock_shared", Shared, Session),
    waits!("pg_advisory_xact_lock", Exclusive, Transaction),
    waits!("pg_advisory_xact_lock_shared", Shared, Transaction),
    tries!("pg_try_advisory_lock", Exclusive, Session),
    tries!("pg_try_advisory_lock_shared", Shared, Session),
    tries!("pg_try_advisory_xact_lock", Exclusive, Transaction),
    tries!("pg_try_advisory_xact_lock_shared", Shared, Transaction),
    gives_back!("pg_advisory_unlock", Exclusive),
    gives_back!("pg_advisory_unlock_shared", Shared),
    Builtin {
        name: "pg_advisory_unlock_all",
        nulls: Nulls::Strict,
        volatile: true,
        overloads: &[Overload {
            args: &[],
            rest: None,
            returns: Returns::Is(T::Text),
            eval: |facts, _| {
                facts.locks.unlock_all();
                Ok(Value::Text(String::new()))
            },
        }],
    },
];

fn key(args: &[Value]) -> Result<AdvisoryKey> {
    match args {
        [Value::Int8(key)] => Ok(AdvisoryKey::One(*key)),
        [Value::Int4(first), Value::Int4(second)] => Ok(AdvisoryKey::Two(*first, *second)),
        other => Err(mismatch("an advisory lock", other)),
    }
}

fn lock(facts: &Facts, args: &[Value], mode: AdvisoryMode, scope: AdvisoryScope, wait: bool) -> Result<bool> {
    let timeout = facts.settings.limit("lock_timeout");
    facts.locks.lock(key(args)?, mode, scope, AdvisoryWait { wait, timeout, cancel: &facts.cancel })
}
