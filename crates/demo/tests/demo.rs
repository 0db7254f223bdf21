//! `make demo` tells the truth: the program runs as it does there, and says what it should.
//!
//! It starts the `millstream` beside it, which `cargo test --workspace` builds with the same profile.

use std::process::Command;

/// What has to stand in the story, in this order.
const STORY: [&str; 8] = [
    "13424 flights, by two members: ",
    "ms after the kill, the log recovered",
    "13425 flights, by two members: ",
    "nothing lost, nothing twice, every aircraft's flights in order",
    "26849 flights seen, none missed, none twice, 1 reconnect",
    "1098 failures, backed off and tried again; 366 flights are dead letters",
    "366 moved back; 366 done, by worker: ",
    "26849 flights of 3148 aircraft left New York in January 2013.",
];

/// A line of the summary: carrier, flights, cancelled, mean delay.
const BUSIEST: &str = "UA 4605 0 8.3 min";

#[test]
fn the_demo_tells_its_story() {
    let program = env!("CARGO_BIN_EXE_millstream-demo");
    let server = std::path::Path::new(program).with_file_name("millstream");
    assert!(
        server.exists(),
        "there is no {}: `cargo test --workspace` or `cargo build --bin millstream` builds it",
        server.display()
    );
    let mut demo = Command::new(program);
    // What tests are told in the environment would be settings of the server.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MILLSTREAM_") {
            demo.env_remove(name);
        }
    }
    let output = demo.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{told}\n{complaints}",
        output.status
    );

    let mut rest = &*told;
    for part in STORY {
        let (_, after) = rest
            .split_once(part)
            .unwrap_or_else(|| panic!("the demo does not say {part:?} there:\n{told}"));
        rest = after;
    }
    let table: Vec<String> = rest
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert!(table.iter().any(|line| line == BUSIEST), "{told}");
}
