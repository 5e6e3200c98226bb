//! Expressions that DataFusion reads otherwise than PostgreSQL, as calls of our functions.

mod calls;
mod literals;

use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, CaseWhen, CastKind, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, ObjectNamePart, TrimWhereField, TypedString,
    UnaryOperator, Value as AstValue, ValueWithSpan, WindowFrameBound, WindowSpec, WindowType,
};
use driftdb_types::{DataType, Error, Result, SqlState};

pub(super) use self::calls::function_name;
use self::calls::{SEARCH_PATH, function_call, is_search_path};
pub(super) use self::literals::show_relations;
use self::literals::{int4, interval_literal, literal, number, typed};
use crate::parse::name_of;
use crate::query::functions::extract_scale;
use crate::query::types::type_code;

/// What the name of a cast function begins with; the target type's code follows.
pub(crate) const CAST_PREFIX: &str = "\u{1}cast:";
/// What the name of an operator's function begins with; the operator follows.
pub(crate) const OPERATOR_PREFIX: &str = "\u{1}op:";

fn null() -> Expr {
    Expr::value(AstValue::Null)
}

/// NULL of type text.
pub(super) fn null_text() -> Expr {
    cast(null(), DataType::Text)
}

fn string(text: impl Into<String>) -> Expr {
    Expr::value(AstValue::SingleQuotedString(text.into()))
}

pub(super) fn call(name: impl Into<String>, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName::from(Ident::with_quote('"', name.into())),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn cast(expr: Expr, target: DataType) -> Expr {
    call(format!("{CAST_PREFIX}{}", type_code(target)), vec![expr])
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, null())
}

fn take_box(expr: &mut Box<Expr>) -> Expr {
    take(expr.as_mut())
}

/// The cast that [`number`] puts around an integer, taken off again.
pub(super) fn plain_number(expr: &mut Expr) {
    if let Expr::Cast { kind: CastKind::SafeCast, expr: inner, .. } = expr {
        *expr = take_box(inner);
    }
}

/// The numbers of a window's frame, which stand for themselves, in their literal form.
pub(super) fn frame_numbers(window: &mut WindowSpec) {
    let Some(frame) = &mut window.window_frame else { return };
    for bound in std::iter::once(&mut frame.start_bound).chain(&mut frame.end_bound) {
        if let WindowFrameBound::Preceding(Some(count)) | WindowFrameBound::Following(Some(count)) = bound {
            plain_number(count);
        }
    }
}

/// Rewrites one expression, whose parts are rewritten already. `placeholders` is the highest `$n` of the user's.
pub(super) fn rewrite(expr: &mut Expr, placeholders: usize) -> Result<()> {
    let replacement = match expr {
        Expr::Value(value) => literal(value)?,
        Expr::TypedString(TypedString { data_type: target, value, .. }) => {
            let text = value.value.clone().into_string().unwrap_or_default();
            Some(typed(string(text), target)?)
        }
        Expr::Cast { kind: CastKind::SafeCast, .. } => None,
        Expr::Cast { expr: inner, data_type: target, .. } => Some(typed(take_box(inner), target)?),
        Expr::Interval(interval) => Some(interval_literal(interval)?),
        Expr::UnaryOp { op, expr: inner } => unary(*op, inner)?,
        Expr::BinaryOp { .. } => binary(expr)?,
        Expr::Between { expr: inner, negated, low, high } => tuple_free(&[inner, low, high]).map(|()| {
            // PostgreSQL too evaluates the operand twice.
            let (operand, low, high) = (take_box(inner), take_box(low), take_box(high));
            let at_least = operation(operand.clone(), BinaryOperator::GtEq, low);
            let at_most = operation(operand, BinaryOperator::LtEq, high);
            Some(negate_if(*negated, operation(at_least, BinaryOperator::And, at_most)))
        })?,
        Expr::InSubquery { expr: inner, .. } if matches!(inner.as_ref(), Expr::Tuple(_)) => {
            return Err(Error::unsupported("a row IN a subquery"));
        }
        Expr::CompoundFieldAccess { .. } => return Err(Error::unsupported("a subscript or field")),
        Expr::InList { expr: inner, list, negated } => in_tuples(inner, list, *negated)?,
        Expr::AnyOp { left, compare_op, right, .. } => quantified(left, compare_op, right, true)?,
        Expr::AllOp { left, compare_op, right } => quantified(left, compare_op, right, false)?,
        Expr::AtTimeZone { timestamp, time_zone } => {
            Some(call("timezone", vec![take_box(time_zone), take_box(timestamp)]))
        }
        Expr::Extract { field, expr: inner, .. } => {
            let field = match field {
                DateTimeField::Custom(ident) => name_of(ident),
                other => other.to_string().to_lowercase(),
            };
            let scale = extract_scale(&field);
            Some(call(format!("\u{1}extract:{scale}"), vec![string(field), take_box(inner)]))
        }
        Expr::Ceil { expr: inner, .. } => Some(call("ceil", vec![take_box(inner)])),
        Expr::Floor { expr: inner, .. } => Some(call("floor", vec![take_box(inner)])),
        Expr::Position { expr: inner, r#in } => Some(call("strpos", vec![take_box(r#in), take_box(inner)])),
        Expr::Substring { expr: inner, substring_from, substring_for, shorthand, .. } => {
            let name = if *shorthand { "substr" } else { "substring" };
            let from = substring_from.as_mut().map(take_box).unwrap_or_else(|| number("1"));
            let mut args = vec![take_box(inner), from];
            args.extend(substring_for.as_mut().map(take_box));
            Some(call(name, args))
        }
        Expr::Trim { expr: inner, trim_where, trim_what, trim_characters } => {
            let name = match trim_where {
                None | Some(TrimWhereField::Both) => "btrim",
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
            };
            let mut args = vec![take_box(inner)];
            args.extend(trim_what.as_mut().map(take_box));
            args.extend(trim_characters.take().unwrap_or_default());
            Some(call(name, args))
        }
        Expr::Overlay { expr: inner, overlay_what, overlay_from, overlay_for } => {
            let mut args = vec![take_box(inner), take_box(overlay_what), take_box(overlay_from)];
            args.extend(overlay_for.as_mut().map(take_box));
            Some(call("overlay", args))
        }
        Expr::Like { negated, expr: inner, pattern, escape_char, .. } => {
            like("~~", *negated, inner, pattern, escape_char.as_ref())?
        }
        Expr::ILike { negated, expr: inner, pattern, escape_char, .. } => {
            like("~~*", *negated, inner, pattern, escape_char.as_ref())?
        }
        Expr::SimilarTo { negated, expr: inner, pattern, escape_char } => {
            like("similar to", *negated, inner, pattern, escape_char.as_ref())?
        }
        Expr::IsDistinctFrom(left, right) => Some(distinct_from(left, right)),
        Expr::IsNotDistinctFrom(left, right) => Some(negate_if(true, distinct_from(left, right))),
        Expr::Identifier(ident) => without_parentheses(ident),
        Expr::Collate { expr: inner, collation } => Some(collate(inner, collation)?),
        Expr::Nested(inner) => Some(take_box(inner)),
        Expr::Array(_) => return Err(Error::unsupported("an array")),
        Expr::Tuple(_) => None,
        Expr::Function(function) => {
            if let Some(WindowType::WindowSpec(window)) = &mut function.over {
                frame_numbers(window);
            }
            function_call(function, placeholders)?
        }
        Expr::Case { operand: Some(operand), conditions, .. } => {
            simple_case(operand, conditions);
            if let Expr::Case { operand, .. } = expr {
                *operand = None;
            }
            None
        }
        _ => None,
    };
    if let Some(replacement) = replacement {
        *expr = replacement;
    }
    Ok(())
}

fn distinct_from(left: &mut Box<Expr>, right: &mut Box<Expr>) -> Expr {
    call(format!("{OPERATOR_PREFIX}is distinct from"), vec![take_box(left), take_box(right)])
}

/// Functions without parentheses that sqlparser takes for columns.
fn without_parentheses(ident: &Ident) -> Option<Expr> {
    let name = ident.value.to_lowercase();
    let known = ident.quote_style.is_none() && matches!(name.as_str(), "current_schema" | "current_role");
    known.then(|| call(name, Vec::new()))
}

/// `CASE x WHEN y` compares with `=`, by the same rules of types.
fn simple_case(operand: &Expr, conditions: &mut [CaseWhen]) {
    for CaseWhen { condition, .. } in conditions {
        *condition = operation(operand.clone(), BinaryOperator::Eq, take(condition));
    }
}

/// The digits of the least int8.
const INT8_MIN: &str = "9223372036854775808";

fn unary(op: UnaryOperator, inner: &mut Box<Expr>) -> Result<Option<Expr>> {
    Ok(match op {
        UnaryOperator::Plus => Some(take_box(inner)),
        UnaryOperator::Minus => Some(match take_box(inner) {
            Expr::Cast { kind: CastKind::SafeCast, expr, .. } => int4(Expr::UnaryOp { op, expr }),
            // The least integers fit their types only with their sign.
            plain if plain == number("2147483648") => int4(Expr::UnaryOp { op, expr: Box::new(plain) }),
            plain if plain == number(INT8_MIN) => {
                let digits = Expr::value(AstValue::Number(INT8_MIN.to_owned(), false));
                Expr::UnaryOp { op, expr: Box::new(digits) }
            }
            plain @ Expr::Value(ValueWithSpan { value: AstValue::Number(..), .. }) => {
                Expr::UnaryOp { op, expr: Box::new(plain) }
            }
            other => call(format!("{OPERATOR_PREFIX}-"), vec![other]),
        }),
        UnaryOperator::BitwiseNot => Some(call(format!("{OPERATOR_PREFIX}~"), vec![take_box(inner)])),
        _ => None,
    })
}

/// A comparison as a call, so that DataFusion asks nothing about types that are not settled yet; the resolver makes an
/// operator of it again. AND and OR stay operators.
pub(super) fn operation(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    match comparison_name(&op) {
        Some(name) => call(format!("{OPERATOR_PREFIX}{name}"), vec![left, right]),
        None => Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) },
    }
}

fn comparison_name(op: &BinaryOperator) -> Option<&'static str> {
    use BinaryOperator as Op;
    Some(match op {
        Op::Eq => "=",
        Op::NotEq => "<>",
        Op::Lt => "<",
        Op::LtEq => "<=",
        Op::Gt => ">",
        Op::GtEq => ">=",
        _ => return None,
    })
}

fn negate_if(negated: bool, expr: Expr) -> Expr {
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) } } else { expr }
}

fn tuple_free(exprs: &[&Expr]) -> Result<()> {
    match exprs.iter().any(|expr| matches!(expr, Expr::Tuple(_))) {
        true => Err(Error::unsupported("BETWEEN with rows")),
        false => Ok(()),
    }
}

/// Operators become functions, all but AND and OR.
fn binary(expr: &mut Expr) -> Result<Option<Expr>> {
    let Expr::BinaryOp { left, op, right } = expr else { return Ok(None) };
    if let BinaryOperator::PGCustomBinaryOperator(parts) = op {
        let name = parts.last().cloned().unwrap_or_default();
        *op = known_operator(&name).ok_or_else(|| Error::unsupported(format!("the operator {name}")))?;
    }
    use BinaryOperator as Op;
    let (name, negated) = match op {
        Op::Plus => ("+", false),
        Op::Minus => ("-", false),
        Op::Multiply => ("*", false),
        Op::Divide => ("/", false),
        Op::Modulo => ("%", false),
        Op::PGExp => ("^", false),
        Op::StringConcat => ("||", false),
        Op::BitwiseAnd => ("&", false),
        Op::BitwiseOr => ("|", false),
        Op::PGBitwiseXor => ("#", false),
        Op::PGBitwiseShiftLeft => ("<<", false),
        Op::PGBitwiseShiftRight => (">>", false),
        Op::PGRegexMatch => ("~", false),
        Op::PGRegexIMatch => ("~*", false),
        Op::PGRegexNotMatch => ("~", true),
        Op::PGRegexNotIMatch => ("~*", true),
        Op::PGLikeMatch => ("~~", false),
        Op::PGILikeMatch => ("~~*", false),
        Op::PGNotLikeMatch => ("~~", true),
        Op::PGNotILikeMatch => ("~~*", true),
        Op::Arrow => ("->", false),
        Op::LongArrow => ("->>", false),
        Op::HashArrow => ("#>", false),
        Op::HashLongArrow => ("#>>", false),
        Op::AtArrow => ("@>", false),
        Op::ArrowAt => ("<@", false),
        Op::Question => ("?", false),
        Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq => {
            if let Some(rows) = row_comparison(left, op, right)? {
                return Ok(Some(rows));
            }
            return Ok(Some(operation(take_box(left), op.clone(), take_box(right))));
        }
        _ => return Ok(None),
    };
    let called = call(format!("{OPERATOR_PREFIX}{name}"), vec![take_box(left), take_box(right)]);
    Ok(Some(negate_if(negated, called)))
}

fn known_operator(name: &str) -> Option<BinaryOperator> {
    use BinaryOperator as Op;
    Some(match name {
        "+" => Op::Plus,
        "-" => Op::Minus,
        "*" => Op::Multiply,
        "/" => Op::Divide,
        "%" => Op::Modulo,
        "=" => Op::Eq,
        "<>" | "!=" => Op::NotEq,
        "<" => Op::Lt,
        "<=" => Op::LtEq,
        ">" => Op::Gt,
        ">=" => Op::GtEq,
        "||" => Op::StringConcat,
        "~" => Op::PGRegexMatch,
        "~*" => Op::PGRegexIMatch,
        "!~" => Op::PGRegexNotMatch,
        "!~*" => Op::PGRegexNotIMatch,
        "~~" => Op::PGLikeMatch,
        "~~*" => Op::PGILikeMatch,
        "!~~" => Op::PGNotLikeMatch,
        "!~~*" => Op::PGNotILikeMatch,
        _ => return None,
    })
}

/// `(a, b) = (c, d)` column by column; for `<` and its kin the first column that differs decides.
fn row_comparison(left: &mut Box<Expr>, op: &BinaryOperator, right: &mut Box<Expr>) -> Result<Option<Expr>> {
    let (lefts, rights) = match (left.as_mut(), right.as_mut()) {
        (Expr::Tuple(lefts), Expr::Tuple(rights)) => (std::mem::take(lefts), std::mem::take(rights)),
        (Expr::Tuple(_), _) | (_, Expr::Tuple(_)) => {
            return Err(Error::unsupported("a row compared with something else"));
        }
        _ => return Ok(None),
    };
    if lefts.len() != rights.len() || lefts.is_empty() {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "unequal number of entries in row expressions"));
    }
    use BinaryOperator as Op;
    let strict = match op {
        Op::Eq => return Ok(Some(all_equal(lefts, rights))),
        Op::NotEq => return Ok(Some(negate_if(true, all_equal(lefts, rights)))),
        Op::Lt | Op::LtEq => Op::Lt,
        _ => Op::Gt,
    };
    let mut pairs: Vec<(Expr, Expr)> = lefts.into_iter().zip(rights).collect();
    let Some((left, right)) = pairs.pop() else { return Ok(None) };
    let mut result = operation(left, op.clone(), right);
    while let Some((left, right)) = pairs.pop() {
        let equal = operation(left.clone(), Op::Eq, right.clone());
        let decided = operation(left, strict.clone(), right);
        result = operation(decided, Op::Or, operation(equal, Op::And, result));
    }
    Ok(Some(result))
}

fn all_equal(lefts: Vec<Expr>, rights: Vec<Expr>) -> Expr {
    lefts
        .into_iter()
        .zip(rights)
        .map(|(left, right)| operation(left, BinaryOperator::Eq, right))
        .reduce(|all, one| operation(all, BinaryOperator::And, one))
        .unwrap_or_else(|| Expr::value(AstValue::Boolean(true)))
}

/// `(a, b) IN ((1, 2), …)`.
fn in_tuples(left: &mut Box<Expr>, list: &mut Vec<Expr>, negated: bool) -> Result<Option<Expr>> {
    let Expr::Tuple(lefts) = left.as_ref() else {
        return match list.iter().any(|item| matches!(item, Expr::Tuple(_))) {
            true => Err(Error::new(SqlState::UNDEFINED_FUNCTION, "operator does not exist: a value = a row")),
            false => Ok(None),
        };
    };
    let mut any: Option<Expr> = None;
    for item in std::mem::take(list) {
        let Expr::Tuple(rights) = item else {
            return Err(Error::unsupported("a row compared with something else"));
        };
        if rights.len() != lefts.len() {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "unequal number of entries in row expressions"));
        }
        let equal = all_equal(lefts.clone(), rights);
        any = Some(match any {
            None => equal,
            Some(before) => operation(before, BinaryOperator::Or, equal),
        });
    }
    Ok(any.map(|any| negate_if(negated, any)))
}

/// `x = ANY (ARRAY[…])` and `x <> ALL (ARRAY[…])` are IN and NOT IN. Over a subquery DataFusion knows the construct.
fn quantified(left: &mut Box<Expr>, op: &BinaryOperator, right: &mut Box<Expr>, any: bool) -> Result<Option<Expr>> {
    let negated = match (op, any) {
        (BinaryOperator::Eq, true) => false,
        (BinaryOperator::NotEq, false) => true,
        _ => {
            return match right.as_ref() {
                Expr::Subquery(_) => Ok(None),
                _ => Err(Error::unsupported(format!("{op} {} over an array", if any { "ANY" } else { "ALL" }))),
            };
        }
    };
    let list = match right.as_mut() {
        Expr::Subquery(_) => {
            let Expr::Subquery(subquery) = take_box(right) else { return Ok(None) };
            return Ok(Some(Expr::InSubquery { expr: Box::new(take_box(left)), subquery, negated }));
        }
        // The array's rewriting left its elements in a row, see `array_to_row`.
        Expr::Tuple(elements) => std::mem::take(elements),
        Expr::Value(ValueWithSpan { value: AstValue::SingleQuotedString(text), .. }) => array_text(text)?,
        Expr::Function(function) if is_search_path(function) => {
            SEARCH_PATH.iter().map(|schema| string(*schema)).collect()
        }
        _ => return Err(Error::unsupported(format!("{} over an array", if any { "= ANY" } else { "<> ALL" }))),
    };
    Ok(Some(Expr::InList { expr: Box::new(take_box(left)), list, negated }))
}

/// The array of `= ANY (ARRAY[…])`, so that the walk does not refuse it as an array value.
pub(super) fn array_to_row(expr: &mut Expr) {
    let right = match expr {
        Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => right,
        _ => return,
    };
    while let Expr::Nested(inner) = right.as_mut() {
        **right = take_box(inner);
    }
    if let Expr::Array(Array { elem, .. }) = right.as_mut() {
        let elements = std::mem::take(elem);
        **right = Expr::Tuple(elements);
    }
}

/// The elements of a simple array literal such as `{r,p}`.
fn array_text(text: &str) -> Result<Vec<Expr>> {
    let inner = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(|| {
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{text}\""))
    })?;
    if inner.contains(['"', '\\', '{']) {
        return Err(Error::unsupported("an array literal with quotes"));
    }
    Ok(inner.split(',').filter(|part| !part.is_empty()).map(|part| string(part.trim())).collect())
}

fn like(
    name: &str,
    negated: bool,
    inner: &mut Box<Expr>,
    pattern: &mut Box<Expr>,
    escape: Option<&ValueWithSpan>,
) -> Result<Option<Expr>> {
    let mut args = vec![take_box(inner), take_box(pattern)];
    if let Some(escape) = escape {
        let text = escape
            .value
            .clone()
            .into_string()
            .ok_or_else(|| Error::new(SqlState::SYNTAX_ERROR, "ESCAPE needs a string"))?;
        if text.chars().count() > 1 {
            return Err(Error::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string")
                .hint("Escape string must be empty or one character."));
        }
        args.push(string(text));
    }
    Ok(Some(negate_if(negated, call(format!("{OPERATOR_PREFIX}{name}"), args))))
}

/// Text is ordered by its bytes, which is what the collations "C" and ucs_basic mean, and our default.
fn collate(inner: &mut Box<Expr>, collation: &ObjectName) -> Result<Expr> {
    let name = match collation.0.last() {
        Some(ObjectNamePart::Identifier(ident)) => ident.value.to_lowercase(),
        _ => String::new(),
    };
    match name.as_str() {
        "c" | "posix" | "default" | "ucs_basic" => Ok(take_box(inner)),
        _ => Err(Error::unsupported(format!("the collation {collation}"))),
    }
}
