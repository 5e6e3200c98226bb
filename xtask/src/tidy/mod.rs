//! `cargo xtask tidy`: the house rules that a compiler does not check. Each rule is a function from the tree (files
//! and packages, as data) to findings, so that the tests can show every one of them failing on a bad sample.

mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run;

/// The repository as the rules see it.
#[derive(Debug, Default)]
struct Tree {
    /// Every file that git tracks or would track, path from the root.
    paths: BTreeSet<String>,
    /// The text of those that are sources, manifests or documents.
    files: Vec<File>,
    /// The workspace's packages.
    packages: Vec<Package>,
}

/// One text file.
#[derive(Debug)]
struct File {
    path: String,
    text: String,
}

/// One package of the workspace and what it names in its manifest.
#[derive(Debug)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

/// One dependency of a package.
#[derive(Debug)]
struct Dependency {
    name: String,
    /// Only for its tests.
    dev: bool,
}

/// A broken rule, and where.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// The file or package.
    place: String,
    /// Line from 1, where there is one.
    line: Option<usize>,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.place, self.what),
            None => write!(f, "{}: {}", self.place, self.what),
        }
    }
}

/// Checks the repository at `root`, prints what is wrong, and says whether nothing is.
pub(crate) fn report(root: &Path) -> Result<bool> {
    let findings = rules::check(&read(root)?);
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} found", findings.len());
    Ok(findings.is_empty())
}

fn read(root: &Path) -> Result<Tree> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listing = run::output(&mut git)?;
    let mut tree = Tree { packages: packages(root)?, ..Tree::default() };
    for path in listing.split('\0').filter(|path| !path.is_empty()) {
        let full = root.join(path);
        if !full.is_file() {
            continue; // tracked, but deleted in the working tree
        }
        tree.paths.insert(path.to_owned());
        if [".rs", ".toml", ".md"].iter().any(|ending| path.ends_with(ending)) {
            let text = std::fs::read_to_string(&full).with_context(|| format!("cannot read {path}"))?;
            tree.files.push(File { path: path.to_owned(), text });
        }
    }
    Ok(tree)
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    let mut cargo = run::cargo_command(&["metadata", "--format-version", "1", "--no-deps", "--offline"])?;
    let text = run::output(cargo.current_dir(root))?;
    let metadata: serde_json::Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let list = |value: &serde_json::Value, key: &str| value.get(key).and_then(|v| v.as_array()).cloned();
    let name = |value: &serde_json::Value| value.get("name").and_then(|v| v.as_str()).map(str::to_owned);
    let mut packages = Vec::new();
    for package in list(&metadata, "packages").context("cargo metadata has no packages")? {
        let mut dependencies = Vec::new();
        for dependency in list(&package, "dependencies").context("a package has no dependency list")? {
            let dev = dependency.get("kind").and_then(|kind| kind.as_str()) == Some("dev");
            dependencies.push(Dependency { name: name(&dependency).context("a dependency has no name")?, dev });
        }
        packages.push(Package { name: name(&package).context("a package has no name")?, dependencies });
    }
    Ok(packages)
}
