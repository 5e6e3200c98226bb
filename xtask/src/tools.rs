//! The outside programs that the black-box tests and the benchmark need: PostgreSQL 15 with its clients, and a Python
//! that has pyarrow and drivers. What is missing is installed with `apt-get` (as root) or into a virtual environment under the
//! build directory, and each step is printed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run;

/// The release whose programs the tests and the benchmark use.
const POSTGRES_MAJOR: u32 = 15;

/// What reads history segments in the tests, and the drivers that they connect with.
const PYTHON_PACKAGES: [&str; 3] = ["pyarrow>=17", "psycopg[binary]>=3.2", "asyncpg>=0.30"];
const PYTHON_IMPORTS: &str = "import pyarrow.parquet, psycopg, asyncpg";

/// Where PostgreSQL's programs are.
pub(crate) struct Postgres {
    directory: PathBuf,
}

impl Postgres {
    /// The directory that holds `psql` and `pgbench`, to be put first in `PATH`.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The path of one program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Finds PostgreSQL's `programs` all in one directory, or installs Debian's package.
pub(crate) fn postgres(programs: &[&str]) -> Result<Postgres> {
    if let Some(found) = find_postgres(programs) {
        return Ok(found);
    }
    println!("PostgreSQL {POSTGRES_MAJOR}'s {} not found", programs.join(", "));
    // Debian's server package otherwise starts a cluster of its own at once, which nothing here wants.
    let no_cluster = Path::new("/etc/postgresql-common/createcluster.d");
    if is_root() && !Path::new("/etc/postgresql-common").exists() {
        println!("$ echo create_main_cluster = false > {}/driftdb.conf", no_cluster.display());
        std::fs::create_dir_all(no_cluster)?;
        std::fs::write(no_cluster.join("driftdb.conf"), "create_main_cluster = false\n")?;
    }
    // pgbench is in the server's package.
    apt_install(&[&format!("postgresql-client-{POSTGRES_MAJOR}"), &format!("postgresql-{POSTGRES_MAJOR}")])?;
    find_postgres(programs).with_context(|| format!("{} still not found after installing", programs.join(", ")))
}

fn find_postgres(programs: &[&str]) -> Option<Postgres> {
    let packaged = PathBuf::from(format!("/usr/lib/postgresql/{POSTGRES_MAJOR}/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(packaged)
        .chain(std::env::split_paths(&path))
        .find(|directory| programs.iter().all(|program| directory.join(program).is_file()))
        .map(|directory| Postgres { directory })
}

/// A Python interpreter that has the packages; makes a virtual environment with them under the build directory if there
/// is none.
pub(crate) fn python() -> Result<PathBuf> {
    let venv = run::target_directory()?.join("xtask").join("venv");
    let inside = venv.join("bin").join("python");
    for candidate in [inside.clone(), PathBuf::from("python3")] {
        let imports = Command::new(&candidate).args(["-c", PYTHON_IMPORTS]).output();
        if imports.is_ok_and(|output| output.status.success()) {
            return Ok(candidate);
        }
    }
    println!("no Python with {} found", PYTHON_PACKAGES.join(", "));
    if !make_venv(&venv)? {
        apt_install(&["python3", "python3-venv"])?;
        if !make_venv(&venv)? {
            bail!("cannot make a Python virtual environment in {}", venv.display());
        }
    }
    if !run::succeeds(Command::new(&inside).args(["-m", "pip", "install", "--quiet"]).args(PYTHON_PACKAGES))? {
        bail!("cannot install {} into {}", PYTHON_PACKAGES.join(", "), venv.display());
    }
    Ok(inside)
}

fn make_venv(venv: &Path) -> Result<bool> {
    let mut command = Command::new("python3");
    command.args(["-m", "venv", "--clear"]).arg(venv);
    run::announce(&command);
    Ok(command.status().is_ok_and(|status| status.success()))
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let have_apt = Command::new("apt-get").arg("--version").output().is_ok_and(|output| output.status.success());
    if !have_apt || !is_root() {
        bail!("please install {} (as root, with apt-get, this would be done here)", packages.join(" "));
    }
    if !run::succeeds(Command::new("apt-get").args(["update", "--quiet"]))? {
        bail!("apt-get update failed");
    }
    let mut install = Command::new("apt-get");
    install
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    if !run::succeeds(&mut install)? {
        bail!("apt-get install {} failed", packages.join(" "));
    }
    Ok(())
}

/// Whether we run as root, so that `apt-get` may be used and PostgreSQL must be started as someone else.
pub(crate) fn is_root() -> bool {
    run::output(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0")
}
