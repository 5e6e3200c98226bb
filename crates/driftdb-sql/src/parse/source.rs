//! The text of a query string: its tokens, its statements, and where in it something stands.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    Cte, Expr, Ident, ObjectName, Query, Select, SelectItem, SetExpr, Spanned, TableFactor,
};
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Word};
use driftdb_engine::Charge;
use driftdb_types::{Error, Result, SqlState};

use super::dialect::DriftDialect;

/// Operators at one level of parentheses and between two commas: each makes the tree a level deeper, and walking a
/// deep tree takes stack.
const OPERATORS_MAX: usize = 1000;

/// What one token of a statement takes in memory, in bytes: itself, its part of the tree and of the plan (measured on
/// INSERT … VALUES and IN with half a million constants: 1 to 2 kB for each).
const TOKEN_BYTES: usize = 800;
/// How many copies of a text there are beside those of the message: the token and the value.
const TEXT_COPIES: usize = 2;

/// The text a client sent, with positions in it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    text: Arc<str>,
    /// For the statements made of it.
    _charge: Option<Arc<Charge>>,
}

/// About how much memory the statements of a text will take: constants are short or long, so marks outside of quotes are
/// counted.
pub(crate) fn memory_bytes(sql: &str) -> usize {
    let mut quoted = false;
    let mut marks = 0_usize;
    for byte in sql.bytes() {
        match byte {
            b'\'' => quoted = !quoted,
            b',' | b'(' | b')' | b';' | b'=' | b'<' | b'>' | b'+' | b'-' | b'*' | b'/' if !quoted => marks += 1,
            _ => {}
        }
    }
    sql.len().saturating_mul(TEXT_COPIES).saturating_add(marks.saturating_mul(TOKEN_BYTES))
}

impl Source {
    /// `charge` is for what is made of the text, which keeps it.
    pub(crate) fn new(sql: &str, charge: Option<Charge>) -> Source {
        Source { text: Arc::from(sql), _charge: charge.map(Arc::new) }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The position in characters from 1 that an error carries.
    pub(crate) fn position(&self, location: Location) -> Option<usize> {
        if location.line == 0 {
            return None;
        }
        let before: usize = self
            .text
            .split_inclusive('\n')
            .take(usize::try_from(location.line).ok()?.saturating_sub(1))
            .map(|line| line.chars().count())
            .sum();
        before.checked_add(usize::try_from(location.column).ok()?)
    }

    /// The error, pointing at where `node` begins.
    pub(crate) fn locate(&self, error: Error, node: &impl Place) -> Error {
        if error.position.is_some() {
            return error;
        }
        match self.position(node.place()) {
            Some(position) => error.at(position),
            None => error,
        }
    }

    /// The text between two locations (the end excluded).
    pub(crate) fn slice(&self, start: Location, end: Location) -> Option<&str> {
        let offset = |location: Location| -> Option<usize> {
            let position = self.position(location)?;
            let mut at = self.text.char_indices().map(|(index, _)| index).chain([self.text.len()]);
            at.nth(position.checked_sub(1)?)
        };
        self.text.get(offset(start)?..offset(end)?)
    }

    /// A syntax error at a token.
    pub(crate) fn syntax_error(&self, token: Option<&TokenWithSpan>) -> Error {
        match token {
            Some(TokenWithSpan { token: Token::EOF, .. }) | None => {
                Error::new(SqlState::SYNTAX_ERROR, "syntax error at end of input").at(self.text.chars().count() + 1)
            }
            Some(TokenWithSpan { token, span }) => {
                let shown = self.slice(span.start, span.end).map_or_else(|| token.to_string(), str::to_owned);
                let error = Error::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{shown}\""));
                match self.position(span.start) {
                    Some(position) => error.at(position),
                    None => error,
                }
            }
        }
    }

    /// The tokens of each statement, without white space and comments; empty statements are left out.
    pub(crate) fn statements(&self) -> Result<Vec<Vec<TokenWithSpan>>> {
        let tokens = Tokenizer::new(&DriftDialect, &self.text).tokenize_with_location().map_err(|error| {
            let found = Error::new(SqlState::SYNTAX_ERROR, lower_first(&error.message));
            match self.position(error.location) {
                Some(position) => found.at(position),
                None => found,
            }
        })?;
        let mut statements = Vec::new();
        let mut current = Vec::new();
        for token in tokens {
            match token.token {
                Token::Whitespace(_) | Token::EOF => {}
                Token::SemiColon => statements.push(std::mem::take(&mut current)),
                Token::CustomBinaryOperator(ref operator) => match signs_after(operator) {
                    Some(length) => current.extend(split(&token, operator, length)),
                    None => current.push(token),
                },
                _ => current.push(token),
            }
        }
        statements.push(current);
        statements.retain(|tokens| !tokens.is_empty());
        for tokens in &statements {
            check_depth(tokens)?;
        }
        Ok(statements)
    }
}

/// PostgreSQL's rule for `a>-5`: an operator ends in a sign only if it holds a character that no operator of the standard
/// has. Gives the length of the operator without the signs that are not its own.
fn signs_after(operator: &str) -> Option<usize> {
    let own = operator.contains(|c| "~!@#%^&|`?".contains(c));
    let length = operator.trim_end_matches(['+', '-']).len().max(1);
    (!own && length < operator.len()).then_some(length)
}

/// The token of the first `length` bytes of an operator, and those of the signs behind it.
fn split(token: &TokenWithSpan, operator: &str, length: usize) -> Vec<TokenWithSpan> {
    let mut parts = Vec::new();
    let mut start = token.span.start;
    let (first, signs) = operator.split_at_checked(length).unwrap_or((operator, ""));
    let texts = std::iter::once(first).chain(signs.split_inclusive(['+', '-']));
    for text in texts {
        let end = Location { line: start.line, column: start.column + text.len() as u64 };
        let read = Tokenizer::new(&DriftDialect, text).tokenize().ok().and_then(|read| read.into_iter().next());
        let read = read.unwrap_or_else(|| Token::CustomBinaryOperator(text.to_owned()));
        parts.push(TokenWithSpan { token: read, span: Span { start, end } });
        start = end;
    }
    parts
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// Refuses what would nest too deeply to be walked.
fn check_depth(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut operators = vec![0_usize];
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket => operators.push(0),
            Token::RParen | Token::RBracket => {
                operators.pop();
                if operators.is_empty() {
                    operators.push(0);
                }
            }
            Token::Comma => {
                if let Some(count) = operators.last_mut() {
                    *count = 0;
                }
            }
            Token::Number(..) | Token::SingleQuotedString(_) | Token::Placeholder(_) | Token::Period => {}
            Token::Word(word) if !is_operator(word) => {}
            _ => {
                if let Some(count) = operators.last_mut() {
                    *count += 1;
                    if *count > OPERATORS_MAX {
                        return Err(Error::new(
                            SqlState::PROGRAM_LIMIT_EXCEEDED,
                            format!("an expression has more than {OPERATORS_MAX} operators in a row"),
                        )
                        .hint("Use IN (…), parentheses, or several statements."));
                    }
                }
            }
        }
    }
    Ok(())
}

fn is_operator(word: &Word) -> bool {
    word.quote_style.is_none()
        && ["and", "or", "not", "is", "like", "ilike", "between", "union", "except", "intersect", "join", "case"]
            .iter()
            .any(|operator| word.value.eq_ignore_ascii_case(operator))
}

/// Whether a token is this unquoted word, in any case.
pub(crate) fn is_word(token: Option<&TokenWithSpan>, wanted: &str) -> bool {
    matches!(token, Some(TokenWithSpan { token: Token::Word(word), .. })
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

/// Whether a token is this one.
pub(crate) fn is_token(token: Option<&TokenWithSpan>, wanted: &Token) -> bool {
    token.is_some_and(|token| token.token == *wanted)
}

/// A part of a statement that stands somewhere in its text.
pub(crate) trait Place {
    /// Where it begins.
    fn place(&self) -> Location;
}

macro_rules! spanned {
    ($($part:ty),*) => { $(impl Place for $part {
        fn place(&self) -> Location {
            self.span().start
        }
    })* };
}

spanned!(Cte, Expr, ObjectName, Query, Select, SelectItem, SetExpr, TableFactor);

impl Place for Ident {
    fn place(&self) -> Location {
        self.span.start
    }
}
