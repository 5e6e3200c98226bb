//! Literals and casts.

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType as AstType, Expr, Interval, ObjectNamePart, Select, SelectItem, UnaryOperator,
    Value as AstValue, ValueWithSpan,
};
use driftdb_types::{DataType, Error, Result, SqlState};

use super::{call, cast, string, take, take_box};
use crate::parse::{data_type, name_of};

/// An integer literal of type int4. The kind of cast, which no user can write, marks it so that it can be taken off where
/// a plain number is wanted.
pub(super) fn int4(plain: Expr) -> Expr {
    Expr::Cast {
        kind: CastKind::SafeCast,
        expr: Box::new(plain),
        data_type: AstType::Int(None),
        array: false,
        format: None,
    }
}

/// An integer literal is an int4 if it fits, else an int8, else a numeric; DataFusion makes each an int8.
pub(super) fn number(digits: &str) -> Expr {
    let plain = Expr::value(AstValue::Number(digits.to_owned(), false));
    if digits.parse::<i32>().is_ok() {
        return int4(plain);
    }
    let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole && digits.parse::<i64>().is_err() {
        return cast(string(digits), DataType::Numeric(Some((38, 0))));
    }
    plain
}

pub(super) fn literal(value: &ValueWithSpan) -> Result<Option<Expr>> {
    Ok(match &value.value {
        AstValue::Number(digits, _) => Some(number(&digits.replace('_', ""))),
        AstValue::EscapedStringLiteral(text) | AstValue::UnicodeStringLiteral(text) => Some(string(text.clone())),
        AstValue::DollarQuotedString(text) => Some(string(text.value.clone())),
        _ => None,
    })
}

/// A number as it was written, where `expr` is one.
fn written_number(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(ValueWithSpan { value: AstValue::Number(digits, _), .. }) => Some(digits.clone()),
        Expr::Cast { kind: CastKind::SafeCast, expr, .. } => written_number(expr),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            written_number(expr).filter(|digits| !digits.starts_with('-')).map(|digits| format!("-{digits}"))
        }
        _ => None,
    }
}

/// A result of type regclass is the relation's name. Further in it is a number, which is what relations are joined by.
pub(in crate::query::rewrite) fn show_relations(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
            && let Expr::Cast { data_type: AstType::Regclass, .. } = expr
        {
            *expr = call(REGCLASS_NAME, vec![take(expr)]);
        }
    }
}

const REGCLASS: &str = "\u{1}regclass";

const REGCLASS_NAME: &str = "\u{1}regclass_name";

pub(super) fn typed(expr: Expr, target: &AstType) -> Result<Expr> {
    if let AstType::Custom(name, modifiers) = target
        && let (Some(ObjectNamePart::Identifier(last)), true) = (name.0.last(), modifiers.is_empty())
    {
        match name_of(last).as_str() {
            // Object identifiers are numbers; the names of objects are looked up in the catalog.
            "oid" => return Ok(cast(expr, DataType::Int8)),
            "regclass" => return Ok(call(REGCLASS, vec![expr])),
            "regtype" => return Ok(call("\u{1}regtype", vec![expr])),
            "regproc" | "regprocedure" | "regnamespace" | "regrole" | "name" | "cstring" => {
                return Ok(cast(expr, DataType::Text));
            }
            "char" if last.quote_style.is_some() => return Ok(cast(expr, DataType::Text)),
            _ => {}
        }
    }
    if matches!(target, AstType::Regclass) {
        return Ok(call(REGCLASS, vec![expr]));
    }
    if let AstType::Interval { fields: Some(_), .. } = target {
        return Err(Error::unsupported(format!("the type {target}")));
    }
    let target = data_type(target)?;
    let is_relation = |expr: &Expr| match expr {
        Expr::Function(function) => {
            matches!(function.name.0.as_slice(), [ObjectNamePart::Identifier(name)] if name.value == REGCLASS)
        }
        _ => false,
    };
    if target.is_text() && is_relation(&expr) {
        return Ok(cast(call(REGCLASS_NAME, vec![expr]), target));
    }
    // A number that is cast to a fraction is read as one: it may be beyond what a decimal holds.
    if matches!(target, DataType::Float4 | DataType::Float8 | DataType::Numeric(_))
        && let Some(digits) = written_number(&expr)
    {
        return Ok(cast(string(digits), target));
    }
    Ok(cast(expr, target))
}

pub(super) fn interval_literal(interval: &mut Interval) -> Result<Expr> {
    let Interval { value, leading_field, leading_precision, last_field, fractional_seconds_precision } = interval;
    if leading_precision.is_some() || last_field.is_some() || fractional_seconds_precision.is_some() {
        return Err(Error::unsupported("INTERVAL with a range or precision of fields"));
    }
    let text = match take_box(value) {
        Expr::Value(ValueWithSpan { value: AstValue::SingleQuotedString(text), .. }) => text,
        _ => return Err(Error::new(SqlState::SYNTAX_ERROR, "INTERVAL needs a string")),
    };
    let text = match leading_field {
        None => text,
        // `INTERVAL '5' DAY`: the field is the unit of a bare number.
        Some(field) => format!("{text} {}", field.to_string().to_lowercase()),
    };
    Ok(cast(string(text), DataType::Interval))
}
