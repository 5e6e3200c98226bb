//! Drivers that no one here wrote, on the real binary: psycopg and asyncpg.

use crate::python::python;
use crate::server::{PASSWORD, Server, succeed};

#[test]
fn psycopg_and_asyncpg_connect_unmodified() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&place.path().join("data"));
    let port = server.port().to_string();
    let out = succeed(python().args(["-c", include_str!("drivers.py"), &port, PASSWORD]));
    assert!(out.contains("both drivers work"), "{out}");
    server.stop();
}
