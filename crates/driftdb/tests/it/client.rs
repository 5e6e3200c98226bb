//! A small blocking client over tokio-postgres, results as text.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{SinkExt as _, TryStreamExt as _};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

use crate::server::{PASSWORD, Server};

/// A row as text; `None` is NULL.
pub(crate) type Row = Vec<Option<String>>;

pub(crate) struct Client {
    runtime: Runtime,
    client: tokio_postgres::Client,
    connection: JoinHandle<Result<(), tokio_postgres::Error>>,
}

/// How to connect to `server`.
pub(crate) fn config(server: &Server, password: &str) -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1").port(server.port()).user("driftdb").dbname("driftdb").password(password);
    config
}

impl Client {
    pub(crate) fn connect(server: &Server) -> Client {
        Client::try_connect(server, PASSWORD).expect("the server lets us in")
    }

    pub(crate) fn try_connect(server: &Server, password: &str) -> Result<Client, tokio_postgres::Error> {
        Client::try_connect_to(&config(server, password))
    }

    pub(crate) fn try_connect_to(config: &Config) -> Result<Client, tokio_postgres::Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (client, connection) = runtime.block_on(config.connect(NoTls))?;
        let connection = runtime.spawn(connection);
        Ok(Client { runtime, client, connection })
    }

    pub(crate) fn try_query(&mut self, sql: &str) -> Result<Vec<Row>, tokio_postgres::Error> {
        let messages = self.runtime.block_on(self.client.simple_query(sql))?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
                }
                _ => None,
            })
            .collect())
    }

    /// Runs statements that have to succeed; the rows of all of them.
    pub(crate) fn query(&mut self, sql: &str) -> Vec<Row> {
        self.try_query(sql).unwrap_or_else(|error| panic!("{sql}: {error}: {:?}", error.as_db_error()))
    }

    /// Sends the data of a COPY FROM STDIN, a piece at a time; how many rows it says it took.
    pub(crate) fn copy_in(
        &mut self,
        sql: &str,
        data: impl Iterator<Item = String>,
    ) -> Result<u64, tokio_postgres::Error> {
        self.runtime.block_on(async {
            let mut sink = std::pin::pin!(self.client.copy_in::<_, Bytes>(sql).await?);
            for piece in data {
                // An error is the server's, which says more at the end.
                if sink.feed(Bytes::from(piece)).await.is_err() {
                    break;
                }
            }
            sink.finish().await
        })
    }

    /// Runs one statement with parameters given as text, in the extended protocol.
    pub(crate) fn with_text(&mut self, sql: &str, text: &[&str]) -> Result<Vec<String>, tokio_postgres::Error> {
        let params: Vec<(&(dyn ToSql + Sync), Type)> =
            text.iter().map(|text| (text as &(dyn ToSql + Sync), Type::TEXT)).collect();
        let rows = self.runtime.block_on(self.client.query_typed(sql, &params))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The one value of a statement that gives one.
    pub(crate) fn value(&mut self, sql: &str) -> String {
        let rows = self.query(sql);
        assert_eq!((rows.len(), rows[0].len()), (1, 1), "{sql}: {rows:?}");
        rows[0][0].clone().unwrap_or_else(|| panic!("{sql}: NULL"))
    }

    pub(crate) fn number(&mut self, sql: &str) -> i64 {
        self.value(sql).parse().unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs a statement that has to fail; its SQLSTATE.
    pub(crate) fn error(&mut self, sql: &str) -> String {
        let error = self.try_query(sql).expect_err(sql);
        state(&error).unwrap_or_else(|| panic!("{sql}: {error}"))
    }

    /// Runs a statement that has to fail; its SQLSTATE and its message.
    pub(crate) fn refused(&mut self, sql: &str) -> (String, String) {
        let shown: String = sql.chars().take(200).collect();
        let error = self.try_query(sql).expect_err(&shown);
        let error = error.as_db_error().unwrap_or_else(|| panic!("{shown}: {error}"));
        (error.code().code().to_owned(), error.message().to_owned())
    }

    /// Waits, without sending anything, until the server ends the connection; the SQLSTATE it gives.
    pub(crate) fn ended(self) -> String {
        let Client { runtime, client: _open, connection } = self;
        let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, connection).await });
        let error = ended.expect("the server ends the connection").unwrap().expect_err("it says why");
        state(&error).unwrap_or_else(|| panic!("{error}"))
    }

    /// Runs a statement to its end, and takes what it sends.
    async fn run(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        if !sql.starts_with("COPY") {
            return self.client.batch_execute(sql).await;
        }
        let mut sent = std::pin::pin!(self.client.copy_out(sql).await?);
        while sent.try_next().await?.is_some() {}
        Ok(())
    }

    /// Runs a statement that would go on for long, and cancels it after `head_start`; its SQLSTATE, and how long it went on
    /// after that; `None` if it came to its end. A request that comes before the statement has begun is for nothing, so it
    /// is repeated.
    pub(crate) fn cancelled(&mut self, sql: &str, head_start: Duration) -> Option<(String, Duration)> {
        let token = self.client.cancel_token();
        let (result, took) = self.runtime.block_on(async {
            let mut statement = std::pin::pin!(self.run(sql));
            if let Ok(early) = tokio::time::timeout(head_start, &mut statement).await {
                return (early, Duration::ZERO);
            }
            let first = Instant::now();
            while first.elapsed() < PATIENCE {
                token.cancel_query(NoTls).await.expect("a cancel request is taken");
                if let Ok(result) = tokio::time::timeout(Duration::from_secs(1), &mut statement).await {
                    return (result, first.elapsed());
                }
            }
            panic!("{sql}: not cancelled within {PATIENCE:?}");
        });
        let error = result.err()?;
        Some((state(&error).unwrap_or_else(|| panic!("{sql}: {error}")), took))
    }
}

/// How long to wait for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The SQLSTATE, where the server gave the error.
pub(crate) fn state(error: &tokio_postgres::Error) -> Option<String> {
    error.code().map(|state| state.code().to_owned())
}
