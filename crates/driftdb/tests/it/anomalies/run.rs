//! Running the scripts' statements, each session on its own connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::script::{Action, Case, Level, Step, System, counts_rows, returns_rows, verb};

/// A statement that has not ended by then waits for somebody. On a slow machine one that is about to end may pass for
/// waiting where waiting is expected; its outcome is looked at nonetheless.
const WAITS_AFTER: Duration = Duration::from_millis(300);

/// A statement that has to end is given so long, even on a busy machine.
const ENDS_BEFORE: Duration = Duration::from_secs(30);

/// Runs cases at one level on one system.
pub(super) struct Runner {
    runtime: Runtime,
    config: Config,
    /// For what is between the cases.
    keeper: Client,
    level: Level,
    system: System,
}

/// A session, and the statement that it waits in.
struct Session {
    client: Arc<Client>,
    pending: Option<JoinHandle<String>>,
}

impl Runner {
    pub(super) fn new(config: Config, level: Level, system: System) -> Runner {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let keeper = connect(&runtime, &config);
        Runner { runtime, config, keeper, level, system }
    }

    /// Runs all of them; what was wrong, a text a case.
    pub(super) fn run(&self, cases: &[Case]) -> Vec<String> {
        cases.iter().filter_map(|case| self.run_case(case).err()).collect()
    }

    /// Runs a statement that has to succeed.
    pub(super) fn command(&self, sql: &str) -> Vec<SimpleQueryMessage> {
        let answer = self.runtime.block_on(async { timeout(ENDS_BEFORE, self.keeper.simple_query(sql)).await });
        let answer = answer.unwrap_or_else(|_| panic!("{}: {sql}: no end", self.system.name()));
        answer.unwrap_or_else(|error| panic!("{}: {sql}: {error:?}", self.system.name()))
    }

    fn session(&self) -> Session {
        let client = connect(&self.runtime, &self.config);
        let mut settings = format!("SET default_transaction_isolation = '{}'", self.level.sql().to_lowercase());
        if self.system == System::PostgreSql {
            // Who looks for a deadlock before the others fails; in DriftDB that is who closed the circle, because it
            // looks at once.
            settings.push_str("; SET deadlock_timeout = '10ms'");
        }
        self.runtime.block_on(client.simple_query(&settings)).expect("settings");
        Session { client: Arc::new(client), pending: None }
    }

    fn run_case(&self, case: &Case) -> Result<(), String> {
        self.drop_tables();
        for sql in &case.setup {
            self.command(sql);
        }
        let mut sessions: BTreeMap<&str, Session> = BTreeMap::new();
        for step in &case.steps {
            let expected = &step.outcome(self.level, self.system).text;
            if expected == "skip" {
                continue;
            }
            let session = sessions.entry(&step.session).or_insert_with(|| self.session());
            let got = self.take_step(session, step, expected);
            if got != *expected {
                return Err(self.complaint(case, step, &format!("expected {expected}\n     got {got}")));
            }
        }
        match sessions.iter().find(|(_, session)| session.pending.is_some()) {
            Some((name, _)) => {
                let last = case.steps.last().expect("a case has steps");
                Err(self.complaint(case, last, &format!("after it {name} has a statement whose end is not looked at")))
            }
            None => Ok(()),
        }
    }

    fn complaint(&self, case: &Case, step: &Step, what: &str) -> String {
        let (level, system) = (self.level.sql(), self.system.name());
        let statement = match &step.action {
            Action::Run(sql) => sql.as_str(),
            Action::End => "(ends)",
            Action::Wait => "(waits)",
        };
        let place = format!("{}:{}: {} at {level} on {system}", case.file, step.line, case.name);
        format!("{place}\n  {}: {statement}\n{what}", step.session)
    }

    /// What comes of a step.
    fn take_step(&self, session: &mut Session, step: &Step, expected: &str) -> String {
        let statement = match (&step.action, session.pending.take()) {
            (Action::Run(sql), None) => self.runtime.spawn(outcome(Arc::clone(&session.client), sql.clone())),
            (Action::Run(_), Some(_)) => return "another statement, which waits still".to_owned(),
            (Action::End | Action::Wait, Some(statement)) => statement,
            (Action::End | Action::Wait, None) => return "no statement that waited".to_owned(),
        };
        let patience = if expected == "waits" { WAITS_AFTER } else { ENDS_BEFORE };
        self.runtime.block_on(async {
            let mut statement = statement;
            match timeout(patience, &mut statement).await {
                Ok(outcome) => outcome.expect("the statement's task ends"),
                Err(_) => {
                    session.pending = Some(statement);
                    "waits".to_owned()
                }
            }
        })
    }

    /// Removes what the case before has left.
    fn drop_tables(&self) {
        let tables = "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                      WHERE c.relkind = 'r' AND n.nspname = 'public'";
        for message in self.command(tables) {
            if let SimpleQueryMessage::Row(row) = message {
                self.command(&format!("DROP TABLE {}", row.get(0).expect("a name")));
            }
        }
    }
}

fn connect(runtime: &Runtime, config: &Config) -> Client {
    let (client, connection) = runtime.block_on(config.connect(NoTls)).expect("a connection");
    runtime.spawn(connection);
    client
}

/// Runs a statement, and tells what came of it as the scripts write it.
async fn outcome(client: Arc<Client>, sql: String) -> String {
    let messages = match client.simple_query(&sql).await {
        Ok(messages) => messages,
        Err(error) => return error.code().map_or_else(|| format!("{error:?}"), |code| code.code().to_owned()),
    };
    let (mut rows, mut count) = (Vec::new(), 0);
    for message in &messages {
        match message {
            SimpleQueryMessage::Row(row) => {
                let values: Vec<&str> = (0..row.len()).map(|column| row.get(column).unwrap_or("NULL")).collect();
                rows.push(format!("({})", values.join(", ")));
            }
            SimpleQueryMessage::CommandComplete(rows) => count = *rows,
            _ => {}
        }
    }
    if !rows.is_empty() {
        rows.join(" ")
    } else if returns_rows(&sql) {
        "no rows".to_owned()
    } else if counts_rows(&sql) {
        format!("{} {count}", verb(&sql))
    } else {
        "ok".to_owned()
    }
}
