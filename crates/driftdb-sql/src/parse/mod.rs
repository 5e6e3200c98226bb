//! From text to statements that are allowed.
//!
//! Text → tokens → one slice of tokens a statement → system-time clauses rewritten → commands parsed here, the rest by
//! sqlparser → checked part by part against what is done → [`Kind`]. All of a query string is parsed before any of it
//! runs, as in PostgreSQL.

mod allow;
mod command;
mod convert;
mod copy;
mod define;
mod dialect;
mod keeping;
mod names;
mod refusals;
mod shorthand;
mod source;
mod statement;
pub(crate) mod temporal;
#[cfg(test)]
mod tests;
mod types;

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{Expr, Ident, LimitClause, Query, Value};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};
use driftdb_engine::{Charge, LockMode};
use driftdb_types::{DataType, Error, Result, SqlState};

use self::allow::{Found, Walk};
pub(crate) use self::convert::{is_default, set_columns};
pub(crate) use self::names::{TableName, name_of, plain_table_name};
pub(crate) use self::source::{Source, memory_bytes};
pub(crate) use self::statement::*;
pub(crate) use self::types::data_type;

/// Deeper nesting of parentheses and subqueries is refused: every level takes stack.
const NESTING_MAX: usize = 128;

/// One parsed and checked statement. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Statement {
    parsed: Arc<Parsed>,
}

#[derive(Debug)]
pub(crate) struct Parsed {
    source: Source,
    kind: Kind,
    placeholders: usize,
    types: Vec<Option<DataType>>,
}

impl Statement {
    pub(crate) fn kind(&self) -> &Kind {
        &self.parsed.kind
    }

    pub(crate) fn source(&self) -> &Source {
        &self.parsed.source
    }

    /// The highest parameter number, `$n`, that the statement uses.
    pub fn parameters(&self) -> usize {
        self.parsed.placeholders
    }

    /// The types of parameters that can be told from the text where planning does not see them: in the arguments of
    /// functions in FROM and in points of system time, both of which are values before there is a plan.
    pub(crate) fn parameter_types(&self) -> &[Option<DataType>] {
        &self.parsed.types
    }

    /// Whether the statement ends, or goes back in, a transaction: the only kind that runs in a failed one.
    pub fn ends_transaction(&self) -> bool {
        matches!(self.kind(), Kind::Commit { .. } | Kind::Rollback { .. } | Kind::RollbackTo(_))
    }

    /// The statement that a cursor-less client's text means as a query, for the queries DML builds.
    pub(crate) fn from_kind(source: &Source, kind: Kind, placeholders: usize) -> Statement {
        Statement { parsed: Arc::new(Parsed { source: source.clone(), kind, placeholders, types: Vec::new() }) }
    }
}

/// Parses all statements of a query string.
pub(crate) fn parse(sql: &str) -> Result<Vec<Statement>> {
    parse_charged(sql, None)
}

/// The same of a text whose memory was counted: the statements keep the charge.
pub(crate) fn parse_charged(sql: &str, charge: Option<Charge>) -> Result<Vec<Statement>> {
    if sql.contains('\0') {
        return Err(Error::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, "a statement cannot contain a zero byte"));
    }
    let source = Source::new(sql, charge);
    source.statements()?.into_iter().map(|tokens| statement_of(&source, tokens)).collect()
}

/// Parses one statement from its tokens.
pub(crate) fn statement_of(source: &Source, tokens: Vec<TokenWithSpan>) -> Result<Statement> {
    if tokens.is_empty() {
        return Err(source.syntax_error(None));
    }
    let (tokens, names) = column_names(tokens);
    if let Some(kind) = command::command(source, &tokens)? {
        let placeholders = placeholders_of(&tokens);
        return Ok(Statement::from_kind(source, kind, placeholders));
    }
    refusals::refuse(source, &tokens)?;
    let (tokens, is_erase) = keeping::erase_as_delete(tokens);
    let (tokens, unsaid) = shorthand::spell_out(tokens);
    let (tokens, moved) = temporal::rewrite(source, tokens)?;
    let mut parser = Parser::new(&dialect::DriftDialect)
        .with_recursion_limit(NESTING_MAX)
        .with_tokens_with_locations(tokens.clone());
    let mut parsed = parser.parse_statement().map_err(|error| parser_error(source, &tokens, &error))?;
    match parser.peek_token_ref() {
        TokenWithSpan { token: Token::EOF, .. } => {}
        token => return Err(source.syntax_error(Some(token))),
    }
    temporal::restore_aliases(&mut parsed, moved)?;
    let mut walk = Walk::new(source);
    let mut kind = convert::convert(source, parsed, &mut walk)?;
    if is_erase {
        kind = keeping::erase(kind)?;
    }
    match &mut kind {
        Kind::CreateTableAs(create) => {
            create.columns = names;
            if unsaid.no_data {
                without_rows(&mut create.query);
            }
        }
        Kind::Query(query) if unsaid.key => {
            if let Some(lock) = &mut query.lock {
                lock.mode = if lock.mode == LockMode::Share { LockMode::KeyShare } else { LockMode::NoKeyUpdate };
            }
        }
        _ => {}
    }
    let Found { placeholders, types } = walk.found;
    Ok(Statement { parsed: Arc::new(Parsed { source: source.clone(), kind, placeholders, types }) })
}

/// Takes the column names out of `CREATE TABLE t (a, b) AS …`, which sqlparser would want types for.
fn column_names(mut tokens: Vec<TokenWithSpan>) -> (Vec<TokenWithSpan>, Vec<Ident>) {
    let is_create = source::is_word(tokens.first(), "create") && source::is_word(tokens.get(1), "table");
    let open = tokens.iter().position(|token| token.token == Token::LParen);
    let close = tokens.iter().position(|token| token.token == Token::RParen);
    let (true, Some(open), Some(close)) = (is_create, open, close) else { return (tokens, Vec::new()) };
    let follows = tokens.get(close + 1);
    if !source::is_word(follows, "as") && !source::is_word(follows, "with") {
        return (tokens, Vec::new());
    }
    let mut names = Vec::new();
    for (position, token) in tokens.get(open + 1..close).unwrap_or_default().iter().enumerate() {
        match (&token.token, position % 2) {
            (Token::Word(word), 0) => {
                names.push(Ident { value: word.value.clone(), quote_style: word.quote_style, span: token.span });
            }
            (Token::Comma, 1) => {}
            _ => return (tokens, Vec::new()),
        }
    }
    // Names and commas alternate, and a name is last.
    if names.is_empty() || close - open != 2 * names.len() {
        return (tokens, Vec::new());
    }
    tokens.drain(open..=close);
    (tokens, names)
}

/// Leaves of a query only its columns, as WITH NO DATA wants.
fn without_rows(query: &mut Query) {
    query.fetch = None;
    let none = Expr::value(Value::Number("0".to_owned(), false));
    query.limit_clause = Some(LimitClause::LimitOffset { limit: Some(none), offset: None, limit_by: Vec::new() });
}

/// The highest placeholder of EXPLAIN and PREPARE, whose statement is inside.
fn placeholders_of(tokens: &[TokenWithSpan]) -> usize {
    let is_explain = source::is_word(tokens.first(), "explain") || source::is_word(tokens.first(), "execute");
    if !is_explain {
        return 0;
    }
    tokens
        .iter()
        .filter_map(|token| match &token.token {
            Token::Placeholder(name) => name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok()),
            _ => None,
        })
        .max()
        .unwrap_or(0)
}

/// PostgreSQL's words for a parser's error, at the token where parsing stopped.
fn parser_error(source: &Source, tokens: &[TokenWithSpan], error: &ParserError) -> Error {
    let message = match error {
        ParserError::RecursionLimitExceeded => {
            return Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "the statement is nested too deeply");
        }
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
    };
    // "Expected: x, found: y at Line: 1, Column: 9"
    let location = message.rsplit_once(" at Line: ").and_then(|(_, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        Some(Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
    });
    match location {
        Some(location) => match tokens.iter().find(|token| token.span.start == location) {
            Some(token) => source.syntax_error(Some(token)),
            None => source.syntax_error(None),
        },
        None if message.contains("found: EOF") => source.syntax_error(None),
        None => Error::new(SqlState::SYNTAX_ERROR, format!("syntax error: {message}")),
    }
}

/// Parses a stored expression, such as a column's default.
pub(crate) fn parse_expression(text: &str) -> Result<Expr> {
    let mut parser = Parser::new(&dialect::DriftDialect)
        .try_with_sql(text)
        .map_err(|error| Error::internal(format!("a stored expression cannot be read: {text}: {error}")))?;
    parser
        .parse_expr()
        .map_err(|error| Error::internal(format!("a stored expression cannot be parsed: {text}: {error}")))
}

/// Parses a query the code itself writes.
pub(crate) fn parse_query(text: &str) -> Result<Query> {
    match parse(text)?.first().map(Statement::kind) {
        Some(Kind::Query(query)) => Ok(query.query.clone()),
        _ => Err(Error::internal(format!("not a query: {text}"))),
    }
}
