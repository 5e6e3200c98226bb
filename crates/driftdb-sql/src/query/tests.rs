#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]

use std::path::Path;

use driftdb_engine::{Engine, EngineOptions};
use driftdb_env::Env;
use driftdb_types::{DataType, format_value};

use crate::{Database, Outcome, Session, SessionOptions, SqlOptions};

struct Fixture {
    session: Session,
    _dir: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(Env::real(), Path::new(dir.path()), EngineOptions::default()).unwrap();
    let database = Database::new(engine, SqlOptions::default()).unwrap();
    let session = database.session(SessionOptions::default()).unwrap();
    Fixture { session, _dir: dir }
}

impl Fixture {
    /// The rows of a query as text, `|` between columns; or `!sqlstate message`.
    fn ask(&mut self, sql: &str) -> Vec<String> {
        match self.try_ask(sql) {
            Ok(rows) => rows,
            Err(error) => vec![format!("!{} {}{}", error.state.code(), error.message, error.detail.map_or(String::new(), |d| format!(" [{d}]")))],
        }
    }

    fn try_ask(&mut self, sql: &str) -> driftdb_types::Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut query = self.session.simple_query(sql);
        while let Some(outcome) = query.next(&mut self.session)? {
            if let Outcome::Rows(mut rows) = outcome {
                let columns: Vec<DataType> = rows.columns().iter().map(|c| c.data_type).collect();
                let zone = self.session.time_zone().clone();
                while let Some(batch) = rows.next_batch()? {
                    for row in batch {
                        let texts: Vec<String> = row
                            .iter()
                            .zip(&columns)
                            .map(|(v, t)| if v.is_null() { "∅".to_owned() } else { format_value(v, *t, &zone) })
                            .collect();
                        lines.push(texts.join("|"));
                    }
                }
            }
        }
        Ok(lines)
    }

    fn run(&mut self, sql: &str) {
        if let Err(error) = self.session.run(sql) {
            panic!("{sql}: {error:?}");
        }
    }
}

#[test]
#[ignore = "prints the answers to the statements of a file, for a look"]
fn look() {
    let text = std::fs::read_to_string(std::env::var("SQL_FILE").unwrap()).unwrap();
    let mut f = fixture();
    for sql in text.split(";\n").map(str::trim).filter(|sql| !sql.is_empty()) {
        let start = std::time::Instant::now();
        let answer = f.ask(sql);
        println!("{sql}\n    {}   ({:?})", answer.join("\n    "), start.elapsed());
    }
}
