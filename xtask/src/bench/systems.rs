//! The two servers under measurement, each on a port and in a directory of its own, both asked for full durability.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{run, tools};

const PASSWORD: &str = "bench";

/// Memory each may use for itself, in MiB: DriftDB's limit, and PostgreSQL's, a quarter of which becomes its
/// shared buffers, as its manual advises.
const MEMORY_MIB: u32 = 2048;

/// A server.
pub(super) trait System {
    /// `PostgreSQL`, `DriftDB` or `other DriftDB`.
    fn name(&self) -> &'static str;

    /// Tells a client program where the server is.
    fn address(&self, client: &mut Command);

    /// Runs a script, and gives its last result as text.
    fn sql(&self, script: &str) -> Result<String>;

    /// Runs a program of PostgreSQL's clients.
    fn client(&self, program: &str, arguments: &[&str]) -> Result<()>;

    /// Brings what was loaded to rest on disk, statistics and all, as after some hours of service.
    fn settle(&mut self) -> Result<()>;

    /// What the server says it is.
    fn version(&self) -> Result<String>;
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn psql(system: &dyn System, tools: &tools::Postgres, script: &str) -> Result<String> {
    let mut psql = Command::new(tools.program("psql"));
    system.address(&mut psql);
    psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", script]);
    Ok(run::output(&mut psql)?.trim().to_owned())
}

fn client(system: &dyn System, tools: &tools::Postgres, program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(tools.program(program));
    system.address(&mut command);
    run::output(command.args(arguments)).map(drop)
}

fn point_at(client: &mut Command, port: u16, user: &str) {
    client
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", port.to_string())
        .env("PGUSER", user)
        .env("PGDATABASE", user)
        .env("PGPASSWORD", PASSWORD);
}

/// PostgreSQL, as Debian builds it.
pub(super) struct PostgreSql<'a> {
    tools: &'a tools::Postgres,
    data: PathBuf,
    port: u16,
}

impl<'a> PostgreSql<'a> {
    /// Makes a cluster in `directory` and starts it.
    pub(super) fn start(tools: &'a tools::Postgres, directory: &Path) -> Result<PostgreSql<'a>> {
        std::fs::create_dir_all(directory)?;
        if tools::is_root() {
            run::output(Command::new("chown").arg("postgres").arg(directory))?;
        }
        let server = PostgreSql { tools, data: directory.join("data"), port: free_port()? };
        let password_file = directory.join("password");
        std::fs::write(&password_file, PASSWORD)?;
        let quoted = |path: &Path| format!("'{}'", path.display());
        server.as_owner(&format!(
            "{} -D {} -U postgres -A scram-sha-256 --pwfile={} -E UTF8 --locale=C.UTF-8",
            quoted(&tools.program("initdb")),
            quoted(&server.data),
            quoted(&password_file),
        ))?;
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\nfsync = on\n\
             synchronous_commit = on\nfull_page_writes = on\nshared_buffers = {}MB\nmax_connections = 100\n",
            server.port,
            MEMORY_MIB / 4
        );
        let configuration = server.data.join("conf.d-bench");
        std::fs::write(&configuration, settings)?;
        server.as_owner(&format!(
            "echo \"include '{}'\" >> {}/postgresql.conf",
            configuration.display(),
            server.data.display()
        ))?;
        server.control("start")?;
        Ok(server)
    }

    /// Runs a shell command as the user the server belongs to: PostgreSQL refuses to run as root.
    fn as_owner(&self, script: &str) -> Result<()> {
        let mut command = if tools::is_root() {
            let mut su = Command::new("su");
            su.args(["postgres", "-s", "/bin/sh", "-c", script]);
            su
        } else {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", script]);
            shell
        };
        command.current_dir("/").stdin(Stdio::null());
        run::output(&mut command).map(drop)
    }

    fn control(&self, what: &str) -> Result<()> {
        let log = self.data.join("server.log");
        self.as_owner(&format!(
            "'{}' -D '{}' -l '{}' -m fast -w {what} >/dev/null",
            self.tools.program("pg_ctl").display(),
            self.data.display(),
            log.display()
        ))
    }
}

impl System for PostgreSql<'_> {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn address(&self, client: &mut Command) {
        point_at(client, self.port, "postgres");
    }

    fn sql(&self, script: &str) -> Result<String> {
        psql(self, self.tools, script)
    }

    fn client(&self, program: &str, arguments: &[&str]) -> Result<()> {
        client(self, self.tools, program, arguments)
    }

    fn settle(&mut self) -> Result<()> {
        self.sql("VACUUM ANALYZE")?;
        self.sql("CHECKPOINT")?;
        self.control("restart")
    }

    fn version(&self) -> Result<String> {
        Ok(format!("PostgreSQL {}", self.sql("SHOW server_version")?))
    }
}

impl Drop for PostgreSql<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.control("stop") {
            eprintln!("PostgreSQL in {} did not stop: {error:#}", self.data.display());
        }
    }
}

/// The release build of this repository, or a given one.
pub(super) struct DriftDb<'a> {
    name: &'static str,
    tools: &'a tools::Postgres,
    given: Option<PathBuf>,
    data: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl<'a> DriftDb<'a> {
    /// Starts a server on `directory`.
    pub(super) fn start(
        name: &'static str,
        tools: &'a tools::Postgres,
        given: Option<&Path>,
        directory: &Path,
    ) -> Result<DriftDb<'a>> {
        let (given, data) = (given.map(Path::to_path_buf), directory.to_path_buf());
        let mut server = DriftDb { name, tools, given, data, port: free_port()?, process: None };
        server.launch()?;
        Ok(server)
    }

    fn launch(&mut self) -> Result<()> {
        // In a session of its own, as `pg_ctl` starts PostgreSQL: Linux divides the processors among sessions first, and a
        // server in that of its clients would get a smaller part than one that has its own.
        let mut command = Command::new("setsid");
        match &self.given {
            Some(program) => command.arg(program),
            None => command.arg(run::target_directory()?.join("release").join("driftdb")),
        };
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DRIFTDB_")) {
            command.env_remove(name);
        }
        command
            .args(["serve", "--listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--memory-limit", &format!("{MEMORY_MIB}MiB"), "--log", "warn", "--data"])
            .arg(&self.data)
            .env("DRIFTDB_PASSWORD", PASSWORD)
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start driftdb")?;
        let output = child.stdout.take().context("driftdb has no output")?;
        self.process = Some(child);
        // It says how to connect when it answers.
        let ready = BufReader::new(output).lines().map_while(Result::ok).any(|line| line.starts_with("connect with"));
        if !ready {
            bail!("driftdb did not start");
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.process.take() else { return Ok(()) };
        run::output(Command::new("kill").args(["-TERM", &child.id().to_string()]))?;
        let status = child.wait()?;
        if !status.success() {
            bail!("driftdb stopped with {status}");
        }
        Ok(())
    }
}

impl System for DriftDb<'_> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn address(&self, client: &mut Command) {
        point_at(client, self.port, "driftdb");
    }

    fn sql(&self, script: &str) -> Result<String> {
        psql(self, self.tools, script)
    }

    fn client(&self, program: &str, arguments: &[&str]) -> Result<()> {
        client(self, self.tools, program, arguments)
    }

    fn settle(&mut self) -> Result<()> {
        // Stopping writes a checkpoint: base and history are on disk, the memtable is empty.
        self.stop()?;
        self.launch()
    }

    fn version(&self) -> Result<String> {
        if let Some(program) = &self.given {
            return Ok(format!("DriftDB ({})", program.display()));
        }
        let mut git = Command::new("git");
        let commit = run::output(git.current_dir(run::repository()?).args(["rev-parse", "--short", "HEAD"]))?;
        Ok(format!("DriftDB {} ({})", env!("CARGO_PKG_VERSION"), commit.trim()))
    }
}

impl Drop for DriftDb<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error:#}");
        }
    }
}
