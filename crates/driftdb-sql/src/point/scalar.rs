//! Compiled expressions and their evaluation over one row.

use std::cmp::Ordering;

use driftdb_types::{DataType, Error, Result, SqlState, TimeZone, Value};

use super::operators;

/// What an expression reads beside its row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Env<'a> {
    pub(crate) params: &'a [Value],
    pub(crate) tz: &'a TimeZone,
    /// `now()`, microseconds since 1970 UTC.
    pub(crate) transaction_us: i64,
    pub(crate) statement_us: i64,
}

/// Arithmetic operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

/// Comparison operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
}

impl Comparison {
    pub(crate) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Comparison::Eq => ordering.is_eq(),
            Comparison::NotEq => ordering.is_ne(),
            Comparison::Lt => ordering.is_lt(),
            Comparison::LtEq => ordering.is_le(),
            Comparison::Gt => ordering.is_gt(),
            Comparison::GtEq => ordering.is_ge(),
        }
    }

    /// The operator with its sides exchanged.
    pub(crate) fn mirrored(self) -> Comparison {
        match self {
            Comparison::Lt => Comparison::Gt,
            Comparison::LtEq => Comparison::GtEq,
            Comparison::Gt => Comparison::Lt,
            Comparison::GtEq => Comparison::LtEq,
            other => other,
        }
    }
}

/// Functions of any number of arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Coalesce,
    NullIf,
    Greatest,
    Least,
    Abs,
    Lower,
    Upper,
    CharLength,
}

/// A compiled expression. Its operands have the types its operator wants: the compiler put the casts in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Const(Value),
    /// A position in the row.
    Column(usize),
    Param(usize),
    Cast(Box<Scalar>, DataType),
    Arithmetic(Arithmetic, Box<Scalar>, Box<Scalar>),
    Negate(Box<Scalar>),
    Compare(Comparison, Box<Scalar>, Box<Scalar>),
    And(Box<Scalar>, Box<Scalar>),
    Or(Box<Scalar>, Box<Scalar>),
    Not(Box<Scalar>),
    IsNull(Box<Scalar>, bool),
    /// IS [NOT] TRUE, FALSE: the truth value asked for, and whether negated.
    IsBool(Box<Scalar>, bool, bool),
    IsDistinct(Box<Scalar>, Box<Scalar>, bool),
    In(Box<Scalar>, Vec<Scalar>, bool),
    Case(Vec<(Scalar, Scalar)>, Box<Scalar>),
    Call(Function, Vec<Scalar>),
    Concat(Box<Scalar>, Box<Scalar>),
    TransactionTime,
    StatementTime,
}

impl Scalar {
    /// Whether it reads no column, so that it has one value for the whole statement.
    pub(crate) fn is_constant(&self) -> bool {
        match self {
            Scalar::Column(_) => false,
            Scalar::Const(_) | Scalar::Param(_) | Scalar::TransactionTime | Scalar::StatementTime => true,
            Scalar::Cast(inner, _)
            | Scalar::Negate(inner)
            | Scalar::Not(inner)
            | Scalar::IsNull(inner, _)
            | Scalar::IsBool(inner, _, _) => inner.is_constant(),
            Scalar::Arithmetic(_, left, right)
            | Scalar::Compare(_, left, right)
            | Scalar::And(left, right)
            | Scalar::Or(left, right)
            | Scalar::IsDistinct(left, right, _)
            | Scalar::Concat(left, right) => left.is_constant() && right.is_constant(),
            Scalar::In(inner, list, _) => inner.is_constant() && list.iter().all(Scalar::is_constant),
            Scalar::Case(branches, otherwise) => {
                branches.iter().all(|(when, then)| when.is_constant() && then.is_constant()) && otherwise.is_constant()
            }
            Scalar::Call(_, arguments) => arguments.iter().all(Scalar::is_constant),
        }
    }

    /// Renumbers columns to their places in `used`, which gets those that are new to it.
    pub(crate) fn compact(&mut self, used: &mut Vec<usize>) {
        match self {
            Scalar::Column(position) => {
                *position = match used.iter().position(|known| known == position) {
                    Some(place) => place,
                    None => {
                        used.push(*position);
                        used.len() - 1
                    }
                };
            }
            Scalar::Const(_) | Scalar::Param(_) | Scalar::TransactionTime | Scalar::StatementTime => {}
            Scalar::Cast(inner, _)
            | Scalar::Negate(inner)
            | Scalar::Not(inner)
            | Scalar::IsNull(inner, _)
            | Scalar::IsBool(inner, _, _) => inner.compact(used),
            Scalar::Arithmetic(_, left, right)
            | Scalar::Compare(_, left, right)
            | Scalar::And(left, right)
            | Scalar::Or(left, right)
            | Scalar::IsDistinct(left, right, _)
            | Scalar::Concat(left, right) => {
                left.compact(used);
                right.compact(used);
            }
            Scalar::In(inner, list, _) => {
                inner.compact(used);
                list.iter_mut().for_each(|item| item.compact(used));
            }
            Scalar::Case(branches, otherwise) => {
                for (when, then) in branches {
                    when.compact(used);
                    then.compact(used);
                }
                otherwise.compact(used);
            }
            Scalar::Call(_, arguments) => arguments.iter_mut().for_each(|argument| argument.compact(used)),
        }
    }

    /// The value for one row.
    pub(crate) fn eval(&self, row: &[Value], env: &Env<'_>) -> Result<Value> {
        match self {
            Scalar::Const(value) => Ok(value.clone()),
            Scalar::Column(position) => row
                .get(*position)
                .cloned()
                .ok_or_else(|| Error::internal(format!("a row of {} values has no value {position}", row.len()))),
            Scalar::Param(position) => env.params.get(*position).cloned().ok_or_else(|| {
                Error::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter ${}", position + 1))
            }),
            Scalar::Cast(inner, data_type) => match inner.eval(row, env)? {
                Value::Null => Ok(Value::Null),
                value => value.cast(*data_type, env.tz),
            },
            Scalar::Arithmetic(operator, left, right) => {
                operators::arithmetic(*operator, left.eval(row, env)?, right.eval(row, env)?)
            }
            Scalar::Negate(inner) => operators::negate(inner.eval(row, env)?),
            Scalar::Compare(comparison, left, right) => {
                Ok(truth(compare(*comparison, &left.eval(row, env)?, &right.eval(row, env)?)?))
            }
            Scalar::And(left, right) => match boolean(left.eval(row, env)?)? {
                Some(false) => Ok(Value::Bool(false)),
                left => Ok(truth(match (left, boolean(right.eval(row, env)?)?) {
                    (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                })),
            },
            Scalar::Or(left, right) => match boolean(left.eval(row, env)?)? {
                Some(true) => Ok(Value::Bool(true)),
                left => Ok(truth(match (left, boolean(right.eval(row, env)?)?) {
                    (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                })),
            },
            Scalar::Not(inner) => Ok(truth(boolean(inner.eval(row, env)?)?.map(|value| !value))),
            Scalar::IsNull(inner, negated) => Ok(Value::Bool(inner.eval(row, env)?.is_null() != *negated)),
            Scalar::IsBool(inner, wanted, negated) => {
                Ok(Value::Bool((boolean(inner.eval(row, env)?)? == Some(*wanted)) != *negated))
            }
            Scalar::IsDistinct(left, right, negated) => {
                let (left, right) = (left.eval(row, env)?, right.eval(row, env)?);
                let distinct = match (left.is_null(), right.is_null()) {
                    (true, true) => false,
                    (false, false) => compare(Comparison::NotEq, &left, &right)? == Some(true),
                    _ => true,
                };
                Ok(Value::Bool(distinct != *negated))
            }
            Scalar::In(inner, list, negated) => eval_in(&inner.eval(row, env)?, list, *negated, row, env),
            Scalar::Case(branches, otherwise) => {
                for (when, then) in branches {
                    if boolean(when.eval(row, env)?)? == Some(true) {
                        return then.eval(row, env);
                    }
                }
                otherwise.eval(row, env)
            }
            Scalar::Call(function, arguments) => super::functions::call(*function, arguments, row, env),
            Scalar::Concat(left, right) => match (left.eval(row, env)?, right.eval(row, env)?) {
                (Value::Null, _) | (_, Value::Null) => Ok(Value::Null),
                (Value::Text(mut left), Value::Text(right)) => {
                    left.push_str(&right);
                    Ok(Value::Text(left))
                }
                (left, right) => Err(Error::internal(format!("|| of {left:?} and {right:?}"))),
            },
            Scalar::TransactionTime => Ok(Value::TimestampTz(env.transaction_us)),
            Scalar::StatementTime => Ok(Value::TimestampTz(env.statement_us)),
        }
    }

    /// Whether a condition holds: NULL counts as false.
    pub(crate) fn holds(&self, row: &[Value], env: &Env<'_>) -> Result<bool> {
        Ok(boolean(self.eval(row, env)?)? == Some(true))
    }
}

fn eval_in(value: &Value, list: &[Scalar], negated: bool, row: &[Value], env: &Env<'_>) -> Result<Value> {
    let mut unknown = value.is_null();
    for item in list {
        match compare(Comparison::Eq, value, &item.eval(row, env)?)? {
            Some(true) => return Ok(Value::Bool(!negated)),
            Some(false) => {}
            None => unknown = true,
        }
    }
    Ok(if unknown { Value::Null } else { Value::Bool(negated) })
}

/// Compares two values of one type; `None` when either is NULL.
pub(crate) fn compare(comparison: Comparison, left: &Value, right: &Value) -> Result<Option<bool>> {
    if left.is_null() || right.is_null() {
        return Ok(None);
    }
    match left.compare(right) {
        Some(ordering) => Ok(Some(comparison.holds(ordering))),
        None => Err(Error::internal(format!("{left:?} was compared with {right:?}"))),
    }
}

fn truth(value: Option<bool>) -> Value {
    value.map_or(Value::Null, Value::Bool)
}

fn boolean(value: Value) -> Result<Option<bool>> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(value) => Ok(Some(value)),
        other => Err(Error::internal(format!("{other:?} was taken for a truth value"))),
    }
}
