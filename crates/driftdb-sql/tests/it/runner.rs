//! Runs `.slt` files, in the manner of sqllogictest, with PostgreSQL's notions added.
//!
//! ```text
//! # comment
//! session two                    -- statements from here on run in the session of that name (the first is `one`)
//! statement ok [notice 42P07]    -- and, where given, a notice of that SQLSTATE comes with it
//! statement count 3              -- the command tag ends with that number
//! statement error 42P01 [text]   -- the SQLSTATE, and a part of the message, detail or hint
//! query [sorted] [name name]     -- rows, one a line, columns separated by |
//! ----
//! extended $1 $2                 -- the next statement or query goes through prepare/execute with these text parameters
//! flush                          -- memtable to base and history
//! reopen                         -- close and open the database; all sessions are new
//! ```
//! In expected rows NULL is NULL, an empty text is (empty); `*` stands for any value.

use std::collections::HashMap;
use std::path::Path;

use driftdb_engine::{Engine, EngineOptions};
use driftdb_env::Env;
use driftdb_sql::{Database, Outcome, Session, SessionOptions, SqlOptions};
use driftdb_types::{Error, Value, format_value, parse_value};

/// A database in a directory of its own.
pub(crate) struct Fixture {
    pub(crate) db: Database,
    directory: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        Fixture { db: open(directory.path()), directory }
    }

    pub(crate) fn session(&self) -> Session {
        self.db.session(SessionOptions { user: "tester".to_owned(), ..SessionOptions::default() }).unwrap()
    }

    fn reopen(&mut self) {
        self.db.engine().close().unwrap();
        self.db = open(self.directory.path());
    }
}

fn open(path: &Path) -> Database {
    let engine = Engine::open(Env::real(), path, EngineOptions::default()).unwrap();
    Database::new(engine, SqlOptions::default()).unwrap()
}

/// What a statement gave.
pub(crate) struct Answer {
    pub(crate) names: Vec<String>,
    pub(crate) rows: Vec<String>,
    pub(crate) tag: String,
}

fn consume(session: &mut Session, outcome: Outcome) -> Result<Answer, Error> {
    let mut answer = Answer { names: Vec::new(), rows: Vec::new(), tag: String::new() };
    match outcome {
        Outcome::Empty => {}
        Outcome::Command { tag } => answer.tag = tag,
        Outcome::Rows(mut stream) => {
            let columns = stream.columns().clone();
            answer.names = columns.iter().map(|column| column.name.clone()).collect();
            let mut count = 0;
            loop {
                match stream.next_batch() {
                    Ok(None) => break,
                    Ok(Some(batch)) => {
                        for row in batch {
                            assert_eq!(row.len(), columns.len(), "a row has as many values as there are columns");
                            count += 1;
                            let shown: Vec<String> = row
                                .iter()
                                .zip(columns.iter())
                                .map(|(value, column)| show(value, column.data_type, session))
                                .collect();
                            answer.rows.push(shown.join(" | "));
                        }
                    }
                    Err(error) => {
                        session.fail();
                        return Err(error);
                    }
                }
            }
            answer.tag = stream.tag(count);
        }
        Outcome::CopyIn(_) => panic!("COPY FROM STDIN belongs into copy.rs"),
        Outcome::CopyOut(mut copy) => {
            let mut all = Vec::new();
            while let Some(chunk) = copy.next_chunk()? {
                all.extend(chunk);
            }
            answer.rows = String::from_utf8(all).unwrap().lines().map(|line| line.replace('\t', "\\t")).collect();
            answer.tag = copy.tag();
        }
    }
    Ok(answer)
}

fn show(value: &Value, data_type: driftdb_types::DataType, session: &Session) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        value => match format_value(value, data_type, session.time_zone()) {
            text if text.is_empty() => "(empty)".to_owned(),
            text => text,
        },
    }
}

/// Runs a query string as the simple protocol does; the last statement's answer.
pub(crate) fn simple(session: &mut Session, sql: &str) -> Result<Answer, Error> {
    let mut query = session.simple_query(sql);
    let mut last = Answer { names: Vec::new(), rows: Vec::new(), tag: String::new() };
    while let Some(outcome) = query.next(session)? {
        last = consume(session, outcome)?;
    }
    Ok(last)
}

/// Runs a statement as the extended protocol does, with parameters in text form.
pub(crate) fn extended(session: &mut Session, sql: &str, params: &[&str]) -> Result<Answer, Error> {
    let done = extended_before_sync(session, sql, params);
    let synced = session.sync();
    let answer = done?;
    synced?;
    Ok(answer)
}

fn extended_before_sync(session: &mut Session, sql: &str, params: &[&str]) -> Result<Answer, Error> {
    let statement = session.parse_one(sql)?.unwrap();
    let prepared = session.prepare(&statement, &[])?;
    let tz = session.time_zone().clone();
    let mut values = Vec::new();
    for (text, data_type) in params.iter().zip(prepared.params()) {
        values.push(match *text {
            "NULL" => Value::Null,
            text => parse_value(*data_type, text, &tz)?,
        });
    }
    let described = prepared.columns();
    let outcome = session.execute(&prepared, values)?;
    if let (Outcome::Rows(rows), Some(columns)) = (&outcome, &described) {
        let shape = |columns: &[driftdb_sql::ResultColumn]| {
            columns.iter().map(|column| (column.name.clone(), column.data_type)).collect::<Vec<_>>()
        };
        assert_eq!(shape(rows.columns()), shape(columns), "what was described is what comes: {sql}");
    }
    consume(session, outcome)
}

enum Expected {
    Ok { notice: Option<String> },
    Count(u64),
    Error { state: String, text: String },
    Rows { sorted: bool, names: Vec<String>, rows: Vec<String> },
}

/// Runs one file.
pub(crate) fn run(name: &str, text: &str) {
    let mut fixture = Fixture::new();
    let mut sessions: HashMap<String, Session> = HashMap::new();
    let mut current = "one".to_owned();
    let mut params: Option<Vec<String>> = None;
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let place = format!("{name}.slt:{}", number + 1);
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        let expected = match words.next().unwrap() {
            "session" => {
                current = words.next().unwrap().to_owned();
                continue;
            }
            "flush" => {
                fixture.db.engine().store().flush().unwrap();
                continue;
            }
            "reopen" => {
                sessions.clear();
                fixture.reopen();
                continue;
            }
            "extended" => {
                params = Some(words.map(str::to_owned).collect());
                continue;
            }
            "statement" => match words.next().unwrap() {
                "ok" => Expected::Ok { notice: words.nth(1).map(str::to_owned) },
                "count" => Expected::Count(words.next().unwrap().parse().unwrap()),
                "error" => Expected::Error {
                    state: words.next().unwrap().to_owned(),
                    text: words.collect::<Vec<_>>().join(" "),
                },
                other => panic!("{place}: statement {other}?"),
            },
            "query" => {
                let rest: Vec<String> = words.map(str::to_owned).collect();
                let sorted = rest.first().is_some_and(|word| word == "sorted");
                let names = rest.into_iter().skip(usize::from(sorted)).collect();
                Expected::Rows { sorted, names, rows: Vec::new() }
            }
            other => panic!("{place}: {other}?"),
        };
        let mut sql = Vec::new();
        let mut rows = Vec::new();
        let mut in_rows = false;
        while let Some((_, line)) = lines.next_if(|(_, line)| !line.trim().is_empty()) {
            match line {
                "----" => in_rows = true,
                line if in_rows => rows.push(line.trim().to_owned()),
                line => sql.push(line),
            }
        }
        let sql = sql.join("\n");
        let session = sessions.entry(current.clone()).or_insert_with(|| fixture.session());
        session.take_notices();
        let answer = match params.take() {
            None => simple(session, &sql),
            Some(params) => {
                let params: Vec<&str> = params.iter().map(String::as_str).collect();
                extended(session, &sql, &params)
            }
        };
        let expected = match expected {
            Expected::Rows { sorted, names, .. } => Expected::Rows { sorted, names, rows },
            other => other,
        };
        check(&place, &sql, session, answer, expected);
    }
}

fn check(place: &str, sql: &str, session: &mut Session, answer: Result<Answer, Error>, expected: Expected) {
    let notices: Vec<String> = session.take_notices().iter().map(|notice| notice.state.code().to_owned()).collect();
    match (answer, expected) {
        (Ok(_), Expected::Ok { notice }) => {
            if let Some(wanted) = notice {
                assert!(notices.contains(&wanted), "{place}: notices are {notices:?}, not {wanted}\n{sql}");
            }
        }
        (Ok(answer), Expected::Count(count)) => {
            let tag: Vec<&str> = answer.tag.rsplit(' ').collect();
            assert_eq!(tag[0], count.to_string(), "{place}: {}\n{sql}", answer.tag);
        }
        (Ok(mut answer), Expected::Rows { sorted, names, mut rows }) => {
            if !names.is_empty() {
                assert_eq!(answer.names, names, "{place}: column names\n{sql}");
            }
            if sorted {
                answer.rows.sort();
                rows.sort();
            }
            let same = answer.rows.len() == rows.len()
                && answer.rows.iter().zip(&rows).all(|(found, wanted)| {
                    let (found, wanted) = (found.split(" | "), wanted.split(" | "));
                    found.clone().count() == wanted.clone().count()
                        && found
                            .zip(wanted)
                            .all(|(found, wanted)| wanted.trim() == "*" || found == wanted || found == wanted.trim())
                });
            assert!(same, "{place}\n{sql}\nfound:\n{}\nexpected:\n{}", answer.rows.join("\n"), rows.join("\n"));
        }
        (Ok(answer), Expected::Error { state, .. }) => {
            panic!("{place}: no error {state} but {} {:?}\n{sql}", answer.tag, answer.rows)
        }
        (Err(error), Expected::Error { state, text }) => {
            assert_eq!(error.state.code(), state, "{place}: {error:?}\n{sql}");
            let all =
                format!("{} {} {}", error.message, error.detail.unwrap_or_default(), error.hint.unwrap_or_default());
            assert!(all.contains(&text), "{place}: {all:?} does not contain {text:?}\n{sql}");
        }
        (Err(error), _) => panic!("{place}: {error:?}\n{sql}"),
    }
}
