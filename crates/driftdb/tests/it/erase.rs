//! ERASE on a server: whoever looks through its files finds nothing, and the chain of commits still holds.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::Client;
use crate::server::{Server, succeed};

/// What no compression can make shorter, so that it would be found wherever it stood.
fn secret(n: u64) -> String {
    let mut state = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..12).map(|_| format!("{:016x}", next())).collect()
}

fn bytes_of(secret: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap() as u8;
    secret.as_bytes().chunks(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
}

/// The files under a directory that contain any of these, with every kind of what they were written as.
fn files_with(dir: &Path, needles: &[Vec<u8>]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needles));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            if needles.iter().any(|needle| bytes.windows(24).any(|window| window == &needle[8..32])) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn nothing_is_found_in_any_file() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let server = Server::start(&data);
    let mut client = Client::connect(&server);
    client.query("CREATE TABLE people (id int PRIMARY KEY, secret bytea, town text)");
    client.query("CREATE INDEX people_secret ON people (secret)");
    for id in 1..=20_u64 {
        client.query(&format!("INSERT INTO people VALUES ({id}, '\\x{}', 'Rome')", secret(id)));
    }
    client.query("CHECKPOINT");
    for id in 1..=20_u64 {
        client.query(&format!("UPDATE people SET secret = '\\x{}' WHERE id = {id}", secret(100 + id)));
    }
    client.query("CHECKPOINT");
    for id in 1..=20_u64 {
        client.query(&format!("UPDATE people SET secret = '\\x{}', town = 'Oslo' WHERE id = {id}", secret(200 + id)));
    }
    let digest = client.query("SELECT driftdb_digest()")[0][0].clone().unwrap();
    let of = |id: u64| [id, 100 + id, 200 + id].map(|n| bytes_of(&secret(n)));
    for needle in of(7) {
        assert!(!files_with(&data, &[needle]).is_empty(), "the test could not fail");
    }
    // By what only an old version says of him.
    let old = secret(7);
    assert_eq!(client.query(&format!("ERASE FROM people WHERE secret = '\\x{old}'")).len(), 0);
    assert_eq!(files_with(&data, &of(7)), Vec::<PathBuf>::new());
    assert!(!files_with(&data, &of(8)).is_empty());
    assert_eq!(client.number("SELECT count(*) FROM people FOR SYSTEM_TIME ALL"), 19 * 3);
    assert_eq!(client.number("SELECT count(*) FROM people FOR SYSTEM_TIME AS OF @SEQ:30 WHERE town = 'Rome'"), 19);
    let row = client.query("SELECT \"table\", rows, versions FROM driftdb.erasures");
    assert_eq!(row, [[Some("people".to_owned()), Some("1".to_owned()), Some("3".to_owned())]]);
    assert_eq!(client.with_text("ERASE FROM people WHERE town = $1", &["Nowhere"]).unwrap().len(), 0);
    // It stays gone, whatever comes next.
    client.query("INSERT INTO people VALUES (7, NULL, 'Bern')");
    server.kill();
    let server = Server::start(&data);
    assert_eq!(files_with(&data, &of(7)), Vec::<PathBuf>::new());
    let mut client = Client::connect(&server);
    assert_eq!(client.number("SELECT count(*) FROM people FOR SYSTEM_TIME ALL WHERE id = 7"), 1);
    server.stop();
    assert_eq!(files_with(&data, &of(7)), Vec::<PathBuf>::new());
    let mut verify = Command::new(env!("CARGO_BIN_EXE_driftdb"));
    let out = succeed(verify.args(["verify", "--digest", &digest, "--data"]).arg(&data));
    assert!(out.contains("everything is what was committed"), "{out}");
}

/// Not by the plan of a statement that calls a function, its own or a prepared one of somebody else.
#[test]
fn no_plan_that_is_kept_holds_it_up() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&place.path().join("data"));
    let (mut client, mut other) = (Client::connect(&server), Client::connect(&server));
    client.query("CREATE TABLE notes (id int PRIMARY KEY, note text)");
    client.query("INSERT INTO notes VALUES (1, 'one'), (2, 'three'), (3, 'six')");
    other.query("PREPARE kept AS SELECT count(*) FROM notes WHERE length(note) = 3");
    assert_eq!(other.number("EXECUTE kept"), 2);
    client.query("SET statement_timeout = '30s'");
    client.query("ERASE FROM notes WHERE note LIKE '%e' AND length(note) = 3");
    assert_eq!(client.number("SELECT count(*) FROM notes FOR SYSTEM_TIME ALL"), 2);
    // Who reads an older state does, and who gives up waiting learns what has become of the rows.
    other.query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM notes");
    client.query("SET statement_timeout = '200ms'");
    let error = client.try_query("ERASE FROM notes WHERE id = 2").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!((error.code().code(), error.hint()), ("57014", Some("Repeat the ERASE.")));
    assert_eq!(client.number("SELECT count(*) FROM notes"), 1);
    assert_eq!(other.number("SELECT count(*) FROM notes"), 2);
    other.query("ROLLBACK");
    client.query("SET statement_timeout = 0");
    client.query("ERASE FROM notes WHERE id = 2");
    assert_eq!(client.number("SELECT count(*) FROM notes FOR SYSTEM_TIME ALL"), 1);
    drop((client, other));
    server.stop();
}
