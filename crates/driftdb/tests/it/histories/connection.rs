//! A connection of a workload: statements as text or prepared, and what their errors mean.

use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Error, NoTls, SimpleQueryMessage, Statement};

/// Why a statement has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Another transaction was in the way (40001, 40P01, 23505): this one is to be rolled back and may be tried again.
    Conflict,
    /// The server is gone.
    Lost,
}

/// What an error means; one that no workload has to expect fails the test.
pub(super) fn failure(error: &Error, sql: &str) -> Failure {
    match error.code().map(|code| code.code()) {
        Some("40001" | "40P01" | "23505") => Failure::Conflict,
        Some(_) => panic!("{sql}: {error}: {:?}", error.as_db_error()),
        None => Failure::Lost,
    }
}

pub(super) struct Connection {
    client: tokio_postgres::Client,
    driver: JoinHandle<Result<(), Error>>,
}

impl Connection {
    pub(super) async fn open(config: &Config) -> Result<Connection, Failure> {
        let (client, connection) = config.connect(NoTls).await.map_err(|error| failure(&error, "connecting"))?;
        Ok(Connection { client, driver: tokio::spawn(connection) })
    }

    /// Rows and the number of rows of the last statement, as text.
    pub(super) async fn query(&self, sql: &str) -> Result<(Vec<Vec<String>>, u64), Failure> {
        let messages = self.client.simple_query(sql).await.map_err(|error| failure(&error, sql))?;
        let (mut rows, mut count) = (Vec::new(), 0);
        for message in messages {
            match message {
                SimpleQueryMessage::Row(row) => {
                    rows.push((0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()).collect());
                }
                SimpleQueryMessage::CommandComplete(rows) => count = rows,
                _ => {}
            }
        }
        Ok((rows, count))
    }

    pub(super) async fn run(&self, sql: &str) -> Result<(), Failure> {
        self.client.batch_execute(sql).await.map_err(|error| failure(&error, sql))
    }

    pub(super) async fn prepare(&self, sql: &str) -> Result<Statement, Failure> {
        self.client.prepare(sql).await.map_err(|error| failure(&error, sql))
    }

    /// The first column of a prepared statement's rows.
    pub(super) async fn query_prepared(
        &self,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<String>, Failure> {
        let rows = self.client.query(statement, parameters).await;
        Ok(rows.map_err(|error| failure(&error, "prepared"))?.iter().map(|row| row.get(0)).collect())
    }

    /// Ends the connection without a word, in the middle of whatever there is.
    pub(super) fn tear(self) {
        self.driver.abort();
    }
}
