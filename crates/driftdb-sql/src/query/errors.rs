//! DataFusion's errors as ours: the right SQLSTATE, PostgreSQL's words where they are known, and never a word of the
//! machinery below.

use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use driftdb_types::{Error, SqlState};

use super::rewrite::SUBQUERY_ALIAS;

/// Wraps one of our errors so that it passes through DataFusion whole.
pub(crate) fn into_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// What DataFusion reported, as a client sees it.
pub(crate) fn from_datafusion(error: DataFusionError) -> Error {
    let position = position_of(&error);
    let mut mapped = map(error);
    if mapped.position.is_none() {
        mapped.position = position;
    }
    mapped
}

/// The place in the text that a diagnostic points at is given in lines and columns; it is kept only for the first
/// line, where the column is the character's number.
fn position_of(error: &DataFusionError) -> Option<usize> {
    let span = error.diagnostic()?.span?;
    (span.start.line == 1 && span.start.column > 0).then(|| usize::try_from(span.start.column).ok()).flatten()
}

fn map(error: DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => external(inner),
        DataFusionError::ArrowError(inner, _) => arrow(*inner),
        DataFusionError::SchemaError(inner, _) => schema(&inner),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => map(*inner),
        DataFusionError::Collection(errors) => {
            errors.into_iter().next().map_or_else(|| Error::internal("a query failed without a reason"), map)
        }
        DataFusionError::Shared(inner) => match std::sync::Arc::try_unwrap(inner) {
            Ok(inner) => map(inner),
            Err(shared) => shared_error(&shared),
        },
        DataFusionError::NotImplemented(message) => not_supported(&message),
        DataFusionError::Plan(message) => plan(&message),
        DataFusionError::ResourcesExhausted(message) => {
            Error::new(SqlState::OUT_OF_MEMORY, "out of memory: the query needs more than the server lets queries use")
                .detail(first_line(&message))
        }
        DataFusionError::Execution(message) => execution(&message),
        DataFusionError::IoError(error) => {
            Error::new(SqlState::IO_ERROR, format!("could not use a temporary file: {error}"))
        }
        DataFusionError::SQL(error, _) => Error::new(SqlState::SYNTAX_ERROR, parser_message(&error.to_string())),
        DataFusionError::Internal(message) => internal(&message),
        other => internal(&other.strip_backtrace()),
    }
}

fn external(inner: Box<dyn std::error::Error + Send + Sync>) -> Error {
    match inner.downcast::<Error>() {
        Ok(error) => *error,
        Err(inner) => match inner.downcast::<DataFusionError>() {
            Ok(error) => map(*error),
            Err(inner) => match inner.downcast::<ArrowError>() {
                Ok(error) => arrow(*error),
                Err(inner) => Error::internal(inner.to_string()),
            },
        },
    }
}

/// An error that others hold too cannot be taken apart; what can be read of it is copied.
fn shared_error(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => {
            inner.downcast_ref::<Error>().cloned().unwrap_or_else(|| Error::internal(inner.to_string()))
        }
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => shared_error(inner),
        DataFusionError::Shared(inner) => shared_error(inner),
        DataFusionError::ArrowError(inner, _) => arrow_message(&inner.to_string()),
        DataFusionError::SchemaError(inner, _) => schema(inner),
        DataFusionError::NotImplemented(message) => not_supported(message),
        DataFusionError::Plan(message) => plan(message),
        DataFusionError::Execution(message) => execution(message),
        DataFusionError::ResourcesExhausted(message) => {
            Error::new(SqlState::OUT_OF_MEMORY, "out of memory").detail(first_line(message))
        }
        other => internal(&other.strip_backtrace()),
    }
}

fn arrow(error: ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(inner) => external(inner),
        ArrowError::DivideByZero => Error::new(SqlState::DIVISION_BY_ZERO, "division by zero"),
        ArrowError::ArithmeticOverflow(message) => out_of_range(&message),
        other => arrow_message(&other.to_string()),
    }
}

fn out_of_range(message: &str) -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range").detail(first_line(message))
}

fn arrow_message(message: &str) -> Error {
    let lower = message.to_lowercase();
    if lower.contains("divide by zero") {
        Error::new(SqlState::DIVISION_BY_ZERO, "division by zero")
    } else if lower.contains("overflow")
        || lower.contains("too large to store")
        || lower.contains("can't cast value")
        || lower.contains("is too small to store")
    {
        out_of_range(message)
    } else if lower.contains("cannot cast string") || lower.contains("error parsing") || lower.contains("parser error")
    {
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax").detail(first_line(message))
    } else if lower.contains("not supported") || lower.contains("not yet implemented") {
        Error::unsupported(first_line(strip(message)))
    } else {
        Error::new(SqlState::INVALID_ARGUMENT, first_line(strip(message)))
    }
}

fn schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, .. }
            if field.relation.as_ref().is_some_and(|relation| relation.table() == SUBQUERY_ALIAS) =>
        {
            Error::unsupported("IN with a subquery that names columns of the outer query, here").hint("Use EXISTS.")
        }
        SchemaError::FieldNotFound { field, valid_fields } => {
            if let Some(relation) = &field.relation {
                let known = valid_fields.iter().any(|valid| valid.relation.as_ref() == Some(relation));
                if !known {
                    return Error::new(
                        SqlState::UNDEFINED_TABLE,
                        format!("missing FROM-clause entry for table \"{relation}\""),
                    );
                }
            }
            let name = field
                .relation
                .as_ref()
                .map_or_else(|| format!("\"{}\"", field.name), |relation| format!("{relation}.{}", field.name));
            Error::new(SqlState::UNDEFINED_COLUMN, format!("column {name} does not exist"))
        }
        SchemaError::AmbiguousReference { field } => {
            Error::new(SqlState::AMBIGUOUS_COLUMN, format!("column reference \"{}\" is ambiguous", field.name))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            Error::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column name \"{}\" is used more than once", clean_name(name)),
            )
            .hint("Give the columns of a subquery different names with AS.")
        }
    }
}

fn plan(message: &str) -> Error {
    let text = strip(message);
    let lower = text.to_lowercase();
    let new = |state: SqlState| Error::new(state, first_line(text));
    if let Some(name) = between(text, "Invalid function '", "'") {
        return Error::new(SqlState::UNDEFINED_FUNCTION, format!("function {name} does not exist"));
    }
    if lower.contains("correlated scalar subquery") || lower.contains("correlated column is not allowed") {
        return Error::unsupported("this form of correlated subquery");
    }
    if lower.contains("must appear in the group by clause")
        || lower.contains("must be in group by")
        || lower.contains("could not be resolved from available columns")
        || lower.contains("references non-aggregate")
    {
        return grouping(text);
    }
    if lower.contains("aggregate functions are not allowed in the where") {
        return Error::new(SqlState::GROUPING_ERROR, "aggregate functions are not allowed in WHERE");
    }
    if lower.contains("is nested inside") {
        return Error::new(SqlState::GROUPING_ERROR, "aggregate function calls cannot be nested");
    }
    if let Some(position) = between(text, "column out of bounds, specified: ", ",") {
        let clause = if lower.contains("order by") { "ORDER BY" } else { "GROUP BY" };
        return Error::new(
            SqlState::INVALID_COLUMN_REFERENCE,
            format!("{clause} position {position} is not in select list"),
        );
    }
    if lower.contains("aggregate functions are not allowed")
        || lower.contains("nested aggregate")
        || lower.contains("aggregate function calls cannot be nested")
    {
        return new(SqlState::GROUPING_ERROR);
    }
    if lower.contains("invalid qualifier") || lower.contains("missing from-clause") {
        return Error::new(
            SqlState::UNDEFINED_TABLE,
            format!("missing FROM-clause entry for table {}", last_word(text)),
        );
    }
    if lower.contains("projections require unique expression names")
        || lower.contains("duplicate unqualified field")
        || lower.contains("duplicate qualified field")
    {
        return new(SqlState::DUPLICATE_COLUMN).hint("Give the columns different names with AS.");
    }
    if lower.contains("order by position")
        || lower.contains("group by position")
        || lower.contains("cannot find column with position")
        || lower.contains("select list") && lower.contains("position")
    {
        return new(SqlState::INVALID_COLUMN_REFERENCE);
    }
    if lower.contains("only return one column")
        || lower.contains("should only return one column")
        || lower.contains("too many columns")
    {
        return Error::new(SqlState::SYNTAX_ERROR, "subquery must return only one column");
    }
    if lower.contains("select * with no tables") {
        return Error::new(SqlState::SYNTAX_ERROR, "SELECT * with no tables specified is not valid");
    }
    if lower.contains("union") && lower.contains("number of columns")
        || lower.contains("queries have different number of columns")
    {
        return Error::new(SqlState::SYNTAX_ERROR, "each UNION query must have the same number of columns");
    }
    if lower.contains("inconsistent data length across values list")
        || lower.contains("inconsistent data types across values list")
    {
        return Error::new(SqlState::SYNTAX_ERROR, "VALUES lists must all be the same length");
    }
    if lower.contains("already defined") || lower.contains("specified more than once") {
        return new(SqlState::DUPLICATE_TABLE);
    }
    if lower.contains("no function matches")
        || lower.contains("coercion from")
        || lower.contains("does not support zero arguments")
        || lower.contains("function") && lower.contains("expects")
    {
        return function_mismatch(text);
    }
    if lower.contains("cannot infer common argument type")
        || lower.contains("cannot coerce arithmetic expression")
        || lower.contains("there isn't result type")
    {
        return Error::new(SqlState::UNDEFINED_FUNCTION, "operator does not exist for these types")
            .hint("No operator matches the given argument types. You might need to add explicit type casts.")
            .detail(first_line(text));
    }
    if let Some((_, arrow)) = text.split_once(" returning ").filter(|_| lower.contains("non-boolean predicate")) {
        let shown = type_name(arrow.trim());
        return Error::new(
            SqlState::DATATYPE_MISMATCH,
            format!("argument of WHERE must be type boolean, not type {shown}"),
        );
    }
    if lower.contains("cannot create filter with non-boolean predicate")
        || lower.contains("type boolean")
        || lower.contains("case") && lower.contains("types")
    {
        return Error::new(SqlState::DATATYPE_MISMATCH, first_line(text));
    }
    if text.starts_with("Cannot automatically convert") {
        // Said of the second term of a recursive query.
        return Error::new(SqlState::DATATYPE_MISMATCH, "the terms of a recursive query have different types")
            .hint("Cast the output of the non-recursive term to the correct type.");
    }
    if lower.contains("incompatible inputs for union")
        || lower.contains("failed to coerce")
        || lower.contains("cannot be coerced")
    {
        return Error::new(SqlState::DATATYPE_MISMATCH, "types cannot be matched").detail(first_line(text));
    }
    if lower.contains("limit must be >= 0") || lower.contains("negative") && lower.contains("limit") {
        return Error::new(SqlState::INVALID_ROW_COUNT_IN_LIMIT, "LIMIT must not be negative");
    }
    if lower.contains("offset must be >=0") || lower.contains("offset must be >= 0") {
        return Error::new(SqlState::INVALID_ROW_COUNT_IN_OFFSET, "OFFSET must not be negative");
    }
    if lower.contains("exceeds the minimum supported scale")
        || lower.contains("exceeds the maximum supported")
        || lower.contains("cannot parse") && lower.contains("decimal")
    {
        return out_of_range(text);
    }
    if lower.contains("unsupported")
        || lower.contains("not supported")
        || lower.contains("not implemented")
        || lower.contains("physical plan does not support")
    {
        return not_supported(text);
    }
    if let Some(name) = between(text, "The window ", " is not defined") {
        return Error::new(SqlState::UNDEFINED_OBJECT, format!("window \"{name}\" does not exist"));
    }
    if lower.contains("distinct on expressions must match") {
        return new(SqlState::INVALID_COLUMN_REFERENCE);
    }
    if let Some(columns) = between(text, "Source table contains ", " columns but only ") {
        let names = between(text, "but only ", " names").unwrap_or_default();
        return match (names.parse::<usize>(), columns.parse::<usize>()) {
            (Ok(names), Ok(columns)) if names > columns => Error::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                format!("the table has {columns} columns available but {names} columns specified"),
            ),
            _ => Error::unsupported("an alias with fewer columns than the table has"),
        };
    }
    // It parsed, and nothing of it is known to be wrong: then it is something that DataFusion does not do.
    Error::unsupported("this query").detail(first_line(text))
}

/// PostgreSQL's name of an Arrow type in one of DataFusion's messages.
fn type_name(arrow: &str) -> &str {
    match arrow {
        "Int16" => "smallint",
        "Int32" => "integer",
        "Int64" => "bigint",
        "Float32" => "real",
        "Float64" => "double precision",
        "Utf8" => "text",
        "Date32" => "date",
        "Binary" => "bytea",
        other if other.starts_with("Decimal") => "numeric",
        other if other.starts_with("Timestamp") => "timestamp",
        other if other.starts_with("Interval") => "interval",
        _ => "another",
    }
}

fn grouping(text: &str) -> Error {
    match between(text, "Expression ", " could not be resolved").or_else(|| between(text, "\"", "\"")) {
        Some(column) => Error::new(
            SqlState::GROUPING_ERROR,
            format!(
                "column \"{}\" must appear in the GROUP BY clause or be used in an aggregate function",
                clean_name(column)
            ),
        ),
        None => Error::new(
            SqlState::GROUPING_ERROR,
            "a column must appear in the GROUP BY clause or be used in an aggregate function",
        ),
    }
}

fn function_mismatch(text: &str) -> Error {
    let name = between(text, "'", "'").unwrap_or("");
    let what = if name.is_empty() {
        "no function matches the given argument types".to_owned()
    } else {
        format!("function {} does not exist", clean_name(name))
    };
    Error::new(SqlState::UNDEFINED_FUNCTION, what)
        .hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

fn not_supported(message: &str) -> Error {
    let text = first_line(strip(message));
    let lower = text.to_lowercase();
    if lower.contains("decimal scale") || lower.contains("decimal precision") {
        return Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "a number is beyond the 38 digits of numeric")
            .detail(text);
    }
    if lower.contains("struct not supported by exprplanner") {
        return Error::unsupported("a row as a value");
    }
    if lower.contains("exprplanner") || lower.contains("unsupported ast node") {
        return Error::unsupported("this expression");
    }
    if lower.contains("physical plan does not support logical expression") {
        let what =
            ["OuterReferenceColumn", "ScalarSubquery", "InSubquery", "Exists"].into_iter().find(|w| text.contains(w));
        return Error::unsupported(match what {
            Some("ScalarSubquery" | "OuterReferenceColumn") => "this form of correlated subquery",
            _ => "a subquery here",
        });
    }
    if lower.contains("supported") || lower.contains("implemented") {
        Error::new(SqlState::FEATURE_NOT_SUPPORTED, text)
    } else {
        Error::unsupported(text)
    }
}

fn execution(message: &str) -> Error {
    let text = strip(message);
    let lower = text.to_lowercase();
    if lower.contains("more than one row") || lower.contains("scalar subquery") {
        Error::new(SqlState::CARDINALITY_VIOLATION, "more than one row returned by a subquery used as an expression")
    } else if lower.contains("divide by zero") || lower.contains("division by zero") {
        Error::new(SqlState::DIVISION_BY_ZERO, "division by zero")
    } else if lower.contains("overflow") || lower.contains("out of range") || lower.contains("too large") {
        out_of_range(text)
    } else if lower.contains("regular expression") || lower.contains("regex") {
        Error::new(SqlState::INVALID_ARGUMENT, "invalid regular expression").detail(first_line(text))
    } else if lower.contains("error parsing") || lower.contains("cannot cast") || lower.contains("invalid input") {
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, first_line(text))
    } else {
        Error::new(SqlState::INVALID_ARGUMENT, first_line(text))
    }
}

fn internal(message: &str) -> Error {
    let lower = message.to_lowercase();
    if lower.contains("correlated scalar subquery") {
        return Error::unsupported("this form of correlated subquery");
    }
    if lower.contains("decorrelat")
        || lower.contains("correlated")
        || lower.contains("outer reference")
        || lower.contains("outerreferencecolumn")
    {
        return Error::unsupported("this form of correlated subquery");
    }
    Error::internal("the query planner failed").detail(first_line(strip(message)))
}

fn parser_message(message: &str) -> String {
    first_line(message.trim_start_matches("sql parser error: "))
}

/// Removes the prefixes DataFusion puts before a message.
fn strip(message: &str) -> &str {
    let mut text = message.trim();
    loop {
        let before = text;
        for prefix in [
            "DataFusion error: ",
            "Error during planning: ",
            "This feature is not implemented: ",
            "Execution error: ",
            "Internal error: ",
            "Arrow error: ",
            "Schema error: ",
            "Invalid argument error: ",
            "Compute error: ",
            "Cast error: ",
            "Parser error: ",
        ] {
            text = text.strip_prefix(prefix).unwrap_or(text);
        }
        if text == before {
            return text;
        }
    }
}

fn first_line(message: &str) -> String {
    let line = strip(message).lines().next().unwrap_or_default();
    let line = line.split("This issue was likely caused by a bug in DataFusion").next().unwrap_or_default();
    clean_name(line.trim().trim_end_matches('.'))
}

fn last_word(text: &str) -> String {
    let word = text.split_whitespace().last().unwrap_or_default();
    if word.starts_with('"') { word.to_owned() } else { format!("\"{word}\"") }
}

/// Removes the marks that our rewriting puts into names.
pub(crate) fn clean_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1}' {
            // A mark is the character itself and the digits after it.
            let rest = chars.as_str();
            chars = rest.trim_start_matches(|c: char| c.is_ascii_digit()).chars();
        } else {
            out.push(c);
        }
    }
    out
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(found, _)| found)
}
