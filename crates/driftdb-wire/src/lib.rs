//! DriftDB speaks PostgreSQL's wire protocol (version 3.0 and 3.2).
//!
//! A [`Server`] listens, proves who its clients are (SCRAM-SHA-256), and gives each connection a thread that drives
//! a `driftdb_sql::Session`. This crate alone knows PostgreSQL's messages; it knows nothing of tables or storage.
//!
//! | file | is about |
//! |---|---|
//! | `server.rs`, `registry.rs` | listening, limits, cancel requests, shutting down |
//! | `startup.rs`, `auth.rs`, `scram.rs` | what a client asks for when it connects, and whether it may |
//! | `connection.rs`, `extended.rs`, `copy.rs` | the conversation |
//! | `frontend.rs`, `input.rs` | messages of the client: framing and decoding, where nothing is trusted |
//! | `output.rs`, `rows.rs` | messages to the client: batches, rows, errors |
//!
//! ```no_run
//! # fn open_database() -> driftdb_sql::Database { std::process::abort() }
//! use std::time::Duration;
//! use driftdb_env::Env;
//! use driftdb_wire::{Auth, Credentials, ScramVerifier, Server, ServerOptions};
//!
//! let env = Env::real();
//! let verifier = ScramVerifier::from_password("secret", &*env.rand);
//! let auth = Auth::Scram(Credentials::new().with_user("driftdb", verifier));
//! let options = ServerOptions { auth, ..ServerOptions::default() };
//! let server = Server::bind(&["127.0.0.1:5433".parse()?], options, open_database(), env)?;
//! let handle = server.handle(); // for a signal handler: handle.shutdown(Duration::from_secs(30))
//! server.run()?;
//! # drop((handle, Duration::ZERO));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod auth;
mod connection;
mod copy;
mod extended;
mod frontend;
mod input;
mod output;
mod registry;
mod rows;
mod scram;
mod server;
mod startup;

pub use auth::{Auth, Credentials};
pub use scram::{InvalidVerifier, ScramVerifier};
pub use server::{RunningServer, Server, ServerError, ServerHandle, ServerOptions};
