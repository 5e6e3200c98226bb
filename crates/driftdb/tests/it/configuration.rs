//! Where settings come from, which source wins, and what is refused.

use crate::client::Client;
use crate::server::{PASSWORD, Server, driftdb, fail};

#[test]
fn a_flag_beats_a_variable_beats_the_file() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("settings.toml");
    std::fs::write(&file, "listen = '127.0.0.2:0'\nmax-connections = 1\nmemory-limit = '256MiB'\nlog = 'warn'\n")
        .unwrap();

    let mut command = driftdb();
    command.args(["--version"]);
    let serve = |env: &[(&str, &str)], data: &str| {
        let mut command = driftdb();
        command.env("DRIFTDB_PASSWORD", PASSWORD).env("DRIFTDB_CONFIG", &file).envs(env.iter().copied());
        (command, place.path().join(data))
    };

    // The file alone: its address.
    let (mut command, data) = serve(&[], "a");
    command.arg("serve").arg("--data").arg(&data);
    let greeting = first_line_of(&mut command);
    assert!(greeting.contains("127.0.0.2:"), "{greeting}");

    // The variable beats the file.
    let (mut command, data) = serve(&[("DRIFTDB_LISTEN", "127.0.0.3:0")], "b");
    command.arg("serve").arg("--data").arg(&data);
    let greeting = first_line_of(&mut command);
    assert!(greeting.contains("127.0.0.3:"), "{greeting}");

    // The flag beats both; and what only the file says still holds: one connection.
    let (mut command, data) = serve(&[], "c");
    let server = Server::launch(&data, &mut command);
    assert!(server.greeting()[0].contains("127.0.0.1:"), "{:?}", server.greeting());
    let _first = Client::connect(&server);
    let refused = Client::try_connect(&server, PASSWORD).err().expect("a second connection is one too many");
    assert_eq!(refused.code().map(|code| code.code()), Some("53300"), "{refused}");
    server.stop();
}

/// Starts a server, takes its first line and stops it.
fn first_line_of(command: &mut std::process::Command) -> String {
    use std::io::{BufRead as _, BufReader};
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    line
}

#[test]
fn what_is_not_known_or_not_allowed_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("settings.toml");
    std::fs::write(&file, "max-conections = 5\n").unwrap();
    let data = place.path().join("data");
    let refused = |change: &dyn Fn(&mut std::process::Command)| {
        let mut command = driftdb();
        command.arg("serve").arg("--data").arg(&data).args(["--listen", "127.0.0.1:0"]);
        change(&mut command);
        let (code, errors) = fail(&mut command);
        assert!(!data.exists(), "a refused start leaves nothing behind");
        (code, errors)
    };
    let (code, errors) = refused(&|command| {
        command.arg("--config").arg(&file);
    });
    assert!(code == 1 && errors.contains("max-conections") && errors.contains("settings.toml"), "{code}: {errors}");
    let (code, errors) = refused(&|command| {
        command.env("DRIFTDB_MEMORYLIMIT", "1GiB");
    });
    assert!(code == 1 && errors.contains("DRIFTDB_MEMORYLIMIT"), "{code}: {errors}");
    let (_, errors) = refused(&|command| {
        command.env("DRIFTDB_MEMORY_LIMIT", "a lot");
    });
    assert!(errors.contains("DRIFTDB_MEMORY_LIMIT") && errors.contains("a lot"), "{errors}");
    let (_, errors) = refused(&|command| {
        command.args(["--memory-limit", "1MiB"]);
    });
    assert!(errors.contains("128MiB"), "{errors}");
    let (code, _) = refused(&|command| {
        command.arg("--max-conections=5");
    });
    assert_eq!(code, 2);
    let (_, errors) = refused(&|command| {
        command.args(["--auth", "trust"]).env("DRIFTDB_LISTEN", "0.0.0.0:0");
        // The flag given above beats the variable: say it again.
        command.args(["--config", "/nonexistent/settings.toml"]);
    });
    assert!(errors.contains("/nonexistent/settings.toml"), "{errors}");
}

#[test]
fn trust_is_only_for_loopback() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let mut open = driftdb();
    open.arg("serve").arg("--data").arg(&data).args(["--listen", "0.0.0.0:0", "--auth", "trust"]);
    let (code, errors) = fail(&mut open);
    assert!(code == 1 && errors.contains("loopback"), "{code}: {errors}");

    let mut command = driftdb();
    command.env("DRIFTDB_AUTH", "trust");
    let server = Server::launch(&data, &mut command);
    let mut client = Client::try_connect(&server, "anything").expect("trust asks for nothing");
    assert_eq!(client.number("SELECT 1"), 1);
    server.stop();
}
