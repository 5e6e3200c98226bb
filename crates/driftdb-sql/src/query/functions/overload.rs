//! Picking an overload (PostgreSQL manual, "Type Conversion": Operators, Functions, UNION).
//!
//! Every argument has a type, or is *unknown*: a string literal, NULL, or a parameter whose type nothing said yet. An
//! overload is possible if each argument has its parameter's type, can be converted to it implicitly, or is unknown.
//! Each conversion has a cost and the cheapest overload is taken; the costs are chosen so that the outcome is what
//! PostgreSQL's steps give: exact matches first, then the nearest wider type, then the preferred type of the
//! category (double precision among numbers, timestamptz among times, text for unknown). An operator's unknown operand
//! is first taken to have the other's type.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType as ArrowType, Field, FieldRef};
use datafusion::common::ScalarValue;
use driftdb_types::{DataType, Error, Result, SqlState};

use super::{Builtin, Eval};
use crate::query::errors::clean_name;
use crate::query::types::{NUMERIC, NUMERIC_KEY, arrow_type, data_type_of, field};

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Is(DataType),
    /// Anything; unknown is text.
    Any,
    /// Anything, but all such parameters get one type.
    Same,
}

/// What comes out.
#[derive(Clone, Copy)]
pub(crate) enum Returns {
    Is(DataType),
    /// The type of the [`Kind::Same`] parameters.
    Same,
    /// A numeric in the form that numerics are compared in.
    NumericKey,
}

/// One form of a function.
pub(crate) struct Overload {
    pub(crate) args: &'static [Kind],
    /// What any further arguments are.
    pub(crate) rest: Option<Kind>,
    pub(crate) returns: Returns,
    pub(crate) eval: Eval,
}

/// What is known of an argument.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ArgType {
    Known { data_type: DataType, arrow: ArrowType },
    Unknown,
}

impl ArgType {
    pub(crate) fn data_type(&self) -> Option<DataType> {
        match self {
            ArgType::Known { data_type, .. } => Some(*data_type),
            ArgType::Unknown => None,
        }
    }
}

/// An overload picked and its types.
pub(crate) struct Resolution {
    pub(crate) eval: Eval,
    /// What each argument is to be converted to.
    pub(crate) targets: Vec<DataType>,
    /// The same in Arrow's words; numerics keep the form they have.
    pub(crate) params: Vec<ArrowType>,
    pub(crate) field: FieldRef,
}

/// What DataFusion says of an argument while it plans: a text constant is a literal without a type.
pub(crate) fn arg_type(field: &Field, scalar: Option<&ScalarValue>) -> Result<ArgType> {
    match (field.data_type(), scalar) {
        (ArrowType::Null, _) => Ok(ArgType::Unknown),
        (ArrowType::Utf8, Some(ScalarValue::Utf8(_))) => Ok(ArgType::Unknown),
        (arrow, _) => Ok(ArgType::Known { data_type: data_type_of(field)?, arrow: arrow.clone() }),
    }
}

/// The cost of converting implicitly; `None` where PostgreSQL would not.
pub(crate) fn implicit_cost(from: DataType, to: DataType) -> Option<u32> {
    use DataType as T;
    if from.without_modifiers() == to.without_modifiers() {
        return Some(0);
    }
    Some(match (from, to) {
        (T::Varchar(_) | T::Char(_), T::Text) | (T::Text | T::Char(_), T::Varchar(None)) => 0,
        (T::Int2, T::Int4) => 1,
        (T::Int2, T::Int8) | (T::Int4, T::Int8) => 2,
        (T::Int2 | T::Int4 | T::Int8, T::Float8) => 5,
        (T::Int2 | T::Int4 | T::Int8, T::Numeric(_)) => 6,
        (T::Int2 | T::Int4 | T::Int8, T::Float4) => 7,
        (T::Float4, T::Float8) => 1,
        (T::Numeric(_), T::Float8) => 8,
        (T::Numeric(_), T::Float4) => 9,
        (T::Date, T::TimestampTz) => 2,
        (T::Date, T::Timestamp) => 3,
        (T::Timestamp, T::TimestampTz) => 2,
        (T::Time, T::Interval) => 3,
        _ => return None,
    })
}

fn unknown_cost(to: Kind) -> u32 {
    match to {
        Kind::Is(DataType::Text) | Kind::Any | Kind::Same => 1,
        Kind::Is(DataType::Float8 | DataType::TimestampTz | DataType::Bool | DataType::Interval) => 2,
        Kind::Is(_) => 3,
    }
}

fn cost(overload: &Overload, args: &[ArgType]) -> Option<u32> {
    if args.len() < overload.args.len() || (args.len() > overload.args.len() && overload.rest.is_none()) {
        return None;
    }
    let mut total = 0;
    for (position, arg) in args.iter().enumerate() {
        let kind = overload.args.get(position).copied().or(overload.rest)?;
        total += match (kind, arg) {
            (_, ArgType::Unknown) => unknown_cost(kind),
            (Kind::Any, _) => 20,
            (Kind::Same, _) => 10,
            (Kind::Is(to), ArgType::Known { data_type, .. }) => implicit_cost(*data_type, to)?,
        };
    }
    Some(total)
}

/// Picks the overload of `builtin` for these arguments.
pub(crate) fn resolve(builtin: &'static Builtin, args: &[ArgType]) -> Result<Resolution> {
    let assumed = same_as_other(builtin, args);
    let best = |args: &[ArgType]| {
        builtin.overloads.iter().filter_map(|o| cost(o, args).map(|cost| (cost, o))).min_by_key(|(cost, _)| *cost)
    };
    let chosen = match assumed.as_deref().and_then(best).filter(|(cost, _)| *cost == 0) {
        Some(chosen) => Some(chosen),
        None => best(args),
    };
    let Some((_, overload)) = chosen else { return Err(no_match(builtin.name, args)) };
    settle(builtin, overload, args)
}

/// A binary operator's unknown operand with the type of the other.
fn same_as_other(builtin: &Builtin, args: &[ArgType]) -> Option<Vec<ArgType>> {
    if !builtin.name.starts_with('\u{1}') {
        return None;
    }
    match args {
        [ArgType::Unknown, known @ ArgType::Known { .. }] | [known @ ArgType::Known { .. }, ArgType::Unknown] => {
            Some(vec![known.clone(), known.clone()])
        }
        _ => None,
    }
}

fn settle(builtin: &'static Builtin, overload: &'static Overload, args: &[ArgType]) -> Result<Resolution> {
    let kind_of = |position: usize| overload.args.get(position).copied().or(overload.rest).unwrap_or(Kind::Any);
    let same: Vec<&ArgType> =
        args.iter().enumerate().filter(|(position, _)| kind_of(*position) == Kind::Same).map(|(_, arg)| arg).collect();
    let same = if same.is_empty() {
        None
    } else {
        let types: Vec<Option<DataType>> = same.iter().map(|arg| arg.data_type()).collect();
        Some(common_type(&types).map_err(|error| error_in(builtin.name, error))?)
    };
    let mut targets = Vec::with_capacity(args.len());
    let mut params = Vec::with_capacity(args.len());
    for (position, arg) in args.iter().enumerate() {
        let target = match kind_of(position) {
            Kind::Is(target) => target,
            Kind::Any => arg.data_type().unwrap_or(DataType::Text),
            Kind::Same => same.unwrap_or(DataType::Text),
        };
        targets.push(target);
        params.push(match kind_of(position) {
            Kind::Same => arrow_type(target),
            _ => param_arrow(arg, target),
        });
    }
    let field = match overload.returns {
        Returns::Is(data_type) => field(builtin.name, data_type, true),
        Returns::Same => field(builtin.name, same.unwrap_or(DataType::Text), true),
        Returns::NumericKey => Field::new(builtin.name, NUMERIC_KEY, true),
    };
    Ok(Resolution { eval: overload.eval, targets, params, field: Arc::new(field) })
}

/// The Arrow type an argument is converted to: where a numeric is wanted, any form of one will do.
pub(crate) fn param_arrow(arg: &ArgType, target: DataType) -> ArrowType {
    match (arg, target) {
        (ArgType::Known { arrow: arrow @ ArrowType::Decimal128(..), .. }, DataType::Numeric(_)) => arrow.clone(),
        (ArgType::Known { data_type, .. }, DataType::Numeric(_)) if data_type.is_integer() => {
            ArrowType::Decimal128(38, 0)
        }
        (_, DataType::Numeric(_)) => NUMERIC,
        _ => arrow_type(target),
    }
}

/// The one type that values of these types get together in UNION, CASE, VALUES and the like; `None` is unknown.
pub(crate) fn common_type(types: &[Option<DataType>]) -> Result<DataType> {
    let mut common: Option<DataType> = None;
    for data_type in types.iter().flatten().copied() {
        common = Some(match common {
            None => data_type,
            Some(before) if before == data_type => before,
            // Different modifiers of one type leave none.
            Some(before) if before.without_modifiers() == data_type.without_modifiers() => before.without_modifiers(),
            Some(before) if before.is_text() && data_type.is_text() => DataType::Text,
            Some(before) => match (implicit_cost(before, data_type), implicit_cost(data_type, before)) {
                (Some(_), _) => data_type.without_modifiers(),
                (None, Some(_)) => before.without_modifiers(),
                (None, None) => {
                    return Err(Error::new(
                        SqlState::DATATYPE_MISMATCH,
                        format!(
                            "types {} and {} cannot be matched",
                            before.without_modifiers(),
                            data_type.without_modifiers()
                        ),
                    ));
                }
            },
        });
    }
    Ok(common.unwrap_or(DataType::Text))
}

fn error_in(name: &str, error: Error) -> Error {
    let message = error.message.trim_start_matches("types ").to_owned();
    Error { message: format!("{} types {message}", name.to_uppercase()), ..error }
}

fn shown(arg: &ArgType) -> String {
    arg.data_type().map_or_else(|| "unknown".to_owned(), |data_type| data_type.without_modifiers().sql_name())
}

/// 42883 in PostgreSQL's words.
pub(crate) fn no_match(name: &str, args: &[ArgType]) -> Error {
    let types: Vec<String> = args.iter().map(shown).collect();
    let operator = name.strip_prefix(super::super::rewrite::OPERATOR_PREFIX);
    let what = match (operator, types.as_slice()) {
        (Some(operator), [left, right]) => format!("operator does not exist: {left} {operator} {right}"),
        (Some(operator), [operand]) => format!("operator does not exist: {operator} {operand}"),
        _ => format!("function {}({}) does not exist", clean_name(name), types.join(", ")),
    };
    let kind = if operator.is_some() { "operator" } else { "function" };
    Error::new(SqlState::UNDEFINED_FUNCTION, what).hint(format!(
        "No {kind} matches the given name and argument types. You might need to add explicit type casts."
    ))
}
