//! The commands on the pages are true: each `console` block is run, line by line, against a real server, and has to print
//! what the page says. A line of three dots stands for any lines.

mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Server, Site};

/// A line of a page that stands for any lines.
const ANYTHING: &str = "...";

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A command of a page, and the lines that it should print.
struct Example {
    command: String,
    printed: Vec<String>,
}

/// The commands of all `console` blocks, in order.
fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut in_block = false;
    for line in page.lines() {
        if line.starts_with("```") {
            in_block = line == "```console";
        } else if !in_block {
        } else if let Some(command) = line.strip_prefix("$ ") {
            examples.push(Example {
                command: command.to_owned(),
                printed: Vec::new(),
            });
        } else {
            let example = examples
                .last_mut()
                .expect("a console block starts with a command");
            example.printed.push(line.to_owned());
        }
    }
    examples
}

/// Whether `printed` is what `expected` says. Where lines stand is not compared, for there is no order between partitions.
fn matches(expected: &[String], printed: &[&str]) -> bool {
    let mut left: Vec<&str> = printed.iter().map(|line| line.trim_end()).collect();
    let told = expected.iter().filter(|line| *line != ANYTHING);
    for line in told {
        match left.iter().position(|other| other == line) {
            Some(place) => _ = left.swap_remove(place),
            None => return false,
        }
    }
    left.is_empty() || expected.iter().any(|line| line == ANYTHING)
}

/// Runs a page's examples and returns what went otherwise than the page says.
fn run(page: &str, server: &Server) -> String {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_millstream"));
    let path = format!(
        "{}:{}",
        binary.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let mut wrong = String::new();
    for example in examples(page) {
        let output = Command::new("bash")
            .args([
                "-c",
                &format!("set -o pipefail; {{ {}; }} 2>&1", example.command),
            ])
            .env("PATH", &path)
            .env("MILLSTREAM_SERVER", server.address().to_string())
            .env("MILLSTREAM_HTTP", server.http_address())
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = printed.lines().collect();
        if !output.status.success() || !matches(&example.printed, &lines) {
            write!(
                wrong,
                "$ {}\n{printed}-- {}; the page says:\n{}\n\n",
                example.command,
                output.status,
                example.printed.join("\n")
            )
            .unwrap();
        }
    }
    wrong
}

#[test]
fn the_quick_start_is_true() {
    let page = page("quick-start.md");
    assert!(examples(&page).len() > 10, "the page lost its examples");
    let server = Site::new().start();
    let wrong = run(&page, &server);
    assert!(wrong.is_empty(), "{wrong}");
}
