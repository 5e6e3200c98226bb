//! Point plans: statements that reach rows by key, run without DataFusion.
//!
//! Compilation either covers a statement wholly or gives `None`, and then the general path runs it: a point plan never
//! answers differently from the general one, only sooner. Expressions are compiled to [`scalar::Scalar`] with
//! PostgreSQL's typing; the WHERE clause is searched for equalities that fix a primary key, a unique key or the first
//! columns of an index ([`access`]), and is still tested whole on each row that is found.

mod access;
mod compile;
mod functions;
mod operators;
pub(crate) mod scalar;
mod scope;
mod select;
#[cfg(test)]
mod tests;

pub(crate) use self::access::{Access, Target, find_access};
pub(crate) use self::compile::{Compiler, ParamTypes, is_assignable};
pub(crate) use self::scope::{Scope, ScopeColumn};
pub(crate) use self::select::{PointSelect, compile_items, index_name, single_table};
