//! The walk-through in README is run, block by block, and its answers compared with those it shows.
//!
//! In the section "Walk-through", each `sql` block is given to `driftdb sql`; a `text` block after it is what that
//! must print, white space at the ends of lines aside.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use crate::server::{PASSWORD, Server, driftdb};

/// The fenced blocks of a section: language and text.
fn blocks(document: &str, section: &str) -> Vec<(String, String)> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    let (mut inside, mut open) = (false, false);
    for line in document.lines() {
        if !open && line.starts_with("## ") {
            inside = line == format!("## {section}");
        } else if inside && let Some(language) = line.strip_prefix("```") {
            if !open {
                blocks.push((language.to_owned(), String::new()));
            }
            open = !open;
        } else if inside && open {
            let (_, text) = blocks.last_mut().unwrap();
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    blocks
}

#[test]
fn the_walk_through_does_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let blocks = blocks(&readme, "Walk-through");
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&place.path().join("data"));
    let (mut ran, mut compared, mut printed) = (0, 0, String::new());
    for (language, text) in &blocks {
        match language.as_str() {
            "sql" => {
                let mut child = driftdb()
                    .args(["sql", "--port", &server.port().to_string()])
                    .env("DRIFTDB_PASSWORD", PASSWORD)
                    .current_dir(&root)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap();
                child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
                let output = child.wait_with_output().unwrap();
                let errors = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{text}\n{errors}");
                printed = String::from_utf8(output.stdout).unwrap();
                ran += 1;
            }
            "text" => {
                let lines =
                    |text: &str| text.trim_end().lines().map(str::trim_end).map(str::to_owned).collect::<Vec<_>>();
                assert_eq!(lines(&printed), lines(text), "README shows another answer; this was given:\n{printed}");
                compared += 1;
            }
            _ => {}
        }
    }
    assert!(ran >= 4 && compared >= 3, "{ran} blocks run, {compared} compared");
    server.stop();
}
