//! Starting, watching and stopping the binary.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The binary under test, with none of our own DRIFTDB_* variables: it refuses those it does not know.
pub(crate) fn driftdb() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftdb"));
    clear_settings(&mut command);
    command
}

pub(crate) fn clear_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DRIFTDB_") {
            command.env_remove(name);
        }
    }
}

/// The password of servers that a test does not choose one for.
pub(crate) const PASSWORD: &str = "a test's password";

/// How long a server may take to answer its first start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Server {
    child: Child,
    address: std::net::SocketAddr,
    greeting: Vec<String>,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

impl Server {
    /// A server on `data` and a free port, with [`PASSWORD`].
    pub(crate) fn start(data: &Path) -> Server {
        Server::launch(data, driftdb().env("DRIFTDB_PASSWORD", PASSWORD))
    }

    /// The same with little memory, so that flushes happen early.
    pub(crate) fn start_small(data: &Path) -> Server {
        Server::launch(data, driftdb().env("DRIFTDB_PASSWORD", PASSWORD).env("DRIFTDB_MEMORY_LIMIT", "128MiB"))
    }

    /// The same, and without a password: hashing it for each of many connections takes long in an unoptimised test.
    pub(crate) fn start_trusting(data: &Path) -> Server {
        let mut command = driftdb();
        Server::launch(data, command.env("DRIFTDB_AUTH", "trust").env("DRIFTDB_MEMORY_LIMIT", "128MiB"))
    }

    /// A server on `data` with the settings of `command`, on a free port unless it names one.
    pub(crate) fn launch(data: &Path, command: &mut Command) -> Server {
        command.arg("serve").arg("--data").arg(data);
        if !command.get_args().any(|argument| argument == "--listen" || argument == "--config")
            && !command.get_envs().any(|(name, _)| name == "DRIFTDB_LISTEN")
        {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("driftdb starts");
        let lines = read_lines(child.stdout.take().unwrap());
        let errors = read_all(child.stderr.take().unwrap());
        let mut server =
            Server { child, address: ([127, 0, 0, 1], 0).into(), greeting: Vec::new(), lines, errors: Some(errors) };
        server.wait_for_greeting();
        server
    }

    fn wait_for_greeting(&mut self) {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some((_, address)) = line.rsplit_once(" on ")
                        && line.starts_with("DriftDB")
                    {
                        self.address = address.parse().expect("the greeting ends with the address");
                    }
                    let last = line.starts_with("connect with:");
                    self.greeting.push(line);
                    if last {
                        return;
                    }
                }
                Err(error) => {
                    let _ = self.child.kill();
                    let errors = self.errors.take().unwrap().join().unwrap();
                    panic!("no greeting: {error}; standard error:\n{errors}");
                }
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it printed until it was ready.
    pub(crate) fn greeting(&self) -> &[String] {
        &self.greeting
    }

    /// Points PostgreSQL's client programs at this server.
    pub(crate) fn address(&self, command: &mut Command, password: &str) {
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port().to_string())
            .env("PGUSER", "driftdb")
            .env("PGDATABASE", "driftdb")
            .env("PGPASSWORD", password)
            .env("PGCONNECT_TIMEOUT", "30");
    }

    /// Sends a signal by name, as `kill` does.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(status.success(), "kill -{name}");
    }

    /// SIGTERM: asks it to stop, and waits; its exit status, all it printed after the greeting, and standard error.
    pub(crate) fn terminate(mut self) -> (ExitStatus, String, String) {
        self.signal("TERM");
        let status = self.wait(Duration::from_secs(60));
        let printed: Vec<String> = self.lines.iter().collect();
        (status, printed.join("\n"), self.errors.take().unwrap().join().unwrap())
    }

    /// SIGTERM, and an orderly end is expected.
    pub(crate) fn stop(self) {
        let (status, printed, errors) = self.terminate();
        assert!(status.success(), "{status}: {printed}\n{errors}");
    }

    /// SIGKILL: it gets no chance to do anything.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn wait(&mut self, timeout: Duration) -> ExitStatus {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server did not stop within {timeout:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking()
            && let Some(errors) = self.errors.take()
        {
            eprintln!("--- standard error of the server:\n{}", errors.join().unwrap_or_default());
        }
    }
}

fn read_lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    let program = command.get_program().to_owned();
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| {
        panic!("{} cannot be started ({error}); cargo xtask test provides what the tests need", program.display())
    })
}

/// Runs a command that has to succeed, and gives its standard output.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = run(command);
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} gave {}:\n{out}\n{errors}", output.status);
    out.into_owned()
}

/// Runs a command that has to fail; its exit code and standard error.
pub(crate) fn fail(command: &mut Command) -> (i32, String) {
    let output = run(command);
    assert!(!output.status.success(), "{command:?} succeeded:\n{}", String::from_utf8_lossy(&output.stdout));
    let code = output.status.code().unwrap_or_else(|| panic!("{command:?} died: {}", output.status));
    (code, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A number from the environment, for the long forms.
pub(crate) fn setting(name: &str, short: u64, long: u64) -> u64 {
    let long_form = std::env::var("DRIFTDB_TEST_LONG").is_ok_and(|value| value == "1");
    let named = std::env::var(format!("DRIFTDB_TEST_{name}")).ok();
    named.map_or(if long_form { long } else { short }, |value| value.parse().expect("a number"))
}

/// Random numbers from a seed (SplitMix64), printed so that a failure can be repeated.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(test: &str) -> Dice {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = setting("SEED", u64::from(now.subsec_nanos()), u64::from(now.subsec_nanos()));
        println!("{test}: DRIFTDB_TEST_SEED={seed}");
        Dice(seed)
    }

    pub(crate) fn seeded(seed: u64) -> Dice {
        Dice(seed)
    }

    /// Dice of their own for one of several that throw at the same time.
    pub(crate) fn fork(&mut self) -> Dice {
        Dice(self.below(u64::MAX))
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}
