//! Commands: the statements that sqlparser parses in other dialects' ways or not at all, parsed here from the tokens.
//! Transactions, settings, COPY, DROP, TRUNCATE, VACUUM, prepared statements.

use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectName};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use driftdb_types::{Error, Result, SqlState};

use super::dialect::DriftDialect;
use super::keeping;
use super::names::{TableName, name_of};
use super::source::{Source, is_token, is_word};
use super::statement::*;
use crate::query::ExplainOptions;

/// Reads one statement's tokens from the front.
pub(crate) struct Cursor<'a> {
    pub(crate) source: &'a Source,
    pub(crate) tokens: &'a [TokenWithSpan],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(source: &'a Source, tokens: &'a [TokenWithSpan]) -> Cursor<'a> {
        Cursor { source, tokens, at: 0 }
    }

    pub(crate) fn peek(&self) -> Option<&'a TokenWithSpan> {
        self.tokens.get(self.at)
    }

    pub(crate) fn rest(&self) -> &'a [TokenWithSpan] {
        self.tokens.get(self.at..).unwrap_or_default()
    }

    /// The next so many tokens.
    pub(crate) fn take(&mut self, count: usize) -> &'a [TokenWithSpan] {
        let taken = self.rest().get(..count).unwrap_or_default();
        self.at += taken.len();
        taken
    }

    pub(crate) fn word(&mut self, wanted: &str) -> bool {
        let found = is_word(self.peek(), wanted);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn words(&mut self, wanted: &[&str]) -> bool {
        let found = wanted.iter().enumerate().all(|(n, word)| is_word(self.tokens.get(self.at + n), word));
        self.at += if found { wanted.len() } else { 0 };
        found
    }

    pub(crate) fn token(&mut self, wanted: &Token) -> bool {
        let found = is_token(self.peek(), wanted);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn unexpected(&self) -> Error {
        self.source.syntax_error(self.peek())
    }

    fn expect(&mut self, wanted: &Token) -> Result<()> {
        if self.token(wanted) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(crate) fn expect_word(&mut self, wanted: &str) -> Result<()> {
        if self.word(wanted) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(crate) fn end(&self) -> Result<()> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected()) }
    }

    fn ident(&mut self) -> Result<Ident> {
        match self.peek() {
            Some(TokenWithSpan { token: Token::Word(word), span }) => {
                self.at += 1;
                Ok(Ident { value: word.value.clone(), quote_style: word.quote_style, span: *span })
            }
            _ => Err(self.unexpected()),
        }
    }

    pub(crate) fn name(&mut self) -> Result<String> {
        self.ident().map(|ident| name_of(&ident))
    }

    fn object(&mut self) -> Result<ObjectName> {
        let mut parts = vec![self.ident()?];
        while self.token(&Token::Period) {
            parts.push(self.ident()?);
        }
        Ok(ObjectName::from(parts))
    }

    pub(crate) fn table(&mut self) -> Result<TableName> {
        let object = self.object()?;
        TableName::new(self.source, &object)
    }

    pub(crate) fn string(&mut self) -> Result<String> {
        match self.peek().map(|token| &token.token) {
            Some(Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text)) => {
                self.at += 1;
                Ok(text.clone())
            }
            Some(Token::DollarQuotedString(text)) => {
                self.at += 1;
                Ok(text.value.clone())
            }
            _ => Err(self.unexpected()),
        }
    }

    pub(crate) fn comma_separated<T>(&mut self, mut one: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut all = vec![one(self)?];
        while self.token(&Token::Comma) {
            all.push(one(self)?);
        }
        Ok(all)
    }

    /// The tokens up to the parenthesis that closes the one just read, which is read too.
    fn parenthesised(&mut self) -> Result<&'a [TokenWithSpan]> {
        let start = self.at;
        let mut depth = 0_usize;
        while let Some(token) = self.peek() {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen if depth == 0 => {
                    let inner = self.tokens.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(inner);
                }
                Token::RParen => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        Err(self.unexpected())
    }
}

/// Parses an expression that takes all of `tokens`.
fn expression(source: &Source, tokens: &[TokenWithSpan]) -> Result<Expr> {
    let mut parser = Parser::new(&DriftDialect).with_tokens_with_locations(tokens.to_vec());
    let expr = parser.parse_expr().map_err(|error| super::parser_error(source, tokens, &error))?;
    match parser.peek_token_ref() {
        TokenWithSpan { token: Token::EOF, .. } => Ok(expr),
        token => Err(source.syntax_error(Some(token))),
    }
}

/// Parses a command, if the statement is one.
pub(crate) fn command(source: &Source, tokens: &[TokenWithSpan]) -> Result<Option<Kind>> {
    let mut cursor = Cursor::new(source, tokens);
    let Some(TokenWithSpan { token: Token::Word(first), .. }) = cursor.peek() else { return Ok(None) };
    if first.quote_style.is_some() {
        return Ok(None);
    }
    let first = first.value.to_ascii_lowercase();
    cursor.at = 1;
    let kind = match first.as_str() {
        "begin" => begin(&mut cursor, "BEGIN")?,
        "start" => {
            cursor.expect_word("transaction")?;
            begin(&mut cursor, "START TRANSACTION")?
        }
        "commit" | "end" => {
            if cursor.word("prepared") {
                return Err(Error::unsupported("COMMIT PREPARED"));
            }
            Kind::Commit { chain: end_of_transaction(&mut cursor)? }
        }
        "rollback" | "abort" => rollback(&mut cursor)?,
        "savepoint" => Kind::Savepoint(cursor.name()?),
        "release" => {
            cursor.word("savepoint");
            Kind::Release(cursor.name()?)
        }
        "set" => set(&mut cursor)?,
        "reset" => match cursor.word("all") {
            true => Kind::ResetAll,
            false => Kind::Reset(setting_name(&mut cursor)?),
        },
        // There are no cursors, and nobody listens: pools of connections end them all the same.
        "close" if cursor.word("all") => Kind::Nothing("CLOSE CURSOR ALL"),
        "unlisten" => {
            if !cursor.token(&Token::Mul) {
                cursor.name()?;
            }
            Kind::Nothing("UNLISTEN")
        }
        "show" => match cursor.word("all") {
            true => Kind::ShowAll,
            false => Kind::Show(setting_name(&mut cursor)?),
        },
        "discard" => {
            let what = [("all", "DISCARD ALL"), ("plans", "DISCARD PLANS"), ("temp", "DISCARD TEMP")];
            let Some((_, tag)) = what.into_iter().find(|(word, _)| cursor.word(word)) else {
                return match cursor.word("sequences") {
                    true => Err(Error::unsupported("DISCARD SEQUENCES")),
                    false => Err(cursor.unexpected()),
                };
            };
            Kind::Discard(tag)
        }
        "checkpoint" => Kind::Checkpoint,
        "create" if cursor.word("pin") => keeping::create_pin(&mut cursor)?,
        "alter" => match keeping::set_retention(&mut cursor)? {
            Some(kind) => kind,
            None => return Ok(None),
        },
        "drop" if cursor.word("pin") => keeping::drop_pin(&mut cursor)?,
        "vacuum" => vacuum(&mut cursor)?,
        "analyze" | "analyse" => analyze(&mut cursor)?,
        "truncate" => truncate(&mut cursor)?,
        "drop" => match drop(&mut cursor)? {
            Some(kind) => kind,
            None => return Ok(None),
        },
        "copy" => super::copy::copy(&mut cursor)?,
        "prepare" => prepare(&mut cursor)?,
        "execute" => {
            let name = cursor.name()?;
            let arguments = match cursor.token(&Token::LParen) {
                true => arguments(&mut cursor)?,
                false => Vec::new(),
            };
            Kind::Execute { name, arguments }
        }
        "deallocate" => {
            cursor.word("prepare");
            Kind::Deallocate(if cursor.word("all") { None } else { Some(cursor.name()?) })
        }
        "explain" => explain(&mut cursor)?,
        "lock" | "grant" | "revoke" | "comment" | "listen" | "notify" | "declare" | "fetch" | "move" | "close"
        | "call" | "do" | "load" | "cluster" | "reindex" | "reassign" | "refresh" | "security" | "import" | "merge"
        | "undo" | "restore" | "undrop" => {
            return Err(Error::unsupported(first.to_ascii_uppercase()));
        }
        _ => return Ok(None),
    };
    cursor.end()?;
    Ok(Some(kind))
}

fn begin(cursor: &mut Cursor<'_>, tag: &'static str) -> Result<Kind> {
    if tag == "BEGIN" && !cursor.word("work") {
        cursor.word("transaction");
    }
    Ok(Kind::Begin { tag, modes: modes(cursor)? })
}

fn modes(cursor: &mut Cursor<'_>) -> Result<TransactionModes> {
    let mut modes = TransactionModes::default();
    while cursor.peek().is_some() {
        if cursor.words(&["isolation", "level"]) {
            let level = if cursor.word("serializable") {
                IsolationLevel::Serializable
            } else if cursor.words(&["repeatable", "read"]) {
                IsolationLevel::RepeatableRead
            } else if cursor.words(&["read", "committed"]) {
                IsolationLevel::ReadCommitted
            } else if cursor.words(&["read", "uncommitted"]) {
                IsolationLevel::ReadUncommitted
            } else {
                return Err(cursor.unexpected());
            };
            modes.isolation = Some(level);
        } else if cursor.words(&["read", "only"]) {
            modes.read_only = Some(true);
        } else if cursor.words(&["read", "write"]) {
            modes.read_only = Some(false);
        } else if cursor.words(&["not", "deferrable"]) {
            modes.deferrable = Some(false);
        } else if cursor.word("deferrable") {
            modes.deferrable = Some(true);
        } else if cursor.words(&["as", "of"]) {
            modes.as_of = Some(as_of(cursor)?);
            break;
        } else {
            return Err(cursor.unexpected());
        }
        cursor.token(&Token::Comma);
    }
    Ok(modes)
}

/// The point after AS OF: the rest of the statement.
fn as_of(cursor: &mut Cursor<'_>) -> Result<AsOf> {
    let rest = cursor.rest();
    cursor.at = cursor.tokens.len();
    point_of(cursor.source, rest)
}

/// The point of system time that all of these tokens are.
pub(crate) fn point_of(source: &Source, tokens: &[TokenWithSpan]) -> Result<AsOf> {
    match commit_number(tokens) {
        Some(number) => Ok(AsOf { expr: expression(source, std::slice::from_ref(number))?, is_seq: true }),
        None => Ok(AsOf { expr: expression(source, tokens)?, is_seq: false }),
    }
}

/// The number of `@SEQ:n`, where that is all there is.
fn commit_number(tokens: &[TokenWithSpan]) -> Option<&TokenWithSpan> {
    match tokens {
        [at, seq, colon, number]
            if at.token == Token::AtSign && is_word(Some(seq), "seq") && colon.token == Token::Colon =>
        {
            Some(number)
        }
        _ => None,
    }
}

fn end_of_transaction(cursor: &mut Cursor<'_>) -> Result<bool> {
    if !cursor.word("work") {
        cursor.word("transaction");
    }
    if cursor.words(&["and", "no", "chain"]) {
        return Ok(false);
    }
    Ok(cursor.words(&["and", "chain"]))
}

fn rollback(cursor: &mut Cursor<'_>) -> Result<Kind> {
    if cursor.word("prepared") {
        return Err(Error::unsupported("ROLLBACK PREPARED"));
    }
    let chain = end_of_transaction(cursor)?;
    if !chain && cursor.word("to") {
        cursor.word("savepoint");
        return Ok(Kind::RollbackTo(cursor.name()?));
    }
    Ok(Kind::Rollback { chain })
}

fn setting_name(cursor: &mut Cursor<'_>) -> Result<String> {
    if cursor.words(&["time", "zone"]) {
        return Ok("timezone".to_owned());
    }
    if cursor.words(&["transaction", "isolation", "level"]) {
        return Ok("transaction_isolation".to_owned());
    }
    if cursor.words(&["session", "authorization"]) {
        return Ok("session_authorization".to_owned());
    }
    let mut name = cursor.name()?;
    while cursor.token(&Token::Period) {
        name = format!("{name}.{}", cursor.name()?);
    }
    Ok(name)
}

fn set(cursor: &mut Cursor<'_>) -> Result<Kind> {
    if cursor.words(&["session", "characteristics", "as", "transaction"]) {
        return Ok(Kind::SetTransaction { modes: modes(cursor)?, session: true });
    }
    if cursor.word("transaction") {
        if cursor.word("snapshot") {
            return Err(Error::unsupported("SET TRANSACTION SNAPSHOT"));
        }
        return Ok(Kind::SetTransaction { modes: modes(cursor)?, session: false });
    }
    let local = cursor.word("local");
    if !local {
        cursor.word("session");
    }
    if cursor.word("authorization") || cursor.words(&["role"]) {
        return Err(Error::unsupported("SET ROLE and SESSION AUTHORIZATION"));
    }
    if cursor.word("constraints") {
        return Err(Error::unsupported("SET CONSTRAINTS"));
    }
    if cursor.word("names") {
        let value = if cursor.peek().is_none() || cursor.word("default") { None } else { Some(set_value(cursor)?) };
        return Ok(Kind::Set { local, name: "client_encoding".to_owned(), value });
    }
    let time_zone = is_word(cursor.peek(), "time");
    let name = setting_name(cursor)?;
    let bare = time_zone && name == "timezone";
    if !bare && !cursor.token(&Token::Eq) {
        cursor.expect_word("to")?;
    }
    if cursor.word("default") || (time_zone && cursor.word("local")) {
        return Ok(Kind::Set { local, name, value: None });
    }
    // A read point may be written without quotes: SET driftdb.system_time = @SEQ:42.
    if let Some(number) = commit_number(cursor.rest()) {
        cursor.at = cursor.tokens.len();
        return Ok(Kind::Set { local, name, value: Some(format!("@SEQ:{}", number.token)) });
    }
    let values = cursor.comma_separated(set_value)?;
    Ok(Kind::Set { local, name, value: Some(values.join(", ")) })
}

/// One value: a string, a number, a word.
fn set_value(cursor: &mut Cursor<'_>) -> Result<String> {
    let sign = match (cursor.token(&Token::Minus), cursor.token(&Token::Plus)) {
        (true, _) => "-",
        _ => "",
    };
    match cursor.peek().map(|token| &token.token) {
        Some(Token::Number(digits, false)) => {
            cursor.at += 1;
            Ok(format!("{sign}{digits}"))
        }
        Some(Token::Word(word)) if sign.is_empty() => {
            cursor.at += 1;
            Ok(word.value.clone())
        }
        Some(Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) | Token::DollarQuotedString(_))
            if sign.is_empty() =>
        {
            cursor.string()
        }
        _ => Err(cursor.unexpected()),
    }
}

fn vacuum(cursor: &mut Cursor<'_>) -> Result<Kind> {
    let known = ["full", "freeze", "verbose", "analyze", "analyse"];
    if cursor.token(&Token::LParen) {
        maintenance_options(cursor)?;
    } else {
        while known.iter().any(|word| cursor.word(word)) {}
    }
    maintained(cursor, "VACUUM")
}

fn analyze(cursor: &mut Cursor<'_>) -> Result<Kind> {
    if cursor.token(&Token::LParen) {
        maintenance_options(cursor)?;
    } else {
        cursor.word("verbose");
    }
    maintained(cursor, "ANALYZE")
}

/// `(option [value], …)`: how to do what needs no doing here, so any of PostgreSQL's options is met.
fn maintenance_options(cursor: &mut Cursor<'_>) -> Result<()> {
    let known = [
        "full",
        "freeze",
        "verbose",
        "analyze",
        "disable_page_skipping",
        "skip_locked",
        "index_cleanup",
        "process_main",
        "process_toast",
        "truncate",
        "parallel",
        "skip_database_stats",
        "only_database_stats",
        "buffer_usage_limit",
    ];
    loop {
        let token = cursor.peek();
        let name = cursor.name()?;
        if !known.contains(&name.as_str()) {
            return Err(Error::new(
                SqlState::SYNTAX_ERROR,
                format!("unrecognized VACUUM or ANALYZE option \"{name}\""),
            )
            .at(token.and_then(|token| cursor.source.position(token.span.start)).unwrap_or(1)));
        }
        if !is_token(cursor.peek(), &Token::Comma) && !is_token(cursor.peek(), &Token::RParen) {
            set_value(cursor)?;
        }
        if !cursor.token(&Token::Comma) {
            return cursor.expect(&Token::RParen);
        }
    }
}

fn maintained(cursor: &mut Cursor<'_>, tag: &'static str) -> Result<Kind> {
    let mut names = Vec::new();
    if cursor.peek().is_some() {
        names = cursor.comma_separated(|cursor| {
            let table = cursor.table()?;
            if cursor.token(&Token::LParen) {
                cursor.comma_separated(Cursor::ident)?;
                cursor.expect(&Token::RParen)?;
            }
            Ok(table)
        })?;
    }
    Ok(Kind::Maintain { tag, names })
}

fn truncate(cursor: &mut Cursor<'_>) -> Result<Kind> {
    cursor.word("table");
    let names = cursor.comma_separated(|cursor| {
        cursor.word("only");
        let table = cursor.table()?;
        cursor.token(&Token::Mul);
        Ok(table)
    })?;
    if cursor.words(&["restart", "identity"]) {
        return Err(Error::unsupported("RESTART IDENTITY"));
    }
    cursor.words(&["continue", "identity"]);
    // There are no foreign keys, so nothing depends on a table's rows and CASCADE and RESTRICT mean the same.
    if !cursor.word("cascade") {
        cursor.word("restrict");
    }
    Ok(Kind::Truncate { names })
}

fn drop(cursor: &mut Cursor<'_>) -> Result<Option<Kind>> {
    let table = cursor.word("table");
    if !table && !cursor.word("index") {
        let what = cursor.ident().map(|word| word.value.to_ascii_uppercase()).unwrap_or_default();
        return Err(Error::unsupported(format!("DROP {what}")));
    }
    if !table && cursor.word("concurrently") {
        return Err(Error::unsupported("DROP INDEX CONCURRENTLY"));
    }
    let if_exists = cursor.words(&["if", "exists"]);
    let names = cursor.comma_separated(Cursor::table)?;
    if !cursor.word("cascade") {
        cursor.word("restrict");
    }
    Ok(Some(match table {
        true => Kind::DropTable { names, if_exists },
        false => Kind::DropIndex { names, if_exists },
    }))
}

/// Expressions up to the closing parenthesis.
fn arguments(cursor: &mut Cursor<'_>) -> Result<Vec<Expr>> {
    let inner = cursor.parenthesised()?;
    let mut parser = Parser::new(&DriftDialect).with_tokens_with_locations(inner.to_vec());
    let exprs = parser
        .parse_comma_separated(Parser::parse_expr)
        .map_err(|error| super::parser_error(cursor.source, inner, &error))?;
    let mut walk = super::allow::Walk::new(cursor.source);
    walk.exprs(&exprs)?;
    Ok(exprs)
}

fn prepare(cursor: &mut Cursor<'_>) -> Result<Kind> {
    if cursor.word("transaction") {
        return Err(Error::unsupported("PREPARE TRANSACTION"));
    }
    let name = cursor.name()?;
    let mut types = Vec::new();
    if cursor.token(&Token::LParen) {
        let inner = cursor.parenthesised()?;
        let mut parser = Parser::new(&DriftDialect).with_tokens_with_locations(inner.to_vec());
        let parsed = parser
            .parse_comma_separated(Parser::parse_data_type)
            .map_err(|error| super::parser_error(cursor.source, inner, &error))?;
        types = parsed.iter().map(super::types::data_type).collect::<Result<Vec<_>>>()?;
    }
    cursor.expect_word("as")?;
    let statement = super::statement_of(cursor.source, cursor.rest().to_vec())?;
    cursor.at = cursor.tokens.len();
    match statement.kind() {
        Kind::Query(_) | Kind::Insert(_) | Kind::Update(_) | Kind::Delete(_) => {
            Ok(Kind::Prepare(Box::new(PrepareStatement { name, types, statement })))
        }
        _ => Err(Error::new(SqlState::SYNTAX_ERROR, "PREPARE takes SELECT, VALUES, INSERT, UPDATE or DELETE")),
    }
}

fn explain(cursor: &mut Cursor<'_>) -> Result<Kind> {
    let mut options = ExplainOptions::default();
    if cursor.token(&Token::LParen) {
        loop {
            let name = cursor.name()?;
            let value = match cursor.peek().map(|token| &token.token) {
                Some(Token::Comma | Token::RParen) => "on".to_owned(),
                _ => set_value(cursor)?.to_ascii_lowercase(),
            };
            let on = matches!(value.as_str(), "on" | "true" | "1");
            match (name.as_str(), value.as_str()) {
                ("analyze", _) => options.analyze = on,
                ("verbose", _) => options.verbose = on,
                ("format", "text") | ("costs" | "timing" | "summary", _) => {}
                ("buffers" | "wal" | "settings" | "generic_plan" | "memory", _) if !on => {}
                _ => return Err(Error::unsupported(format!("EXPLAIN ({} {value})", name.to_uppercase()))),
            }
            if !cursor.token(&Token::Comma) {
                cursor.expect(&Token::RParen)?;
                break;
            }
        }
    } else {
        options.analyze = cursor.word("analyze") || cursor.word("analyse");
        options.verbose = cursor.word("verbose");
    }
    let statement = super::statement_of(cursor.source, cursor.rest().to_vec())?;
    cursor.at = cursor.tokens.len();
    let kind = statement.kind().clone();
    match kind {
        Kind::Query(_) | Kind::Insert(_) | Kind::Update(_) | Kind::Delete(_) => {
            Ok(Kind::Explain(Box::new(ExplainStatement { options, statement: kind })))
        }
        Kind::Execute { .. } => Err(Error::unsupported("EXPLAIN EXECUTE")),
        Kind::CreateTableAs(_) => Err(Error::unsupported("EXPLAIN CREATE TABLE AS")),
        _ => Err(Error::new(SqlState::SYNTAX_ERROR, "EXPLAIN takes SELECT, VALUES, INSERT, UPDATE or DELETE")),
    }
}

/// What stands after COPY.
pub(super) enum CopySource<'a> {
    Table(ObjectName, Vec<Ident>),
    /// The tokens between parentheses.
    Query(&'a [TokenWithSpan]),
}

// What COPY's parser, which has a file of its own, needs of the cursor.
impl<'a> Cursor<'a> {
    pub(super) fn copy_source(&mut self) -> Result<CopySource<'a>> {
        if self.token(&Token::LParen) {
            return Ok(CopySource::Query(self.parenthesised()?));
        }
        let table = self.object()?;
        let mut columns = Vec::new();
        if self.token(&Token::LParen) {
            columns = self.comma_separated(Cursor::ident)?;
            self.expect(&Token::RParen)?;
        }
        Ok(CopySource::Table(table, columns))
    }

    pub(super) fn names_in_parentheses(&mut self) -> Result<Vec<String>> {
        self.expect(&Token::LParen)?;
        let names = self.comma_separated(Cursor::name)?;
        self.expect(&Token::RParen)?;
        Ok(names)
    }

    pub(super) fn option_string(&mut self) -> Result<String> {
        self.string()
    }

    pub(super) fn option_name(&mut self) -> Result<String> {
        self.name()
    }

    pub(super) fn option_value(&mut self) -> Result<String> {
        match self.peek().map(|token| &token.token) {
            None | Some(Token::Comma | Token::RParen) => Ok("on".to_owned()),
            _ => set_value(self),
        }
    }
}
