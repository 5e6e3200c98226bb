//! Calls of functions: their names, those that are not done, and the clock's readings.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
    Ident, ObjectName, ObjectNamePart, Value as AstValue, helpers::attached_token::AttachedToken,
};
use driftdb_types::{DataType, Error, Result, SqlState};

use super::literals::number;
use super::{cast, operation, string};
use crate::parse::name_of;
use crate::query::functions::is_not_done;

/// What `current_schemas(true)` gives.
pub(super) const SEARCH_PATH: [&str; 2] = ["pg_catalog", "public"];

pub(super) fn is_search_path(function: &Function) -> bool {
    matches!(function.name.0.last(), Some(ObjectNamePart::Identifier(name)) if name.value == "current_schemas")
}

/// `array_position(current_schemas(true), x)`, with which tools ask for a schema's place in the search path.
fn search_path_position(args: &FunctionArguments) -> Option<Expr> {
    let FunctionArguments::List(FunctionArgumentList { args, .. }) = args else { return None };
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(array))),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(schema)),
    ] = args.as_slice()
    else {
        return None;
    };
    if !is_search_path(array) {
        return None;
    }
    let place = |(place, name): (usize, &&str)| CaseWhen {
        condition: operation(schema.clone(), BinaryOperator::Eq, string(*name)),
        result: number(&(place + 1).to_string()),
    };
    Some(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: SEARCH_PATH.iter().enumerate().map(place).collect(),
        else_result: None,
    })
}

/// The name that a function is looked up by: without `pg_catalog.`, with `driftdb.`; `None` for one of too many parts.
pub(in crate::query::rewrite) fn function_name(name: &ObjectName) -> Result<Option<String>> {
    Ok(Some(match name.0.as_slice() {
        [ObjectNamePart::Identifier(function)] => name_of(function),
        [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(function)] => match name_of(schema).as_str() {
            "pg_catalog" => name_of(function),
            "driftdb" => format!("driftdb.{}", name_of(function)),
            other => {
                return Err(Error::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{other}\" does not exist")));
            }
        },
        _ => return Ok(None),
    }))
}

/// Function names lose `pg_catalog.`; the clock's readings become parameters, so that a plan outlives its moment.
pub(super) fn function_call(function: &mut Function, placeholders: usize) -> Result<Option<Expr>> {
    let name = match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] if name.value.starts_with('\u{1}') => return Ok(None),
        _ => function_name(&function.name)?.ok_or_else(|| {
            Error::new(SqlState::UNDEFINED_FUNCTION, format!("function {} does not exist", function.name))
        })?,
    };
    if name == "array_position"
        && let Some(position) = search_path_position(&function.args)
    {
        return Ok(Some(position));
    }
    if name == "generate_series" {
        return Err(Error::unsupported("generate_series outside of FROM"));
    }
    if is_not_done(&name) {
        return Err(Error::unsupported(format!("the function {name}")));
    }
    let no_args = match &function.args {
        FunctionArguments::None => true,
        FunctionArguments::List(list) => list.args.is_empty(),
        FunctionArguments::Subquery(_) => {
            return Err(Error::unsupported(format!("a subquery as the argument of {name}")));
        }
    };
    let transaction_time = || Expr::value(AstValue::Placeholder(format!("${}", placeholders + 1)));
    let statement_time = || Expr::value(AstValue::Placeholder(format!("${}", placeholders + 2)));
    if no_args {
        let replacement = match name.as_str() {
            "now" | "current_timestamp" | "transaction_timestamp" => transaction_time(),
            "statement_timestamp" => statement_time(),
            "current_date" => cast(transaction_time(), DataType::Date),
            "localtimestamp" => cast(transaction_time(), DataType::Timestamp),
            "localtime" => cast(transaction_time(), DataType::Time),
            "current_time" => return Err(Error::unsupported("time with time zone (current_time)")),
            _ => {
                // `current_user` and the like stand without parentheses.
                if matches!(function.args, FunctionArguments::None) {
                    function.args = FunctionArguments::List(FunctionArgumentList {
                        duplicate_treatment: None,
                        args: Vec::new(),
                        clauses: Vec::new(),
                    });
                }
                function.name = ObjectName::from(Ident::with_quote('"', name));
                return Ok(None);
            }
        };
        return Ok(Some(replacement));
    }
    if matches!(name.as_str(), "current_timestamp" | "localtimestamp" | "localtime" | "current_time") {
        return Err(Error::unsupported(format!("{name} with a precision")));
    }
    function.name = ObjectName::from(Ident::with_quote('"', name));
    Ok(None)
}
