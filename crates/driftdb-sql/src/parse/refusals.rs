//! Clauses of DriftDB's and PostgreSQL's that are not done and that sqlparser would call a syntax error: each is refused by
//! its name, found *in the tokens*, before the parser sees them.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use driftdb_types::{Error, Result};

use super::source::{Source, is_token, is_word};

/// Where a phrase means the clause that it is refused as; elsewhere its words may be names.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Anywhere,
    /// In a statement that begins with ALTER.
    Alter,
    /// Before a name and a parenthesis, as in `PERIOD FOR system_time (a, b)`.
    BeforeList,
}

const PHRASES: &[(&[&str], Place, &str)] = &[
    (&["for", "portion", "of"], Place::Anywhere, "FOR PORTION OF"),
    (&["with", "current", "schema"], Place::Anywhere, "WITH CURRENT SCHEMA"),
    (&["with", "dropped", "columns"], Place::Anywhere, "WITH DROPPED COLUMNS"),
    (&["with", "system", "versioning"], Place::Anywhere, "WITH SYSTEM VERSIONING"),
    (&["without", "system", "versioning"], Place::Anywhere, "WITHOUT SYSTEM VERSIONING"),
    (&["without", "overlaps"], Place::Anywhere, "WITHOUT OVERLAPS"),
    (&["as", "row", "start"], Place::Anywhere, "GENERATED ALWAYS AS ROW START"),
    (&["as", "row", "end"], Place::Anywhere, "GENERATED ALWAYS AS ROW END"),
    (&["period", "for"], Place::BeforeList, "PERIOD FOR"),
    (&["between", "symmetric"], Place::Anywhere, "BETWEEN SYMMETRIC"),
    (&["group", "by", "distinct"], Place::Anywhere, "GROUP BY DISTINCT"),
    (&["exclude", "current", "row"], Place::Anywhere, "EXCLUDE CURRENT ROW"),
    (&["exclude", "no", "others"], Place::Anywhere, "EXCLUDE NO OTHERS"),
    (&["exclude", "group"], Place::Anywhere, "EXCLUDE GROUP"),
    (&["exclude", "ties"], Place::Anywhere, "EXCLUDE TIES"),
    (&["add", "system", "versioning"], Place::Alter, "ADD SYSTEM VERSIONING"),
    (&["drop", "system", "versioning"], Place::Alter, "DROP SYSTEM VERSIONING"),
    (&["undrop", "column"], Place::Alter, "UNDROP COLUMN"),
];

/// 0A000 for the first such clause.
pub(super) fn refuse(source: &Source, tokens: &[TokenWithSpan]) -> Result<()> {
    let alter = is_word(tokens.first(), "alter");
    for (at, token) in tokens.iter().enumerate() {
        let stands = |(phrase, place, _): &&(&[&str], Place, &str)| {
            let said = phrase.iter().enumerate().all(|(n, word)| is_word(tokens.get(at + n), word));
            let behind = |n: usize| tokens.get(at + phrase.len() + n);
            said && match place {
                Place::Anywhere => true,
                Place::Alter => alter,
                Place::BeforeList => {
                    let named = matches!(behind(0).map(|token| &token.token), Some(Token::Word(_)));
                    named && is_token(behind(1), &Token::LParen)
                }
            }
        };
        if let Some((_, _, clause)) = PHRASES.iter().find(stands) {
            return Err(Error { position: source.position(token.span.start), ..Error::unsupported(*clause) });
        }
    }
    Ok(())
}
