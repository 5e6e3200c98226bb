//! The shell's backslash commands.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// A backslash command, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// `\d`, `\dt`: the tables.
    Tables,
    /// `\d name`: one table.
    Describe(String),
    /// `\timing [on|off]`; nothing said: the other one.
    Timing(Option<bool>),
    /// `\copy …`
    Copy(CopyCommand),
    /// `\?`
    Help,
    /// `\q`
    Quit,
}

/// What `\copy` is to do: the statement for the database, and the file here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CopyCommand {
    /// `COPY … FROM STDIN …` or `COPY … TO STDOUT …`
    pub(super) statement: String,
    /// The file on this side; `None` is standard input or output.
    pub(super) file: Option<PathBuf>,
    /// From the file into the database, or the other way.
    pub(super) from: bool,
}

/// What `\?` shows.
pub(super) const HELP: &str = r"\d, \dt            the tables
\d TABLE           one table: columns and indexes
\copy TABLE [(COLUMNS)] from 'FILE'|stdin [OPTIONS]
\copy TABLE|(QUERY) to 'FILE'|stdout [OPTIONS]
                   stdin's data follows, up to a line with only \.; options are COPY's, such as: with (format csv, header)
\timing [on|off]   show how long each statement takes
\?                 this
\q                 leave
A statement ends with a semicolon and may take several lines. Ctrl-C gives up what is being typed or run.
The past: SELECT … FROM orders FOR SYSTEM_TIME AS OF now() - interval '5 minutes';
          SELECT * FROM driftdb.history('orders');
          SELECT * FROM driftdb.commits;";

/// Reads a command line, which begins with a backslash.
pub(super) fn parse(line: &str) -> Result<Command> {
    let line = line.trim().trim_end_matches(';').trim_end();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let command = match (name, rest) {
        (r"\d" | r"\dt", "") => Command::Tables,
        (r"\d", table) => Command::Describe(table.to_owned()),
        (r"\timing", "") => Command::Timing(None),
        (r"\timing", "on") => Command::Timing(Some(true)),
        (r"\timing", "off") => Command::Timing(Some(false)),
        (r"\copy", rest) => Command::Copy(parse_copy(rest)?),
        (r"\?" | r"\h", "") => Command::Help,
        (r"\q", "") => Command::Quit,
        _ => bail!(r"{line}: no such command; \? lists them"),
    };
    Ok(command)
}

/// Reads `TABLE from|to FILE OPTIONS`: the words FROM and TO count only outside quotes and parentheses.
fn parse_copy(text: &str) -> Result<CopyCommand> {
    const USAGE: &str = r"usage: \copy TABLE [(COLUMNS)] from 'FILE'|stdin [OPTIONS], or \copy TABLE|(QUERY) to 'FILE'|stdout [OPTIONS]";
    let Some((start, end, from)) = direction(text) else { bail!(USAGE) };
    let what = text.get(..start).unwrap_or_default().trim();
    let place = text.get(end..).unwrap_or_default().trim_start();
    let (file, options) = file_name(place);
    if what.is_empty() || file.is_empty() {
        bail!(USAGE);
    }
    let endpoint = if from { "FROM STDIN" } else { "TO STDOUT" };
    let statement = format!("COPY {what} {endpoint} {}", options.trim()).trim_end().to_owned();
    // A file of that name is written in quotes.
    let quoted = place.starts_with('\'');
    let streams: &[&str] = if from { &["stdin", "pstdin"] } else { &["stdout", "pstdout"] };
    let stream = !quoted && streams.iter().any(|stream| file.eq_ignore_ascii_case(stream));
    Ok(CopyCommand { statement, file: (!stream).then(|| PathBuf::from(file)), from })
}

/// A statement `COPY … FROM STDIN` or `COPY … TO STDOUT`, which the shell feeds or shows; `None` for any other.
pub(super) fn copy_statement(statement: &str) -> Option<CopyCommand> {
    let (word, rest) = statement.trim().split_once(char::is_whitespace)?;
    if !word.eq_ignore_ascii_case("copy") {
        return None;
    }
    parse_copy(rest.trim()).ok().filter(|command| command.file.is_none())
}

/// Where the word FROM or TO stands, and whether it is FROM.
fn direction(text: &str) -> Option<(usize, usize, bool)> {
    let (mut depth, mut quote, mut word_start) = (0_u32, None, None);
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        let in_word = quote.is_none() && depth == 0 && (c.is_alphanumeric() || c == '_');
        if !in_word && let Some(start) = word_start.take() {
            let word = text.get(start..at)?.to_ascii_lowercase();
            if word == "from" || word == "to" {
                return Some((start, at, word == "from"));
            }
        }
        match c {
            _ if quote == Some(c) => quote = None,
            _ if quote.is_some() => {}
            '\'' | '"' => quote = Some(c),
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if in_word => word_start = word_start.or(Some(at)),
            _ => {}
        }
    }
    None
}

/// The file's name, quoted (with '' for a quote) or up to the next white space, and what follows it.
fn file_name(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return (text.get(..end).unwrap_or_default().to_owned(), text.get(end..).unwrap_or_default());
    };
    let mut name = String::new();
    let mut rest = quoted;
    while let Some((part, after)) = rest.split_once('\'') {
        name.push_str(part);
        rest = after;
        match rest.strip_prefix('\'') {
            Some(after) => {
                name.push('\'');
                rest = after;
            }
            None => return (name, rest),
        }
    }
    (String::new(), "")
}

/// A table's name as typed, as it is stored: folded to lower case unless quoted.
pub(super) fn stored_name(typed: &str) -> String {
    let name = typed.strip_prefix("public.").unwrap_or(typed);
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => name.to_lowercase(),
    }
}

/// Lists the tables.
pub(super) const TABLES: &str = "SELECT table_name FROM information_schema.tables \
    WHERE table_schema = 'public' ORDER BY table_name";

/// Asks whether there is a table `name`.
pub(super) fn exists(name: &str) -> String {
    format!("SELECT 1 FROM information_schema.tables WHERE table_schema = 'public' AND table_name = {}", literal(name))
}

/// The statements that describe the table `name`: its columns, then its indexes.
pub(super) fn describe(name: &str) -> [String; 2] {
    let name = literal(name);
    [
        format!(
            "SELECT a.attname AS column_name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS data_type, \
             i.is_nullable, i.column_default \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
             JOIN information_schema.columns i ON i.table_name = c.relname AND i.column_name = a.attname \
             WHERE c.relkind = 'r' AND c.relnamespace = 2200 AND i.table_schema = 'public' AND c.relname = {name} ORDER BY a.attnum"
        ),
        format!("SELECT indexname, indexdef FROM pg_catalog.pg_indexes WHERE tablename = {name} ORDER BY indexname"),
    ]
}

/// `text` as an SQL string.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(line: &str) -> CopyCommand {
        match parse(line).unwrap() {
            Command::Copy(copy) => copy,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commands_are_read() {
        assert_eq!(parse(r"\d").unwrap(), Command::Tables);
        assert_eq!(parse(r"\dt;").unwrap(), Command::Tables);
        assert_eq!(parse(r"\d  Orders").unwrap(), Command::Describe("Orders".to_owned()));
        assert_eq!(parse(r"\timing off").unwrap(), Command::Timing(Some(false)));
        assert_eq!(parse(r"\q").unwrap(), Command::Quit);
        for wrong in [r"\x", r"\timing maybe", r"\q now", r"\", r"\copy t", r"\copy t from", r"\copy from 'x'"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn copy_becomes_a_statement_and_a_file() {
        let read = copy(r"\copy countries (code, name) from 'examples/c''s.csv' with (format csv, header)");
        assert_eq!(read.statement, "COPY countries (code, name) FROM STDIN with (format csv, header)");
        assert_eq!(read.file, Some(PathBuf::from("examples/c's.csv")));
        assert!(read.from);
        let written = copy(r#"\copy (SELECT 'from' AS "to" FROM t) TO out.txt"#);
        assert_eq!(written.statement, r#"COPY (SELECT 'from' AS "to" FROM t) TO STDOUT"#);
        assert_eq!(written.file, Some(PathBuf::from("out.txt")));
        assert!(!written.from);
        assert_eq!(copy(r#"\copy "from" from x csv"#).statement, r#"COPY "from" FROM STDIN csv"#);
        assert_eq!(copy(r"\copy t to STDOUT csv").file, None);
        assert_eq!(copy(r"\copy t to STDOUT csv").statement, "COPY t TO STDOUT csv");
        assert_eq!(copy(r"\copy t from pstdin").file, None);
        assert_eq!(copy(r"\copy t to 'stdout'").file, Some(PathBuf::from("stdout")));
        assert_eq!(copy(r"\copy t to stdin").file, Some(PathBuf::from("stdin")));
    }

    #[test]
    fn a_typed_copy_is_known() {
        assert_eq!(copy_statement("copy t from stdin csv").unwrap().statement, "COPY t FROM STDIN csv");
        assert!(!copy_statement("COPY (select 1) to stdout").unwrap().from);
        for other in ["copy t from 'file'", "select 1", "copy", "copyright from stdin"] {
            assert!(copy_statement(other).is_none(), "{other}");
        }
    }

    #[test]
    fn names_are_folded_as_sql_does() {
        assert_eq!(stored_name("Orders"), "orders");
        assert_eq!(stored_name("public.Orders"), "orders");
        assert_eq!(stored_name(r#""Or""ders""#), "Or\"ders");
        assert_eq!(literal("it's"), "'it''s'");
    }
}
