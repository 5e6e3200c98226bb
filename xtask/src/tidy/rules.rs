//! The rules themselves. STYLE and DESIGN say why; each function's comment says what.

use super::{File, Finding, Package, Tree};

/// The layer of each crate; a crate imports only crates of lower layers. A new crate gets its line here.
const LAYERS: &[(&str, u32)] = &[
    ("driftdb-types", 0),
    ("driftdb-env", 1),
    ("driftdb-log", 2),
    ("driftdb-store", 2),
    ("driftdb-engine", 3),
    ("driftdb-sql", 4),
    ("driftdb-cluster", 4),
    ("driftdb-backup", 4),
    ("driftdb-wire", 5),
    ("driftdb", 6),
    ("driftdb-sim", 7),
    ("xtask", 7),
];

/// Crates that tests of any layer may import, and nothing else may. Their own imports are those of a layer as low as can be.
const TEST_SUPPORT: &[(&str, u32)] = &[("driftdb-fuzz", 2)];

/// Outside vocabularies and the one crate that may depend on them. A trailing `-` stands for every package that
/// begins so.
const OWNERS: &[(&str, &[&str])] = &[
    ("datafusion", &["driftdb-sql"]),
    ("datafusion-", &["driftdb-sql"]),
    ("sqlparser", &["driftdb-sql"]),
    ("redb", &["driftdb-store"]),
    ("parquet", &["driftdb-store"]),
    ("pgwire", &["driftdb-wire"]),
    ("openraft", &["driftdb-cluster"]),
    ("clap", &["driftdb", "xtask"]),
    ("axum", &["driftdb"]),
];

/// Lines a source file may have; tests are not counted.
const LINES_MAX: usize = 1000;

/// What belongs to `driftdb-env` alone, so that everything else runs in the simulator.
const SEAMS: &[&str] = &[
    "std::fs",
    "tokio::fs",
    "SystemTime::now",
    "Instant::now",
    "thread::spawn",
    "thread::Builder",
    "thread::sleep",
    "getrandom::",
    "rand::",
];

/// Names that say nothing about what a thing is, and the beginnings and endings that make a second thing for one job.
const EMPTY_WORDS: &[&str] = &["manager", "helper", "helpers", "util", "utils"];
const EMPTY_PREFIXES: &[&str] = &["simple", "enhanced"];
const EMPTY_SUFFIXES: &[&str] = &["v2", "v3", "new2"];

/// Names that would be refused but are somebody else's words.
const BORROWED_NAMES: &[&str] = &[
    "simple_query", // PostgreSQL's name of the protocol
    "SimpleQuery",
    "simple_case", // the SQL standard's name of CASE x WHEN
];

/// Every rule over the whole tree.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = layers(&tree.packages);
    findings.extend(owners(&tree.packages));
    for file in &tree.files {
        findings.extend(lints(file));
        findings.extend(length(file));
        findings.extend(names(file));
        findings.extend(open_ends(file));
        findings.extend(seams(file));
        findings.extend(links(file, tree));
    }
    findings.extend(documents(tree));
    findings
}

fn at(file: &File, line: usize, what: impl Into<String>) -> Finding {
    Finding { place: file.path.clone(), line: Some(line), what: what.into() }
}

fn layer(package: &str) -> Option<u32> {
    LAYERS.iter().chain(TEST_SUPPORT).find(|(name, _)| *name == package).map(|(_, layer)| *layer)
}

fn is_test_support(package: &str) -> bool {
    TEST_SUPPORT.iter().any(|(name, _)| *name == package)
}

/// A crate imports only crates of lower layers; its tests may also import what is there for tests alone.
pub(super) fn layers(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |package: &Package, what: String| {
        findings.push(Finding { place: package.name.clone(), line: None, what });
    };
    for package in packages {
        let Some(own) = layer(&package.name) else {
            found(package, "has no layer: add it to the table in xtask/src/tidy/rules.rs and to DESIGN".to_owned());
            continue;
        };
        for dependency in &package.dependencies {
            if is_test_support(&dependency.name) {
                if !dependency.dev {
                    found(package, format!("imports {}, which is for tests", dependency.name));
                }
                continue;
            }
            match layer(&dependency.name) {
                Some(other) if other >= own => {
                    found(package, format!("is of layer {own} and imports {} of layer {other}", dependency.name));
                }
                _ => {}
            }
        }
    }
    findings
}

/// One owner per outside vocabulary. What a crate's tests use is its own affair.
pub(super) fn owners(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        for dependency in package.dependencies.iter().filter(|dependency| !dependency.dev) {
            let owned = OWNERS.iter().find(|(pattern, _)| {
                dependency.name == *pattern || (pattern.ends_with('-') && dependency.name.starts_with(pattern))
            });
            if let Some((_, owners)) = owned
                && !owners.contains(&package.name.as_str())
            {
                let what = format!("imports {}, which only {} may", dependency.name, owners.join(" and "));
                findings.push(Finding { place: package.name.clone(), line: None, what });
            }
        }
    }
    findings
}

/// Every crate takes the workspace's lints, or the ban on panics would not hold there.
pub(super) fn lints(file: &File) -> Vec<Finding> {
    let manifest =
        file.path == "xtask/Cargo.toml" || (file.path.starts_with("crates/") && file.path.ends_with("/Cargo.toml"));
    let mut lines = file.text.lines().map(str::trim).skip_while(|line| *line != "[lints]");
    if manifest && !lines.any(|line| line == "workspace = true") {
        return vec![at(file, 1, "does not take the workspace's lints ([lints] workspace = true)")];
    }
    Vec::new()
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("/benches/")
}

fn is_rust(file: &File) -> bool {
    file.path.ends_with(".rs")
}

/// A file that long has a seam somewhere.
pub(super) fn length(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().count();
    if is_rust(file) && !is_test(&file.path) && lines > LINES_MAX {
        return vec![at(file, lines, format!("has {lines} lines; {LINES_MAX} are allowed"))];
    }
    Vec::new()
}

/// Names of files and of what they declare.
pub(super) fn names(file: &File) -> Vec<Finding> {
    if !is_rust(file) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for part in file.path.split('/') {
        if let Some(why) = empty_name(part.trim_end_matches(".rs")) {
            findings.push(Finding { place: file.path.clone(), line: None, what: format!("file name: {why}") });
        }
    }
    for (number, line) in file.text.lines().enumerate() {
        if let Some(name) = declared(line)
            && let Some(why) = empty_name(name)
        {
            findings.push(at(file, number + 1, format!("{name}: {why}")));
        }
    }
    findings
}

/// The name that a line of Rust declares, if it declares one.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "fn" | "struct" | "enum" | "trait" | "mod" | "type" | "union" => {
                let name = words.next()?;
                let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
                return name.get(..end).filter(|name| !name.is_empty());
            }
            "async" | "const" | "unsafe" | "extern" | "default" => {}
            _ if word.starts_with("pub") || (word.starts_with("crate") && word.ends_with(')')) => {}
            _ => return None,
        }
    }
    None
}

/// Why a name says too little, if it does.
fn empty_name(name: &str) -> Option<String> {
    if BORROWED_NAMES.contains(&name) {
        return None;
    }
    let words = words(name);
    if let Some(word) = words.iter().find(|word| EMPTY_WORDS.contains(&word.as_str())) {
        return Some(format!("\"{word}\" does not say what it is"));
    }
    let first = words.first().filter(|word| words.len() > 1 && EMPTY_PREFIXES.contains(&word.as_str()));
    let last = words.last().filter(|word| words.len() > 1 && EMPTY_SUFFIXES.contains(&word.as_str()));
    first.or(last).map(|word| format!("\"{word}\" makes a second thing for one job"))
}

/// `snake_case` and `CamelCase` names as lower-case words.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut previous_lower = false;
    for c in name.chars() {
        if c == '_' || c == '-' {
            words.push(String::new());
        } else {
            if words.is_empty() || (c.is_uppercase() && previous_lower) {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(c.to_lowercase());
            }
        }
        previous_lower = c.is_lowercase() || c.is_ascii_digit();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Nothing is left open in the code; what is missing is in README's "Not yet".
pub(super) fn open_ends(file: &File) -> Vec<Finding> {
    // Spelled in pieces, so that this file does not find itself.
    const OPEN_ENDS: &[&str] = &[
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
        concat!("XX", "X:"),
        concat!("#[ig", "nore"),
    ];
    if !is_rust(file) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for open in OPEN_ENDS.iter().filter(|open| line.contains(**open)) {
            findings.push(at(file, number + 1, format!("left open: {open}")));
        }
    }
    findings
}

/// Files, clocks, threads and randomness are reached through `driftdb-env`.
pub(super) fn seams(file: &File) -> Vec<Finding> {
    let inside = file.path.starts_with("crates/") && file.path.contains("/src/");
    if !inside || !is_rust(file) || file.path.starts_with("crates/driftdb-env/") || is_test(&file.path) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for seam in SEAMS.iter().filter(|seam| mentions(line, seam)) {
            findings.push(at(file, number + 1, format!("{seam} belongs to driftdb-env")));
        }
    }
    findings
}

/// Whether `line` has `path` not as the tail of a longer word (`rand::` is not in `operand::`).
fn mentions(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Links between documents lead somewhere.
pub(super) fn links(file: &File, tree: &Tree) -> Vec<Finding> {
    if !file.path.ends_with(".md") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut in_code = false;
    for (number, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in targets(line) {
            let path = target.split('#').next().unwrap_or_default();
            if target.contains("://") || target.starts_with("mailto:") || path.is_empty() {
                continue;
            }
            let resolved = resolve(&file.path, path);
            let directory = format!("{}/", resolved.trim_end_matches('/'));
            let exists = tree.paths.contains(&resolved) || tree.paths.iter().any(|other| other.starts_with(&directory));
            if !exists {
                findings.push(at(file, number + 1, format!("link to {target}, which is not there")));
            }
        }
    }
    findings
}

/// The targets of a line's Markdown links.
fn targets(line: &str) -> Vec<&str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

/// `target` as seen from the file `from`, as a path from the root.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// The documents that have to be there.
pub(super) fn documents(tree: &Tree) -> Vec<Finding> {
    const DOCUMENTS: &[&str] = &[
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "GLOSSARY.md",
        "LICENSE",
        "docs/format.md",
        "docs/performance.md",
        "docs/adr/README.md",
    ];
    let missing = |what: &str| Finding { place: what.to_owned(), line: None, what: "is missing".to_owned() };
    let mut findings: Vec<Finding> =
        DOCUMENTS.iter().filter(|path| !tree.paths.contains(**path)).map(|path| missing(path)).collect();
    let changelog = tree.files.iter().find(|file| file.path == "CHANGELOG.md");
    if let Some(file) = changelog
        && !file.text.lines().any(|line| line.starts_with("## [Unreleased]"))
    {
        findings.push(at(file, 1, "has no section \"## [Unreleased]\""));
    }
    findings
}
