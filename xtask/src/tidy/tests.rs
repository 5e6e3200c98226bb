//! Each rule fails on a bad sample, passes on a good one, and all pass on the repository.

use super::rules;
use super::*;

fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

fn package(name: &str, dependencies: &[&str]) -> Package {
    let dependencies = dependencies.iter().map(|name| Dependency { name: (*name).to_owned(), dev: false }).collect();
    Package { name: name.to_owned(), dependencies }
}

fn said(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn the_repository_is_tidy() {
    let root = run::repository().expect("root");
    let findings = rules::check(&read(&root).expect("the tree can be read"));
    assert!(findings.is_empty(), "\n{}", said(&findings).join("\n"));
}

#[test]
fn importing_upwards_or_sideways_is_found() {
    let good = [package("driftdb-sql", &["driftdb-engine", "driftdb-types", "serde"])];
    assert!(rules::layers(&good).is_empty());
    let up = [package("driftdb-engine", &["driftdb-sql"])];
    assert_eq!(said(&rules::layers(&up)), ["driftdb-engine: is of layer 3 and imports driftdb-sql of layer 4"]);
    let sideways = [package("driftdb-store", &["driftdb-log"])];
    assert_eq!(rules::layers(&sideways).len(), 1);
    let mut supported = package("driftdb-types", &["driftdb-fuzz"]);
    assert_eq!(
        said(&rules::layers(std::slice::from_ref(&supported))),
        ["driftdb-types: imports driftdb-fuzz, which is for tests"]
    );
    supported.dependencies[0].dev = true;
    assert!(rules::layers(std::slice::from_ref(&supported)).is_empty());
    let unknown = [package("driftdb-extras", &[])];
    assert!(said(&rules::layers(&unknown)).concat().contains("has no layer"));
}

#[test]
fn outside_vocabularies_have_one_owner() {
    let good =
        [package("driftdb-sql", &["datafusion", "datafusion-expr"]), package("driftdb-store", &["redb", "parquet"])];
    assert!(rules::owners(&good).is_empty());
    for (name, dependency) in [
        ("driftdb-wire", "datafusion"),
        ("driftdb-engine", "datafusion-expr"),
        ("driftdb-engine", "sqlparser"),
        ("driftdb-sql", "redb"),
        ("driftdb-sql", "parquet"),
        ("driftdb-sql", "pgwire"),
    ] {
        assert_eq!(rules::owners(&[package(name, &[dependency])]).len(), 1, "{name} imports {dependency}");
    }
    let mut in_tests = package("driftdb", &["pgwire"]);
    in_tests.dependencies[0].dev = true;
    assert!(rules::owners(&[in_tests]).is_empty());
}

#[test]
fn a_crate_without_the_lints_is_found() {
    assert!(rules::lints(&file("crates/a/Cargo.toml", "[package]\n[lints]\nworkspace = true\n")).is_empty());
    assert_eq!(rules::lints(&file("crates/a/Cargo.toml", "[package]\nversion.workspace = true\n")).len(), 1);
    assert_eq!(rules::lints(&file("crates/a/Cargo.toml", "[package]\nworkspace = true\n[lints]\n")).len(), 1);
}

#[test]
fn long_files_are_found_tests_excluded() {
    let long = "\n".repeat(1001);
    assert_eq!(rules::length(&file("crates/a/src/b.rs", &long)).len(), 1);
    assert!(rules::length(&file("crates/a/src/b.rs", &"\n".repeat(1000))).is_empty());
    assert!(rules::length(&file("crates/a/tests/it/b.rs", &long)).is_empty());
    assert!(rules::length(&file("crates/a/src/b/tests.rs", &long)).is_empty());
}

#[test]
fn empty_names_are_found() {
    for bad in [
        "fn simple_commit() {}",
        "pub(crate) async fn enhanced_scan(&self) {",
        "struct LockManager;",
        "pub enum StringUtils {",
        "mod helpers;",
        "pub fn flush_v2(&self)",
        "trait StoreV2 {",
        "pub struct SimpleStore<T> {",
    ] {
        assert_eq!(rules::names(&file("crates/a/src/b.rs", bad)).len(), 1, "{bad}");
    }
    for good in [
        "fn simplest() {}",
        "fn simple_query(&mut self) {}",
        "fn utilisation() {}",
        "    let helper = 1;",
        "// a mod manager in a comment",
        "fn read(helper: u8) {}",
    ] {
        assert!(rules::names(&file("crates/a/src/b.rs", good)).is_empty(), "{good}");
    }
    assert_eq!(rules::names(&file("crates/a/src/util.rs", "")).len(), 1);
    assert_eq!(rules::names(&file("crates/a/src/enhanced_backup.rs", "")).len(), 1);
    assert_eq!(rules::names(&file("crates/a/src/helpers/mod.rs", "")).len(), 1);
}

#[test]
fn what_is_left_open_is_found() {
    for bad in [
        concat!("to", "do!()"),
        concat!("// FIX", "ME later"),
        concat!("#[ig", "nore]"),
        concat!("unimple", "mented!()"),
    ] {
        assert_eq!(rules::open_ends(&file("crates/a/src/b.rs", bad)).len(), 1, "{bad}");
    }
    assert!(rules::open_ends(&file("crates/a/src/b.rs", "ignored()")).is_empty());
}

#[test]
fn seams_are_kept() {
    for bad in [
        "use std::fs;",
        "let f = std::fs::File::open(p);",
        "let t = SystemTime::now();",
        "let t = std::time::Instant::now();",
        "std::thread::spawn(|| {});",
        "let x = rand::random();",
    ] {
        assert_eq!(rules::seams(&file("crates/driftdb-log/src/b.rs", bad)).len(), 1, "{bad}");
        assert!(rules::seams(&file("crates/driftdb-env/src/real.rs", bad)).is_empty(), "{bad}");
        assert!(rules::seams(&file("crates/driftdb-log/tests/it/b.rs", bad)).is_empty(), "{bad}");
    }
    assert!(rules::seams(&file("crates/driftdb-log/src/b.rs", "operand::new()")).is_empty());
}

#[test]
fn broken_links_are_found() {
    let mut tree = Tree::default();
    tree.paths.insert("docs/format.md".to_owned());
    let links = |path: &str, text: &str| rules::links(&file(path, text), &tree).len();
    assert_eq!(links("README.md", "see [bytes](docs/format.md#frames), [us](https://example.org) and [here](#x)"), 0);
    assert_eq!(links("README.md", "a [directory](docs/) and [another](docs)"), 0);
    assert_eq!(links("docs/adr/a.md", "see [bytes](../format.md)"), 0);
    assert_eq!(links("README.md", "see [bytes](docs/gone.md)"), 1);
    assert_eq!(links("README.md", "```\nsee [bytes](docs/gone.md)\n```"), 0);
}

#[test]
fn missing_documents_are_found() {
    let empty = said(&rules::documents(&Tree::default())).join("\n");
    for document in ["README.md", "CHANGELOG.md", "ARCHITECTURE.md", "LICENSE"] {
        assert!(empty.contains(document), "{document}");
    }
    let tree = Tree { files: vec![file("CHANGELOG.md", "# Changes\n")], ..Tree::default() };
    assert!(said(&rules::documents(&tree)).concat().contains("[Unreleased]"));
}
