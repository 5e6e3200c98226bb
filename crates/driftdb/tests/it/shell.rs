//! `driftdb sql`, against a server and on a directory.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::server::{PASSWORD, Server, driftdb, fail, succeed};

fn to_server(server: &Server) -> Command {
    let mut command = driftdb();
    command.args(["sql", "--port", &server.port().to_string()]).env("DRIFTDB_PASSWORD", PASSWORD);
    command
}

fn to_directory(data: &Path) -> Command {
    let mut command = driftdb();
    command.arg("sql").arg("--data").arg(data);
    command
}

/// The same conversation with both kinds of database.
fn converse(shell: &dyn Fn() -> Command, place: &Path) {
    let out = succeed(shell().args(["-c", "CREATE TABLE t (id int PRIMARY KEY, name text)"]));
    assert_eq!(out, "CREATE TABLE\n");
    let csv = place.join("in.csv");
    std::fs::write(&csv, "id,name\n1,one\n2,\"two, or so\"\n3,\n").unwrap();
    let copy = format!(r"\copy t from '{}' with (format csv, header)", csv.display());
    assert_eq!(succeed(shell().args(["-c", &copy])), "COPY 3\n");
    let out = succeed(shell().args(["-c", "SELECT id, name FROM t ORDER BY id"]));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0].split('|').map(str::trim).collect::<Vec<_>>(), ["id", "name"], "{out}");
    assert_eq!(lines[2..], ["  1 | one", "  2 | two, or so", "  3 |", "(3 rows)", ""], "{out}");

    // A file of statements over several lines, with a command between.
    let script = place.join("script.sql");
    std::fs::write(
        &script,
        "UPDATE t SET name = 'three; it''s'\n WHERE id = 3;\n-- note\n\\timing on\nDELETE FROM t\nWHERE id = 1",
    )
    .unwrap();
    let out = succeed(shell().arg("-f").arg(&script));
    assert!(out.starts_with("UPDATE 1\nTiming is on.\nDELETE 1\nTime: "), "{out}");

    // Standard input.
    let mut child = shell().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"SELECT count(*) AS n\nFROM t;\n\\dt\n\\d t\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{out}");
    for expected in ["n\n", "(1 row)", "name", "integer", "text", "t_pkey"] {
        assert!(out.contains(expected), "{expected} in {out}");
    }

    let written = place.join("out.csv");
    let copy = format!(r"\copy (SELECT * FROM t ORDER BY id) to '{}' with (format csv)", written.display());
    let out = succeed(shell().args(["-c", &copy]));
    assert!(out.starts_with("COPY"), "{out}");
    assert_eq!(std::fs::read_to_string(&written).unwrap(), "2,\"two, or so\"\n3,three; it's\n");

    // Without a file: standard output, and what follows or standard input.
    for typed in [r"\copy (SELECT id FROM t ORDER BY id) to stdout", "COPY (SELECT id FROM t ORDER BY id) TO STDOUT"] {
        assert_eq!(succeed(shell().args(["-c", typed])), "2\n3\n", "{typed}");
    }
    assert!(!Path::new("stdout").exists());
    let fed = |arguments: &[&str], input: &str| {
        let mut child = shell().args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{out}");
        out
    };
    assert_eq!(fed(&["-c", r"\copy t from stdin"], "4\tfour\n5\tfive\n"), "COPY 2\n");
    let script = "copy t from stdin with (format csv);\n6,six; it's\n\\.\n\\copy t from stdin\n7\tseven\n\\.\n\
                  DELETE FROM t WHERE id > 3;\n";
    assert_eq!(fed(&[], script), "COPY 1\nCOPY 1\nDELETE 4\n");

    // A table's types with their lengths; one that is not there is said not to be.
    succeed(shell().args(["-c", "CREATE TABLE typed (n numeric(10,2), c char(3), v varchar(7))"]));
    let out = succeed(shell().args(["-c", r"\d typed"]));
    for expected in ["numeric(10,2)", "character(3)", "character varying(7)"] {
        assert!(out.contains(expected), "{expected} in {out}");
    }
    let (code, errors) = fail(shell().args(["-c", r"\d nosuch"]));
    assert!(code == 1 && errors.contains("no table named \"nosuch\""), "{code}: {errors}");

    // An error: its SQLSTATE, its place, exit code 1, and what follows is not run.
    let (code, errors) = fail(shell().args(["-c", "SELECT 1 FROM", "-c", "DELETE FROM t"]));
    assert!(code == 1 && errors.contains("42601"), "{code}: {errors}");
    let (_, errors) = fail(shell().args(["-c", "SELECT * FROM nowhere"]));
    assert!(errors.contains("42P01") && errors.contains("nowhere"), "{errors}");
    let (_, errors) = fail(shell().args(["-c", r"\copy t from 'no such file.csv'"]));
    assert!(errors.contains("no such file.csv"), "{errors}");
    let (_, errors) = fail(shell().args(["-c", r"\nonsense"]));
    assert!(errors.contains("nonsense"), "{errors}");
    let out = succeed(shell().args(["-c", "SELECT count(*) FROM t"]));
    assert!(out.contains("2\n(1 row)"), "{out}");
}

#[test]
fn it_talks_to_a_server() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&place.path().join("data"));
    converse(&|| to_server(&server), place.path());
    let mut wrong = to_server(&server);
    wrong.env("DRIFTDB_PASSWORD", "wrong");
    let (code, errors) = fail(wrong.args(["-c", "SELECT 1"]));
    assert!(code == 1 && errors.contains("28P01"), "{code}: {errors}");
    server.stop();
}

#[test]
fn it_opens_a_directory() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    converse(&|| to_directory(&data), place.path());
}
