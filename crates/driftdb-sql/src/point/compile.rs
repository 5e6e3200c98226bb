//! From syntax to compiled expressions, with PostgreSQL's typing (manual, chapter "Type Conversion").
//!
//! A string literal, NULL or an undeclared parameter has no type until its surroundings give it one: the other operand's,
//! or the target column's. What is not covered gives `None`, never an error: the general path then runs the statement
//! and says what is wrong with it, if anything is.

use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, CaseWhen, CastKind, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart,
    UnaryOperator, Value as Literal,
};
use driftdb_types::{DataType, Decimal, TimeZone, Value, parse_value};

use super::scalar::{Arithmetic, Comparison, Function, Scalar};
use super::scope::Scope;
use crate::parse::{data_type, name_of};

/// Deeper expressions go the general way, whose stack grows.
const DEPTH_MAX: usize = 64;

/// The types of `$1`, `$2`, …, as far as known.
#[derive(Clone, Debug, Default)]
pub(crate) struct ParamTypes(pub(crate) Vec<Option<DataType>>);

impl ParamTypes {
    /// All of them; one that nothing gives a type is `text`, as in PostgreSQL.
    pub(crate) fn resolved(&self) -> Vec<DataType> {
        self.0.iter().map(|data_type| data_type.unwrap_or(DataType::Text)).collect()
    }
}

/// A compiled expression with its type; no type yet for a string literal, NULL or an undeclared parameter.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    pub(crate) scalar: Scalar,
    pub(crate) data_type: Option<DataType>,
}

impl Typed {
    fn new(scalar: Scalar, data_type: DataType) -> Typed {
        Typed { scalar, data_type: Some(data_type) }
    }
}

/// Compiles the expressions of one statement.
pub(crate) struct Compiler<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) params: ParamTypes,
    pub(crate) tz: &'a TimeZone,
    depth: usize,
}

impl<'a> Compiler<'a> {
    pub(crate) fn new(scope: &'a Scope, params: ParamTypes, tz: &'a TimeZone) -> Compiler<'a> {
        Compiler { scope, params, tz, depth: 0 }
    }

    /// A condition.
    pub(crate) fn condition(&mut self, expr: &Expr) -> Option<Scalar> {
        let typed = self.compile(expr)?;
        self.want(typed, DataType::Bool)
    }

    /// The value for a column, by assignment; the runtime still assigns it, for lengths and scales.
    pub(crate) fn assigned(&mut self, expr: &Expr, target: DataType) -> Option<Scalar> {
        if let Some(value) = float_literal(expr, target) {
            return Some(Scalar::Const(value));
        }
        let typed = self.compile(expr)?;
        match typed.data_type {
            None => self.settle(typed, target),
            Some(from) if is_assignable(from, target) => Some(typed.scalar),
            Some(_) => None,
        }
    }

    /// A result column's expression and type.
    pub(crate) fn output(&mut self, expr: &Expr) -> Option<(Scalar, DataType)> {
        let typed = self.compile(expr)?;
        match typed.data_type {
            Some(data_type) => Some((typed.scalar, data_type)),
            None => Some((self.settle(typed, DataType::Text)?, DataType::Text)),
        }
    }

    /// A point of system time: no columns; what has no type becomes `target`.
    pub(crate) fn point(&mut self, expr: &Expr, target: DataType) -> Option<Scalar> {
        let typed = self.compile(expr)?;
        typed.scalar.is_constant().then_some(())?;
        match (&typed.scalar, typed.data_type) {
            // Text is read when the statement runs: it may say '@SEQ:42'.
            (Scalar::Const(_), None) => Some(typed.scalar),
            (_, None) => self.settle(typed, target),
            (_, Some(_)) => Some(typed.scalar),
        }
    }

    fn compile(&mut self, expr: &Expr) -> Option<Typed> {
        self.depth += 1;
        let typed = if self.depth > DEPTH_MAX { None } else { self.compile_one(expr) };
        self.depth -= 1;
        typed
    }

    fn compile_one(&mut self, expr: &Expr) -> Option<Typed> {
        match expr {
            Expr::Nested(inner) => self.compile(inner),
            Expr::Identifier(ident) => self.column(std::slice::from_ref(ident)),
            Expr::CompoundIdentifier(idents) => self.column(idents),
            Expr::Value(value) => self.literal(&value.value),
            Expr::TypedString(ast::TypedString { data_type: ast_type, value, uses_odbc_syntax: false }) => {
                let to = data_type(ast_type).ok()?;
                let text = string(&value.value)?;
                self.constant(text, to)
            }
            Expr::Interval(interval) => self.interval(interval),
            Expr::UnaryOp { op: UnaryOperator::Plus, expr } => {
                let typed = self.compile(expr)?;
                typed.data_type.filter(DataType::is_number)?;
                Some(typed)
            }
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
                let typed = self.compile(expr)?;
                let data_type = typed.data_type.filter(DataType::is_number)?.without_modifiers();
                Some(Typed::new(Scalar::Negate(Box::new(typed.scalar)), data_type))
            }
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
                let inner = self.condition(expr)?;
                Some(Typed::new(Scalar::Not(Box::new(inner)), DataType::Bool))
            }
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right),
            Expr::IsNull(inner) => self.is_null(inner, false),
            Expr::IsNotNull(inner) => self.is_null(inner, true),
            Expr::IsTrue(inner) => self.is_bool(inner, true, false),
            Expr::IsNotTrue(inner) => self.is_bool(inner, true, true),
            Expr::IsFalse(inner) => self.is_bool(inner, false, false),
            Expr::IsNotFalse(inner) => self.is_bool(inner, false, true),
            Expr::IsDistinctFrom(left, right) => self.is_distinct(left, right, false),
            Expr::IsNotDistinctFrom(left, right) => self.is_distinct(left, right, true),
            Expr::Between { expr, negated, low, high } => {
                let from = self.comparison(expr, Comparison::GtEq, low)?;
                let to = self.comparison(expr, Comparison::LtEq, high)?;
                let both = Scalar::And(Box::new(from.scalar), Box::new(to.scalar));
                Some(Typed::new(if *negated { Scalar::Not(Box::new(both)) } else { both }, DataType::Bool))
            }
            Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated),
            Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Expr::Cast {
                kind: CastKind::Cast | CastKind::DoubleColon,
                expr,
                data_type: to,
                array: false,
                format: None,
            } => {
                let to = data_type(to).ok()?;
                self.cast(expr, to)
            }
            Expr::Function(function) => self.function(function),
            _ => None,
        }
    }

    fn column(&self, idents: &[ast::Ident]) -> Option<Typed> {
        let position = self.scope.find(idents)?;
        Some(Typed::new(Scalar::Column(position), self.scope.get(position)?.data_type))
    }

    fn literal(&self, literal: &Literal) -> Option<Typed> {
        Some(match literal {
            Literal::Number(digits, false) => {
                let digits = digits.replace('_', "");
                if let Ok(value) = digits.parse::<i32>() {
                    Typed::new(Scalar::Const(Value::Int4(value)), DataType::Int4)
                } else if let Ok(value) = digits.parse::<i64>() {
                    Typed::new(Scalar::Const(Value::Int8(value)), DataType::Int8)
                } else {
                    let value = Decimal::parse(&digits).ok()?;
                    Typed::new(Scalar::Const(Value::Numeric(value)), DataType::Numeric(None))
                }
            }
            Literal::Boolean(value) => Typed::new(Scalar::Const(Value::Bool(*value)), DataType::Bool),
            Literal::Null => Typed { scalar: Scalar::Const(Value::Null), data_type: None },
            Literal::Placeholder(name) => {
                let position = name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)?;
                Typed { scalar: Scalar::Param(position), data_type: *self.params.0.get(position)? }
            }
            other => Typed { scalar: Scalar::Const(Value::Text(string(other)?.to_owned())), data_type: None },
        })
    }

    /// A constant read from text, as a typed literal.
    fn constant(&self, text: &str, to: DataType) -> Option<Typed> {
        if is_time_dependent(text, to) {
            return None;
        }
        let value = parse_value(to, text, self.tz).ok()?;
        Some(Typed::new(Scalar::Const(value), to.without_modifiers()))
    }

    fn interval(&self, interval: &ast::Interval) -> Option<Typed> {
        let ast::Interval { value, leading_field, leading_precision, last_field, fractional_seconds_precision } =
            interval;
        let plain = leading_field.is_none()
            && leading_precision.is_none()
            && last_field.is_none()
            && fractional_seconds_precision.is_none();
        match (plain, value.as_ref()) {
            (true, Expr::Value(value)) => self.constant(string(&value.value)?, DataType::Interval),
            _ => None,
        }
    }

    /// Gives a type to what has none yet.
    fn settle(&mut self, typed: Typed, to: DataType) -> Option<Scalar> {
        match typed.scalar {
            Scalar::Const(Value::Null) => Some(Scalar::Const(Value::Null)),
            Scalar::Const(Value::Text(text)) => {
                // The modifiers are the assignment's to apply, where there is one.
                if to.is_text() {
                    return Some(Scalar::Const(Value::Text(text)));
                }
                Some(self.constant(&text, to.without_modifiers())?.scalar)
            }
            Scalar::Param(position) => {
                let to = to.without_modifiers();
                let declared = self.params.0.get_mut(position)?;
                match declared {
                    None => *declared = Some(to),
                    Some(known) if *known == to => {}
                    Some(_) => return None,
                }
                Some(Scalar::Param(position))
            }
            _ => None,
        }
    }

    /// The expression as a value of exactly this type.
    fn want(&mut self, typed: Typed, to: DataType) -> Option<Scalar> {
        match typed.data_type {
            None => self.settle(typed, to),
            Some(from) if from.without_modifiers() == to.without_modifiers() => Some(typed.scalar),
            Some(_) => None,
        }
    }

    fn is_null(&mut self, inner: &Expr, negated: bool) -> Option<Typed> {
        let typed = self.compile(inner)?;
        let scalar = if typed.data_type.is_none() { self.settle(typed, DataType::Text)? } else { typed.scalar };
        Some(Typed::new(Scalar::IsNull(Box::new(scalar), negated), DataType::Bool))
    }

    fn is_bool(&mut self, inner: &Expr, wanted: bool, negated: bool) -> Option<Typed> {
        let inner = self.condition(inner)?;
        Some(Typed::new(Scalar::IsBool(Box::new(inner), wanted, negated), DataType::Bool))
    }

    fn is_distinct(&mut self, left: &Expr, right: &Expr, negated: bool) -> Option<Typed> {
        let (left, right) = self.comparable(left, right)?;
        Some(Typed::new(Scalar::IsDistinct(Box::new(left), Box::new(right), negated), DataType::Bool))
    }

    fn binary(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<Typed> {
        use BinaryOperator as Op;
        let comparison = match op {
            Op::Eq => Some(Comparison::Eq),
            Op::NotEq => Some(Comparison::NotEq),
            Op::Lt => Some(Comparison::Lt),
            Op::LtEq => Some(Comparison::LtEq),
            Op::Gt => Some(Comparison::Gt),
            Op::GtEq => Some(Comparison::GtEq),
            _ => None,
        };
        if let Some(comparison) = comparison {
            return self.comparison(left, comparison, right);
        }
        let arithmetic = match op {
            Op::Plus => Arithmetic::Add,
            Op::Minus => Arithmetic::Subtract,
            Op::Multiply => Arithmetic::Multiply,
            Op::Divide => Arithmetic::Divide,
            Op::Modulo => Arithmetic::Modulo,
            Op::And | Op::Or => {
                let (left, right) = (Box::new(self.condition(left)?), Box::new(self.condition(right)?));
                let scalar = if *op == Op::And { Scalar::And(left, right) } else { Scalar::Or(left, right) };
                return Some(Typed::new(scalar, DataType::Bool));
            }
            Op::StringConcat => {
                let (left, right) = (self.compile(left)?, self.compile(right)?);
                // char(n) loses its blanks in ||, other types are turned to text: the general path does both.
                let plain =
                    |typed: &Typed| matches!(typed.data_type, None | Some(DataType::Text | DataType::Varchar(_)));
                if !plain(&left) || !plain(&right) || (left.data_type.is_none() && right.data_type.is_none()) {
                    return None;
                }
                let (left, right) = (self.text(left)?, self.text(right)?);
                return Some(Typed::new(Scalar::Concat(Box::new(left), Box::new(right)), DataType::Text));
            }
            _ => return None,
        };
        self.arithmetic(arithmetic, left, right)
    }

    fn text(&mut self, typed: Typed) -> Option<Scalar> {
        if typed.data_type.is_none() { self.settle(typed, DataType::Text) } else { Some(typed.scalar) }
    }

    fn arithmetic(&mut self, operator: Arithmetic, left: &Expr, right: &Expr) -> Option<Typed> {
        let (left, right) = (self.compile(left)?, self.compile(right)?);
        let to = match (left.data_type, right.data_type) {
            (Some(left), Some(right)) => common_number(left, right)?,
            // An operand without a type takes the other's.
            (Some(known), None) | (None, Some(known)) => Some(known).filter(DataType::is_number)?.without_modifiers(),
            (None, None) => return None,
        };
        if operator == Arithmetic::Modulo && matches!(to, DataType::Float4 | DataType::Float8) {
            return None;
        }
        let (left, right) = (Box::new(self.number(left, to)?), Box::new(self.number(right, to)?));
        Some(Typed::new(Scalar::Arithmetic(operator, left, right), to))
    }

    fn number(&mut self, typed: Typed, to: DataType) -> Option<Scalar> {
        match typed.data_type {
            None => self.settle(typed, to),
            Some(from) => Some(cast_scalar(typed.scalar, from, to)),
        }
    }

    fn comparison(&mut self, left: &Expr, comparison: Comparison, right: &Expr) -> Option<Typed> {
        let (left, right) = self.comparable(left, right)?;
        Some(Typed::new(Scalar::Compare(comparison, Box::new(left), Box::new(right)), DataType::Bool))
    }

    fn comparable(&mut self, left: &Expr, right: &Expr) -> Option<(Scalar, Scalar)> {
        let (left, right) = (self.compile(left)?, self.compile(right)?);
        match (left.data_type, right.data_type) {
            (Some(a), Some(b)) => {
                are_comparable(a, b).then_some(())?;
                Some((left.scalar, right.scalar))
            }
            (Some(known), None) => {
                are_comparable(known, known).then_some(())?;
                Some((left.scalar, self.settle(right, known)?))
            }
            (None, Some(known)) => {
                are_comparable(known, known).then_some(())?;
                Some((self.settle(left, known)?, right.scalar))
            }
            (None, None) => None,
        }
    }

    fn in_list(&mut self, expr: &Expr, list: &[Expr], negated: bool) -> Option<Typed> {
        let value = self.compile(expr)?;
        let known = value.data_type?;
        let mut items = Vec::with_capacity(list.len());
        for item in list {
            let item = self.compile(item)?;
            are_comparable(known, item.data_type.unwrap_or(known)).then_some(())?;
            items.push(if item.data_type.is_none() { self.settle(item, known)? } else { item.scalar });
        }
        Some(Typed::new(Scalar::In(Box::new(value.scalar), items, negated), DataType::Bool))
    }

    fn case(&mut self, operand: Option<&Expr>, conditions: &[CaseWhen], otherwise: Option<&Expr>) -> Option<Typed> {
        let mut whens = Vec::with_capacity(conditions.len());
        let mut results = Vec::with_capacity(conditions.len() + 1);
        for CaseWhen { condition, result } in conditions {
            whens.push(match operand {
                None => self.condition(condition)?,
                Some(operand) => self.comparison(operand, Comparison::Eq, condition)?.scalar,
            });
            results.push(self.compile(result)?);
        }
        results.push(match otherwise {
            Some(otherwise) => self.compile(otherwise)?,
            None => Typed { scalar: Scalar::Const(Value::Null), data_type: None },
        });
        let (mut results, to) = self.unified(results)?;
        let otherwise = results.pop()?;
        let branches = whens.into_iter().zip(results).collect();
        Some(Typed::new(Scalar::Case(branches, Box::new(otherwise)), to))
    }

    /// The expressions as values of their common type.
    fn unified(&mut self, all: Vec<Typed>) -> Option<(Vec<Scalar>, DataType)> {
        let mut to: Option<DataType> = None;
        for data_type in all.iter().filter_map(|typed| typed.data_type) {
            let data_type = data_type.without_modifiers();
            to = Some(match to {
                None => data_type,
                Some(known) if known == data_type => known,
                Some(known) => wider_number(known, data_type)?,
            });
        }
        let to = to?;
        let scalars = all
            .into_iter()
            .map(|typed| match typed.data_type {
                None => self.settle(typed, to),
                Some(from) => Some(cast_scalar(typed.scalar, from.without_modifiers(), to)),
            })
            .collect::<Option<Vec<_>>>()?;
        Some((scalars, to))
    }

    fn cast(&mut self, expr: &Expr, to: DataType) -> Option<Typed> {
        if let Some(value) = float_literal(expr, to) {
            return Some(Typed::new(Scalar::Const(value), to));
        }
        let typed = self.compile(expr)?;
        let scalar = match typed.data_type {
            None => match &typed.scalar {
                // A literal or parameter under a cast is read as that type.
                Scalar::Const(Value::Text(text)) if is_time_dependent(text, to) => return None,
                Scalar::Const(Value::Text(text)) => {
                    // The cast cuts what is too long, where reading would refuse it.
                    let value = parse_value(to.without_modifiers(), text, self.tz).ok()?;
                    Scalar::Const(value.cast(to, self.tz).ok()?)
                }
                _ => Scalar::Cast(Box::new(self.settle(typed, to)?), to),
            },
            Some(from) if from == to => typed.scalar,
            Some(from) => {
                is_castable(from, to).then_some(())?;
                Scalar::Cast(Box::new(typed.scalar), to)
            }
        };
        Some(Typed::new(scalar, to))
    }

    fn function(&mut self, function: &ast::Function) -> Option<Typed> {
        let plain = matches!(function.parameters, FunctionArguments::None)
            && !function.uses_odbc_syntax
            && function.filter.is_none()
            && function.null_treatment.is_none()
            && function.over.is_none()
            && function.within_group.is_empty();
        let name = match (plain, function.name.0.as_slice()) {
            (true, [ObjectNamePart::Identifier(name)]) => name_of(name),
            _ => return None,
        };
        let arguments = match &function.args {
            FunctionArguments::None => Vec::new(),
            FunctionArguments::Subquery(_) => return None,
            FunctionArguments::List(list) => {
                if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
                    return None;
                }
                let mut arguments = Vec::new();
                for argument in &list.args {
                    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else { return None };
                    arguments.push(self.compile(expr)?);
                }
                arguments
            }
        };
        let without = matches!(function.args, FunctionArguments::None);
        self.call(&name, arguments, without)
    }

    fn call(&mut self, name: &str, arguments: Vec<Typed>, without_parentheses: bool) -> Option<Typed> {
        let now = || Scalar::TransactionTime;
        let none = arguments.is_empty();
        match name {
            "current_timestamp" if none && without_parentheses => {
                return Some(Typed::new(now(), DataType::TimestampTz));
            }
            "now" | "transaction_timestamp" if none && !without_parentheses => {
                return Some(Typed::new(now(), DataType::TimestampTz));
            }
            "statement_timestamp" if none && !without_parentheses => {
                return Some(Typed::new(Scalar::StatementTime, DataType::TimestampTz));
            }
            "current_date" if none && without_parentheses => {
                return Some(Typed::new(Scalar::Cast(Box::new(now()), DataType::Date), DataType::Date));
            }
            "localtimestamp" if none && without_parentheses => {
                return Some(Typed::new(Scalar::Cast(Box::new(now()), DataType::Timestamp), DataType::Timestamp));
            }
            _ => {}
        }
        if none || without_parentheses {
            return None;
        }
        let known = arguments.first()?.data_type.map(DataType::without_modifiers);
        match name {
            "coalesce" | "greatest" | "least" => {
                let (scalars, to) = self.unified(arguments)?;
                are_comparable(to, to).then_some(())?;
                let function = match name {
                    "coalesce" => Function::Coalesce,
                    "greatest" => Function::Greatest,
                    _ => Function::Least,
                };
                Some(Typed::new(Scalar::Call(function, scalars), to))
            }
            "nullif" if arguments.len() == 2 => {
                let to = known?;
                let mut scalars = Vec::with_capacity(2);
                for argument in arguments {
                    are_comparable(to, argument.data_type.unwrap_or(to)).then_some(())?;
                    scalars.push(if argument.data_type.is_none() {
                        self.settle(argument, to)?
                    } else {
                        argument.scalar
                    });
                }
                Some(Typed::new(Scalar::Call(Function::NullIf, scalars), to))
            }
            "abs" if arguments.len() == 1 => {
                let to = known.filter(DataType::is_number)?;
                Some(Typed::new(Scalar::Call(Function::Abs, vec![arguments.into_iter().next()?.scalar]), to))
            }
            "lower" | "upper" | "length" | "char_length"
                if arguments.len() == 1 && matches!(known, Some(DataType::Text | DataType::Varchar(_))) =>
            {
                let (function, to) = match name {
                    "lower" => (Function::Lower, DataType::Text),
                    "upper" => (Function::Upper, DataType::Text),
                    _ => (Function::CharLength, DataType::Int4),
                };
                Some(Typed::new(Scalar::Call(function, vec![arguments.into_iter().next()?.scalar]), to))
            }
            _ => None,
        }
    }
}

/// A number written where a floating-point number is wanted: read as one at once, because as `numeric`, which it is in
/// PostgreSQL first, `1e300` has more digits than are kept here.
fn float_literal(expr: &Expr, to: DataType) -> Option<Value> {
    let (digits, negative) = match expr {
        Expr::Nested(inner) => return float_literal(inner, to),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match expr.as_ref() {
            Expr::Value(value) => (&value.value, true),
            _ => return None,
        },
        Expr::Value(value) => (&value.value, false),
        _ => return None,
    };
    let Literal::Number(digits, false) = digits else { return None };
    let digits = format!("{}{}", if negative { "-" } else { "" }, digits.replace('_', ""));
    match to {
        DataType::Float4 | DataType::Float8 => parse_value(to, &digits, &TimeZone::utc()).ok(),
        _ => None,
    }
}

/// The text of a string literal of any spelling.
fn string(literal: &Literal) -> Option<&str> {
    match literal {
        Literal::SingleQuotedString(text)
        | Literal::EscapedStringLiteral(text)
        | Literal::UnicodeStringLiteral(text) => Some(text),
        Literal::DollarQuotedString(text) => Some(&text.value),
        _ => None,
    }
}

/// Whether a literal means another value at another time (`'now'`, `'today'`), so that it is no constant.
fn is_time_dependent(text: &str, to: DataType) -> bool {
    matches!(to, DataType::Date | DataType::Time | DataType::Timestamp | DataType::TimestampTz)
        && ["now", "today", "tomorrow", "yesterday"].iter().any(|word| text.to_ascii_lowercase().contains(word))
}

fn cast_scalar(scalar: Scalar, from: DataType, to: DataType) -> Scalar {
    match scalar {
        scalar if from == to => scalar,
        Scalar::Const(Value::Int4(value)) if to == DataType::Int8 => Scalar::Const(Value::Int8(i64::from(value))),
        scalar => Scalar::Cast(Box::new(scalar), to),
    }
}

/// Numbers in the order in which each turns into the next by itself.
fn rank(data_type: DataType) -> Option<u8> {
    match data_type {
        DataType::Int2 => Some(0),
        DataType::Int4 => Some(1),
        DataType::Int8 => Some(2),
        DataType::Numeric(_) => Some(3),
        DataType::Float4 => Some(4),
        DataType::Float8 => Some(5),
        _ => None,
    }
}

/// The type in which two numbers are added: `real` with anything but `real` is calculated in `double precision`.
fn common_number(left: DataType, right: DataType) -> Option<DataType> {
    match (left, right) {
        (DataType::Float4, DataType::Float4) => Some(DataType::Float4),
        (DataType::Float4, other) | (other, DataType::Float4) => rank(other).map(|_| DataType::Float8),
        _ => wider_number(left, right),
    }
}

/// The type of CASE, COALESCE and the like over two numbers.
fn wider_number(left: DataType, right: DataType) -> Option<DataType> {
    Some(if rank(left)? >= rank(right)? { left } else { right }.without_modifiers())
}

/// Whether values of the two types compare here as they do in PostgreSQL.
fn are_comparable(left: DataType, right: DataType) -> bool {
    use DataType as T;
    match (left, right) {
        (T::Char(_), _) | (_, T::Char(_)) | (T::Json | T::Jsonb, _) | (_, T::Json | T::Jsonb) => false,
        (T::Text | T::Varchar(_), T::Text | T::Varchar(_)) => true,
        // numeric against a float loses digits on the way: the general path decides how.
        (T::Numeric(_), T::Float4 | T::Float8) | (T::Float4 | T::Float8, T::Numeric(_)) => false,
        (left, right) if left.is_number() && right.is_number() => true,
        (left, right) => left == right,
    }
}

/// Casts whose result is the same here as in PostgreSQL.
fn is_castable(from: DataType, to: DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (from, to) if from.is_number() && to.is_number() => true,
        (T::Text | T::Varchar(_), T::Char(_)) | (T::Char(_), _) => false,
        (_, to) if to.is_text() => !matches!(to, T::Char(_)),
        (T::Text | T::Varchar(_), _) => true,
        (T::Date, T::Timestamp | T::TimestampTz) => true,
        (T::Timestamp, T::Date | T::Time | T::TimestampTz) => true,
        (T::TimestampTz, T::Date | T::Time | T::Timestamp) => true,
        (T::Bool, T::Int4) | (T::Int4, T::Bool) => true,
        (from, to) => from.without_modifiers() == to.without_modifiers(),
    }
}

/// Whether a value of type `from` may be stored in a column of type `to` without a cast being written.
pub(crate) fn is_assignable(from: DataType, to: DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (from, to) if from.is_number() && to.is_number() => true,
        // Every type can be assigned to text.
        (_, to) if to.is_text() => true,
        (T::Date, T::Timestamp | T::TimestampTz) => true,
        (T::Timestamp, T::Date | T::Time | T::TimestampTz) => true,
        (T::TimestampTz, T::Date | T::Time | T::Timestamp) => true,
        (T::Time, T::Interval) | (T::Interval, T::Time) => true,
        (T::Json, T::Jsonb) | (T::Jsonb, T::Json) => true,
        (from, to) => from.without_modifiers() == to.without_modifiers(),
    }
}

/// The name PostgreSQL gives a result column without an alias.
pub(crate) fn output_name(expr: &Expr) -> String {
    named(expr).map_or_else(|| "?column?".to_owned(), |(name, _)| name)
}

/// A name, and whether it is a strong one: a column's or a function's, which a cast or CASE around it keeps, while a
/// type's name and "case" give way to what is further out (PostgreSQL's `FigureColname`).
fn named(expr: &Expr) -> Option<(String, bool)> {
    let weak = |to: &ast::DataType| data_type(to).ok().map(|to| (to.type_name().to_owned(), false));
    match expr {
        Expr::Identifier(ident) => Some((name_of(ident), true)),
        Expr::CompoundIdentifier(idents) => idents.last().map(|ident| (name_of(ident), true)),
        Expr::Nested(inner) => named(inner),
        Expr::Cast { expr, data_type: to, .. } => named(expr).filter(|(_, strong)| *strong).or_else(|| weak(to)),
        Expr::TypedString(typed) => weak(&typed.data_type),
        Expr::Interval(_) => Some(("interval".to_owned(), false)),
        Expr::Value(value) if matches!(value.value, Literal::Boolean(_)) => Some(("bool".to_owned(), false)),
        Expr::Function(function) => match function.name.0.last() {
            Some(ObjectNamePart::Identifier(name)) => Some((name_of(name), true)),
            _ => None,
        },
        Expr::Case { else_result, .. } => else_result
            .as_deref()
            .and_then(named)
            .filter(|(_, strong)| *strong)
            .or_else(|| Some(("case".to_owned(), false))),
        _ => None,
    }
}
