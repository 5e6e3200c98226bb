//! PostgreSQL's ways of writing that sqlparser does not read, written into those it does, *as tokens*, before it parses:
//!
//! | written | parsed as |
//! |---|---|
//! | `TABLE t`, wherever a query stands | `SELECT * FROM t` |
//! | `x IN (VALUES …)` | `x IN (SELECT * FROM (VALUES …) AS "values")` |
//! | `trim(LEADING FROM x)`, `trim(FROM x)` | `trim(LEADING x)`, `trim(x)` |
//! | `FROM ONLY t`, `UPDATE ONLY t` | `FROM t`, `UPDATE t`: no table inherits from another |
//! | `CREATE TABLE … AS … WITH [NO] DATA` | the same without, and whether it said NO |
//! | `FOR NO KEY UPDATE`, `FOR KEY SHARE` | `FOR UPDATE`, `FOR SHARE`, and that it said KEY |

use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::source::{is_token, is_word};

/// What sqlparser's statement does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unsaid {
    /// A CREATE TABLE AS that ends in WITH NO DATA.
    pub(super) no_data: bool,
    /// Rows are locked FOR NO KEY UPDATE or FOR KEY SHARE. There can be one such clause.
    pub(super) key: bool,
}

/// Rewrites one statement's tokens.
pub(super) fn spell_out(mut tokens: Vec<TokenWithSpan>) -> (Vec<TokenWithSpan>, Unsaid) {
    let no_data = cut_with_data(&mut tokens);
    let key = cut_key(&mut tokens);
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    // Where the VALUES end that were put into a subquery, as how many parentheses are open there.
    let mut closings: Vec<usize> = Vec::new();
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        let next = tokens.get(at + 1);
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                if closings.last() == Some(&depth) {
                    closings.pop();
                    put(
                        &mut out,
                        token.span,
                        [Token::RParen, Token::make_keyword("AS"), Token::make_word("values", Some('"'))],
                    );
                }
                depth = depth.saturating_sub(1);
            }
            _ => {}
        }
        if is_word(Some(token), "values") && is_token(out.last(), &Token::LParen) && before(&out, 2, &["in"]) {
            closings.push(depth);
            put(&mut out, token.span, select_all());
            put(&mut out, token.span, [Token::LParen]);
        }
        if is_word(Some(token), "table") && is_name(next) && begins_query(&tokens, at, &out) {
            put(&mut out, token.span, select_all());
        } else if !says_nothing(token, next, &out) {
            out.push(token.clone());
        }
    }
    (out, Unsaid { no_data, key })
}

/// Takes NO KEY or KEY out of the clause that locks rows. Says whether it was there.
fn cut_key(tokens: &mut Vec<TokenWithSpan>) -> bool {
    let words: [&[&str]; 2] = [&["for", "no", "key", "update"], &["for", "key", "share"]];
    let found = (0..tokens.len()).find_map(|at| {
        let said = |words: &&[&str]| words.iter().enumerate().all(|(n, word)| is_word(tokens.get(at + n), word));
        words.into_iter().find(said).map(|words| at + 1..at + words.len() - 1)
    });
    found.is_some_and(|range| tokens.drain(range).count() > 0)
}

/// Words that change nothing: ONLY, as no table inherits from another, and the FROM in front of all that `trim` takes.
fn says_nothing(token: &TokenWithSpan, next: Option<&TokenWithSpan>, out: &[TokenWithSpan]) -> bool {
    if is_word(Some(token), "only") {
        return is_name(next) && before(out, 1, &["from", "update", "join", "using"]);
    }
    let back = |n: usize| out.len().checked_sub(n).and_then(|at| out.get(at));
    let sided = before(out, 1, &["leading", "trailing", "both"]);
    let opened = if sided { 2 } else { 1 };
    is_word(Some(token), "from") && is_token(back(opened), &Token::LParen) && before(out, opened + 1, &["trim"])
}

fn select_all() -> [Token; 3] {
    [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")]
}

fn put<const N: usize>(out: &mut Vec<TokenWithSpan>, span: Span, written: [Token; N]) {
    out.extend(written.map(|token| TokenWithSpan { token, span }));
}

/// Whether the token that stands `back` places before the end is one of these words.
fn before(out: &[TokenWithSpan], back: usize, words: &[&str]) -> bool {
    let token = out.len().checked_sub(back).and_then(|at| out.get(at));
    words.iter().any(|word| is_word(token, word))
}

fn is_name(token: Option<&TokenWithSpan>) -> bool {
    matches!(token.map(|token| &token.token), Some(Token::Word(_)))
}

/// Whether the word TABLE at `at`, which a name follows, is a query and no part of another statement.
fn begins_query(tokens: &[TokenWithSpan], at: usize, out: &[TokenWithSpan]) -> bool {
    let first = tokens.first();
    if at == 0 || is_token(out.last(), &Token::LParen) || before(out, 1, &["union", "all", "except", "intersect"]) {
        return true;
    }
    if is_word(first, "with") {
        return is_token(out.last(), &Token::RParen);
    }
    if is_word(first, "insert") {
        // Behind the table or the list of its columns, not INSERT INTO TABLE t.
        return is_token(out.last(), &Token::RParen) || (is_name(out.last()) && !before(out, 1, &["into", "as"]));
    }
    is_word(first, "create") && before(out, 1, &["as"]) && !is_word(tokens.get(at + 1), "from")
}

/// Takes WITH [NO] DATA from the end of a CREATE TABLE AS; true when it said NO.
fn cut_with_data(tokens: &mut Vec<TokenWithSpan>) -> bool {
    if !is_word(tokens.first(), "create") || !before(tokens, 1, &["data"]) {
        return false;
    }
    let no = before(tokens, 2, &["no"]);
    let length = if no { 3 } else { 2 };
    let cut = before(tokens, length, &["with"]);
    if cut {
        tokens.truncate(tokens.len().saturating_sub(length));
    }
    cut && no
}
