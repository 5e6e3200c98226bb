//! `driftdb doctor` finds a flipped bit in every kind of file, and what is damaged is not served.

use std::path::{Path, PathBuf};

use crate::client::Client;
use crate::server::{PASSWORD, Server, driftdb, fail, succeed};

/// A stopped database with rows in base, history and log.
fn database(data: &Path) {
    let server = Server::start(data);
    let mut client = Client::connect(&server);
    client.query("CREATE TABLE t (id int PRIMARY KEY, name text)");
    client.query("INSERT INTO t SELECT i, 'first ' || i FROM generate_series(1, 2000) AS s(i)");
    client.query("UPDATE t SET name = 'second ' || id");
    server.stop();
    // A kill leaves the newest commits only in the log.
    let server = Server::start(data);
    let mut client = Client::connect(&server);
    client.query("UPDATE t SET name = 'third ' || id");
    // Something after it: what is wrong with the very last frame cannot be told from a write that was cut off.
    client.query("INSERT INTO t VALUES (5000, 'last')");
    server.kill();
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn doctor(data: &Path) -> std::process::Command {
    let mut command = driftdb();
    command.arg("doctor").arg("--data").arg(data);
    command
}

fn serve(data: &Path) -> std::process::Command {
    let mut command = driftdb();
    command.arg("serve").arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]);
    command
}

/// Flips a bit of the file, runs `check`, and flips it back.
pub(crate) fn with_flipped_bit(path: &Path, offset: usize, check: impl FnOnce()) {
    let sound = std::fs::read(path).unwrap();
    let mut damaged = sound.clone();
    damaged[offset] ^= 0x10;
    std::fs::write(path, &damaged).unwrap();
    check();
    std::fs::write(path, &sound).unwrap();
}

#[test]
fn it_finds_a_flipped_bit_and_names_the_file() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    database(&data);
    let out = succeed(&mut doctor(&data));
    assert!(out.contains("nothing wrong"), "{out}");

    let all = files(&data);
    let segments: Vec<&PathBuf> =
        all.iter().filter(|path| path.extension().is_some_and(|end| end == "parquet")).collect();
    assert!(!segments.is_empty(), "{all:?}");
    for segment in segments {
        let name = segment.file_name().unwrap().to_string_lossy().into_owned();
        let middle = std::fs::metadata(segment).unwrap().len() as usize / 2;
        with_flipped_bit(segment, middle, || {
            let (code, errors) = fail(&mut doctor(&data));
            assert!(code == 4 && errors.contains(&name), "{name}: {code}: {errors}");
        });
    }

    // The base: a bit of a row (pages that hold nothing are not checked).
    let base = data.join("base.redb");
    let row = b"second 1000";
    let bytes = std::fs::read(&base).unwrap();
    let offset = bytes.windows(row.len()).position(|window| window == row).expect("the base has the row");
    with_flipped_bit(&base, offset, || {
        let (code, errors) = fail(&mut doctor(&data));
        assert!(code == 4 && errors.contains("base.redb"), "{code}: {errors}");
    });

    // The log: a bit of a commit that only it has. The server does not start on it either, and says the same.
    let logs = all.iter().filter(|path| path.parent().is_some_and(|directory| directory.ends_with("log")));
    let log = logs.max().expect("a log segment");
    let bytes = std::fs::read(log).unwrap();
    let place =
        |needle: &[u8]| bytes.windows(needle.len()).position(|window| window == needle).expect("it is in the log");
    let name = log.file_name().unwrap().to_string_lossy().into_owned();
    with_flipped_bit(log, place(b"third 1"), || {
        for mut command in [doctor(&data), serve(&data)] {
            let (code, errors) = fail(&mut command);
            assert!(code == 4 && errors.contains(&name) && errors.contains("offset"), "{code}: {errors}");
        }
    });
    // So it is with a commit that the checkpoint has: opening reads the segment of the checkpoint from its beginning.
    with_flipped_bit(log, place(b"second 1"), || {
        for mut command in [doctor(&data), serve(&data)] {
            let (code, errors) = fail(&mut command);
            assert!(code == 4 && errors.contains(&name) && errors.contains("offset"), "{code}: {errors}");
        }
    });

    let out = succeed(&mut doctor(&data));
    assert!(out.contains("nothing wrong"), "{out}");
    let server = Server::start(&data);
    assert_eq!(Client::connect(&server).number("SELECT count(*) FROM t WHERE name LIKE 'third%'"), 2000);
    server.stop();
}

/// A row whose page has a flipped bit is an error when it is read, now or as of then; all else is still answered.
#[test]
fn a_flipped_bit_is_never_an_answer() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let server = Server::start(&data);
    let mut client = Client::connect(&server);
    client.query("CREATE TABLE t (id int PRIMARY KEY, name text)");
    client.query("INSERT INTO t SELECT i, 'first ' || i FROM generate_series(1, 2000) AS s(i)");
    client.query("UPDATE t SET name = 'second ' || id");
    server.stop();

    let base = data.join("base.redb");
    let bytes = std::fs::read(&base).unwrap();
    let offset = bytes.windows(11).position(|window| window == b"second 1000").expect("the base has the row");
    let history = files(&data.join("history"));
    let past = "FOR SYSTEM_TIME AS OF @SEQ:2";
    let cases = std::iter::once((&base, offset, "")).chain(history.iter().map(|path| (path, 1000, past)));
    for (path, offset, clause) in cases {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        with_flipped_bit(path, offset, || {
            let server = Server::start(&data);
            let mut client = Client::connect(&server);
            for sql in ["SELECT name FROM t {} WHERE id = 1000", "SELECT count(name) FROM t {}"] {
                let sql = sql.replace("{}", clause);
                let error = client.try_query(&sql).expect_err(&name);
                let error = error.as_db_error().unwrap_or_else(|| panic!("{name}: {error}"));
                assert!(error.code().code() == "XX001" && error.message().contains(&name), "{sql}: {error}");
            }
            assert_eq!(client.number("SELECT count(*) FROM driftdb.commits"), 3, "{name}");
            server.kill();
        });
    }
    let server = Server::start(&data);
    let mut client = Client::connect(&server);
    assert_eq!(client.number("SELECT count(*) FROM t WHERE name LIKE 'second%'"), 2000);
    assert_eq!(client.number(&format!("SELECT count(*) FROM t {past} WHERE name LIKE 'first%'")), 2000);
    server.stop();
}

/// Of each file that is cut short, doctor and the server say the same, with the exit code of damage.
#[test]
fn a_file_cut_short_is_damage() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    database(&data);
    for (file, length) in [("base.redb", 100), ("base.redb", 5000), ("credentials", 0), ("credentials", 40)] {
        let path = data.join(file);
        let sound = std::fs::read(&path).unwrap();
        std::fs::write(&path, &sound[..length]).unwrap();
        for mut command in [doctor(&data), serve(&data)] {
            let (code, errors) = fail(&mut command);
            assert!(code == 4 && errors.contains(file), "{file} of {length} bytes: {code}: {errors}");
            assert!(!errors.contains("panicked"), "{file} of {length} bytes: {errors}");
        }
        std::fs::write(&path, &sound).unwrap();
    }
    succeed(&mut doctor(&data));
    // Without base and log, what is left is still a database that was damaged.
    for file in ["base.redb", "log"] {
        std::fs::rename(data.join(file), place.path().join(file)).unwrap();
    }
    for mut command in [doctor(&data), serve(&data)] {
        let (code, errors) = fail(&mut command);
        assert!(code == 4, "{code}: {errors}");
    }
}

#[test]
fn it_refuses_what_it_cannot_check() {
    let place = tempfile::tempdir().unwrap();
    let (code, errors) = fail(&mut doctor(&place.path().join("nothing")));
    assert!(code == 1 && errors.contains("nothing"), "{code}: {errors}");
    let data = place.path().join("data");
    let server = Server::launch(&data, driftdb().env("DRIFTDB_PASSWORD", PASSWORD));
    let (code, _) = fail(&mut doctor(&data));
    assert_eq!(code, 3);
    server.stop();
}

fn repair(data: &Path, more: &[&str]) -> std::process::Command {
    let mut command = doctor(data);
    command.arg("--repair").args(more);
    command
}

/// What the database answers, now and as of each of its commits.
fn answers(data: &Path, commits: i64) -> Vec<i64> {
    let server = Server::start(data);
    let mut client = Client::connect(&server);
    let mut answers = vec![client.number("SELECT count(*) FROM driftdb.commits")];
    for seq in 2..=commits {
        for name in ["first", "second", "third", "last"] {
            let rows = format!("SELECT count(*) FROM t FOR SYSTEM_TIME AS OF @SEQ:{seq} WHERE name LIKE '{name}%'");
            answers.push(client.number(&rows));
        }
    }
    server.stop();
    answers
}

/// What the log still has is all there again, whichever of the other files is damaged or gone; and so it is in place.
#[test]
fn a_repaired_copy_has_what_the_log_has() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    database(&data);
    let copy = place.path().join("data.repaired");
    let damages = files(&data.join("history")).into_iter().chain([data.join("base.redb")]);
    for (n, path) in damages.enumerate() {
        let sound = std::fs::read(&path).unwrap();
        match n {
            0 => std::fs::remove_file(&path).unwrap(),
            _ => {
                // In the base a row, in history whatever it is.
                let place = sound.windows(11).position(|window| window == b"second 1000").unwrap_or(1000);
                std::fs::write(&path, [&sound[..place], &[0xff], &sound[place + 1..]].concat()).unwrap();
            }
        }
        let (code, errors) = fail(&mut doctor(&data));
        assert_eq!(code, 4, "{errors}");
        let out = succeed(&mut repair(&data, &[]));
        assert!(out.contains("mended: ") && out.contains("nothing is lost"), "{out}");
        succeed(&mut doctor(&copy));
        assert_eq!(answers(&copy, 5), [5, 2000, 0, 0, 0, 0, 2000, 0, 0, 0, 0, 2000, 0, 0, 0, 2000, 1]);
        // What is there is not written over.
        let (code, errors) = fail(&mut repair(&data, &[]));
        assert!(code == 1 && errors.contains("data.repaired"), "{errors}");
        std::fs::remove_dir_all(&copy).unwrap();
        std::fs::write(&path, &sound).unwrap();
    }
    let base = std::fs::read(data.join("base.redb")).unwrap();
    std::fs::write(data.join("base.redb"), &base[..base.len() / 2]).unwrap();
    let out = succeed(&mut repair(&data, &["--in-place"]));
    assert!(out.contains("data.damaged") && !copy.exists(), "{out}");
    assert_eq!(std::fs::read(place.path().join("data.damaged/base.redb")).unwrap().len(), base.len() / 2);
    assert_eq!(answers(&data, 5)[0], 5);
    // Nothing is wrong with it any more, and nothing is made.
    let out = succeed(&mut repair(&data, &[]));
    assert!(out.contains("nothing wrong") && !copy.exists(), "{out}");
}

/// What cannot be put right is said, and missing from the copy, which is sound.
#[test]
fn a_repair_says_what_is_lost() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    database(&data);
    let copy = place.path().join("elsewhere");
    let into = ["--into", copy.to_str().unwrap()];
    let log = files(&data.join("log")).into_iter().max().unwrap();
    let bytes = std::fs::read(&log).unwrap();
    let offset = bytes.windows(7).position(|window| window == b"third 1").unwrap();
    with_flipped_bit(&log, offset, || {
        let (code, errors) = fail(&mut repair(&data, &into));
        assert!(code == 4 && errors.contains("lost: every commit after 3"), "{errors}");
        assert!(errors.contains("commits 5 to 5 can be read, but do not follow"), "{errors}");
        succeed(&mut doctor(&copy));
        assert_eq!(answers(&copy, 3), [3, 2000, 0, 0, 0, 0, 2000, 0, 0]);
        std::fs::remove_dir_all(&copy).unwrap();
    });
    let credentials = data.join("credentials");
    with_flipped_bit(&credentials, 40, || {
        let (code, errors) = fail(&mut repair(&data, &into));
        assert!(code == 4 && errors.contains("lost: the password") && errors.contains("DRIFTDB_PASSWORD"), "{errors}");
        assert_eq!(answers(&copy, 5)[0], 5);
        std::fs::remove_dir_all(&copy).unwrap();
    });
    // Neither base nor log.
    std::fs::remove_file(data.join("base.redb")).unwrap();
    std::fs::remove_file(&log).unwrap();
    for _ in 0..2 {
        let (code, errors) = fail(&mut repair(&data, &into));
        assert!(code == 4 && errors.contains("not repaired: ") && errors.contains("base.redb"), "{errors}");
    }
}
