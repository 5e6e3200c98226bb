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
