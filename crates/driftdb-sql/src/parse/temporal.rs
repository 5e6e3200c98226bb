//! The system-time clauses of tables: SQL:2011's forms, written into the one form sqlparser knows.
//!
//! sqlparser parses `t FOR SYSTEM_TIME AS OF expr [alias]`. The other forms are rewritten to it *as tokens*, never as
//! text, with a marker, so that the parser itself finds where the expressions end:
//!
//! | written | parsed as |
//! |---|---|
//! | `AS OF @SEQ:42` | `AS OF __st_seq(42)` |
//! | `FROM a TO b` | `AS OF __st_from BETWEEN a AND b` |
//! | `BETWEEN a AND b` | `AS OF __st BETWEEN a AND b` |
//! | `CONTAINED IN (a, b)` | `AS OF __st_contained IN (a, b)` |
//! | `ALL` | `AS OF __st_all` |
//!
//! An alias that stands before the clause is taken out and put back on the parsed table.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart, TableAlias, TableFactor,
    TableVersion, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};
use driftdb_types::{Error, Result, SqlState};

use super::source::{Source, is_token, is_word};

const SEQ: &str = "__st_seq";
const BETWEEN: &str = "__st";
const FROM_TO: &str = "__st_from";
const CONTAINED: &str = "__st_contained";
const ALL: &str = "__st_all";

/// One point of system time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PointExpr<'a> {
    /// `@SEQ:n`: the expression is the commit's number.
    Seq(&'a Expr),
    /// Any expression: an integer is a commit's number, else it is a time.
    Expr(&'a Expr),
}

impl<'a> PointExpr<'a> {
    /// The expression, and whether it can only be a commit's number.
    pub(crate) fn parts(self) -> (&'a Expr, bool) {
        match self {
            PointExpr::Seq(expr) => (expr, true),
            PointExpr::Expr(expr) => (expr, false),
        }
    }
}

/// What a table's `FOR SYSTEM_TIME` clause says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SystemTime<'a> {
    /// The rows as they were at one point.
    AsOf(PointExpr<'a>),
    /// Versions with `from < b` and `to > a`.
    FromTo(PointExpr<'a>, PointExpr<'a>),
    /// Versions with `from <= b` and `to > a`.
    Between(PointExpr<'a>, PointExpr<'a>),
    /// Versions with `from >= a` and `to <= b`.
    ContainedIn(PointExpr<'a>, PointExpr<'a>),
    /// Every version.
    All,
}

/// Reads the clause back out of the parsed table. An error on every form of version that is not ours.
pub(crate) fn system_time_of(version: &TableVersion) -> Result<SystemTime<'_>> {
    let expr = match version {
        TableVersion::ForSystemTimeAsOf(expr) => expr,
        TableVersion::TimestampAsOf(_) => return Err(Error::unsupported("TIMESTAMP AS OF")),
        TableVersion::VersionAsOf(_) => return Err(Error::unsupported("VERSION AS OF")),
        TableVersion::Function(_) => {
            return Err(Error::unsupported("AT (…) or BEFORE (…) after a table")
                .hint("Write FOR SYSTEM_TIME AS OF. An alias named at or before needs AS."));
        }
        TableVersion::Changes { .. } => return Err(Error::unsupported("CHANGES")),
    };
    Ok(match expr {
        Expr::Identifier(ident) if is_marker(ident, ALL) => SystemTime::All,
        Expr::Between { expr: marker, negated: false, low, high } => match marker.as_ref() {
            Expr::Identifier(ident) if is_marker(ident, FROM_TO) => SystemTime::FromTo(point(low)?, point(high)?),
            Expr::Identifier(ident) if is_marker(ident, BETWEEN) => SystemTime::Between(point(low)?, point(high)?),
            _ => SystemTime::AsOf(PointExpr::Expr(expr)),
        },
        Expr::InList { expr: marker, negated: false, list } => match (marker.as_ref(), list.as_slice()) {
            (Expr::Identifier(ident), [low, high]) if is_marker(ident, CONTAINED) => {
                SystemTime::ContainedIn(point(low)?, point(high)?)
            }
            (Expr::Identifier(ident), _) if is_marker(ident, CONTAINED) => {
                return Err(Error::new(SqlState::SYNTAX_ERROR, "CONTAINED IN takes two points"));
            }
            _ => SystemTime::AsOf(PointExpr::Expr(expr)),
        },
        other => SystemTime::AsOf(point(other)?),
    })
}

/// The points a clause names, in order.
pub(crate) fn points<'a>(clause: &SystemTime<'a>) -> Vec<PointExpr<'a>> {
    match clause {
        SystemTime::AsOf(point) => vec![*point],
        SystemTime::FromTo(a, b) | SystemTime::Between(a, b) | SystemTime::ContainedIn(a, b) => vec![*a, *b],
        SystemTime::All => Vec::new(),
    }
}

fn point(expr: &Expr) -> Result<PointExpr<'_>> {
    if let Expr::Nested(inner) = expr {
        return point(inner);
    }
    let Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) = expr else {
        return Ok(PointExpr::Expr(expr));
    };
    match (name.0.as_slice(), list.args.as_slice()) {
        ([ObjectNamePart::Identifier(ident)], [FunctionArg::Unnamed(FunctionArgExpr::Expr(seq))])
            if is_marker(ident, SEQ) =>
        {
            Ok(PointExpr::Seq(seq))
        }
        _ => Ok(PointExpr::Expr(expr)),
    }
}

fn is_marker(ident: &Ident, marker: &str) -> bool {
    ident.quote_style.is_none() && ident.value == marker
}

/// Whether a name is one of the markers, which no user may write.
pub(crate) fn is_reserved(ident: &Ident) -> bool {
    [SEQ, BETWEEN, FROM_TO, CONTAINED, ALL].iter().any(|marker| is_marker(ident, marker))
}

/// Aliases taken out from before a clause, by where the table's name ends in the text.
pub(crate) type MovedAliases = HashMap<Location, Ident>;

/// Rewrites the clauses in one statement's tokens.
pub(crate) fn rewrite(source: &Source, tokens: Vec<TokenWithSpan>) -> Result<(Vec<TokenWithSpan>, MovedAliases)> {
    for token in &tokens {
        if let Token::Word(word) = &token.token
            && word.quote_style.is_none()
            && word.value.to_ascii_lowercase().starts_with("__st")
        {
            return Err(source.syntax_error(Some(token)));
        }
    }
    let mut rewrite =
        Rewrite { source, tokens: &tokens, at: 0, out: Vec::with_capacity(tokens.len()), moved: HashMap::new() };
    rewrite.all()?;
    Ok((rewrite.out, rewrite.moved))
}

struct Rewrite<'a> {
    source: &'a Source,
    tokens: &'a [TokenWithSpan],
    at: usize,
    out: Vec<TokenWithSpan>,
    moved: MovedAliases,
}

impl Rewrite<'_> {
    fn peek(&self, ahead: usize) -> Option<&TokenWithSpan> {
        self.tokens.get(self.at + ahead)
    }

    fn copy(&mut self) {
        if let Some(token) = self.tokens.get(self.at) {
            self.out.push(token.clone());
            self.at += 1;
        }
    }

    /// Puts a token of ours in the place of the user's tokens at `self.at`.
    fn put(&mut self, token: Token) {
        let span = self.tokens.get(self.at).or(self.tokens.last()).map(|token| token.span);
        self.out.push(TokenWithSpan {
            token,
            span: span.unwrap_or_else(datafusion::sql::sqlparser::tokenizer::Span::empty),
        });
    }

    fn put_word(&mut self, word: &str) {
        self.put(Token::make_word(word, None));
    }

    fn all(&mut self) -> Result<()> {
        while self.at < self.tokens.len() {
            if is_word(self.peek(0), "for") && is_word(self.peek(1), "system_time") {
                self.move_alias();
                self.copy();
                self.copy();
                self.clause()?;
            } else if is_token(self.peek(0), &Token::AtSign) && is_word(self.peek(1), "seq") {
                self.seq()?;
            } else {
                self.copy();
            }
        }
        Ok(())
    }

    /// `@SEQ:n` to a marker call.
    fn seq(&mut self) -> Result<()> {
        if !is_token(self.peek(2), &Token::Colon) {
            return Err(self.source.syntax_error(self.peek(2)));
        }
        let number = match self.peek(3) {
            Some(TokenWithSpan { token: token @ (Token::Number(..) | Token::Placeholder(_)), .. }) => token.clone(),
            other => return Err(self.source.syntax_error(other)),
        };
        self.put_word(SEQ);
        self.put(Token::LParen);
        self.at += 3;
        self.put(number);
        self.put(Token::RParen);
        self.at += 1;
        Ok(())
    }

    /// What follows FOR SYSTEM_TIME.
    fn clause(&mut self) -> Result<()> {
        if is_word(self.peek(0), "as") && is_word(self.peek(1), "of") {
            self.copy();
            self.copy();
            return Ok(());
        }
        let form = ["all", "between", "from", "contained"].into_iter().find(|form| is_word(self.peek(0), form));
        let Some(form) = form else {
            return Err(self.source.syntax_error(self.peek(0)));
        };
        self.put_word("AS");
        self.put_word("OF");
        match form {
            "all" => {
                self.put_word(ALL);
                self.at += 1;
            }
            "between" => {
                self.put_word(BETWEEN);
                self.copy();
            }
            "from" => {
                self.put_word(FROM_TO);
                self.put_word("BETWEEN");
                self.at += 1;
                self.until_to()?;
            }
            _ => {
                if !is_word(self.peek(1), "in") {
                    return Err(self.source.syntax_error(self.peek(1)));
                }
                self.put_word(CONTAINED);
                self.at += 1;
                self.copy();
            }
        }
        Ok(())
    }

    /// Copies the first point of FROM a TO b and puts AND for its TO.
    fn until_to(&mut self) -> Result<()> {
        let mut depth = 0_usize;
        while self.at < self.tokens.len() {
            match self.peek(0).map(|token| &token.token) {
                Some(Token::LParen) => depth += 1,
                Some(Token::RParen) if depth == 0 => break,
                Some(Token::RParen) => depth -= 1,
                _ => {}
            }
            if depth == 0 && is_word(self.peek(0), "to") {
                self.put_word("AND");
                self.at += 1;
                return Ok(());
            }
            if is_token(self.peek(0), &Token::AtSign) && is_word(self.peek(1), "seq") {
                self.seq()?;
            } else {
                self.copy();
            }
        }
        Err(self.source.syntax_error(self.peek(0)))
    }

    /// Takes `[AS] alias` between the table's name and FOR out of what was copied.
    fn move_alias(&mut self) {
        let ident = |token: Option<&TokenWithSpan>| match token {
            Some(TokenWithSpan { token: Token::Word(word), span }) => {
                Some((Ident { value: word.value.clone(), quote_style: word.quote_style, span: *span }, *span))
            }
            _ => None,
        };
        let back = |n: usize| self.out.len().checked_sub(n).and_then(|index| self.out.get(index));
        let Some((alias, _)) = ident(back(1)) else { return };
        let (name, length) = match is_word(back(2), "as") {
            true => (ident(back(3)), 2),
            false => (ident(back(2)), 1),
        };
        let Some((name, span)) = name else { return };
        let before_name = ["from", "join", "update", "into", "using", "only", "lateral", "table", "of"];
        if name.quote_style.is_none() && before_name.iter().any(|word| name.value.eq_ignore_ascii_case(word)) {
            return;
        }
        self.moved.insert(span.end, alias);
        self.out.truncate(self.out.len().saturating_sub(length));
    }
}

/// Puts the aliases that [`rewrite`] took out on the parsed tables.
pub(crate) fn restore_aliases(node: &mut impl VisitMut, moved: MovedAliases) -> Result<()> {
    struct Restore(MovedAliases);
    impl VisitorMut for Restore {
        type Break = Error;
        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
            if let TableFactor::Table { name, alias, version: Some(_), .. } = factor {
                let Some(ObjectNamePart::Identifier(last)) = name.0.last() else {
                    return ControlFlow::Continue(());
                };
                if let Some(moved) = self.0.remove(&last.span.end) {
                    if alias.is_some() {
                        return ControlFlow::Break(Error::new(
                            SqlState::SYNTAX_ERROR,
                            format!(
                                "table \"{}\" has an alias before and after its FOR SYSTEM_TIME clause",
                                last.value
                            ),
                        ));
                    }
                    *alias = Some(TableAlias { explicit: true, name: moved, columns: Vec::new(), at: None });
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut restore = Restore(moved);
    if let ControlFlow::Break(error) = node.visit(&mut restore) {
        return Err(error);
    }
    match restore.0.into_values().next() {
        None => Ok(()),
        Some(alias) => Err(Error::new(
            SqlState::SYNTAX_ERROR,
            format!("syntax error at or near \"{}\": FOR SYSTEM_TIME does not follow a table", alias.value),
        )),
    }
}
