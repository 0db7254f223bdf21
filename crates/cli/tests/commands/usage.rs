//! Help, completions, manual pages and exit codes.

use std::process::{Command, Output};

fn millstream(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millstream"))
        .args(arguments)
        .env_remove("MILLSTREAM_SERVER")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_command_has_help() {
    let commands = [
        "serve",
        "topic",
        "topic create",
        "topic list",
        "topic describe",
        "topic alter",
        "topic delete",
        "produce",
        "consume",
        "group",
        "group list",
        "group describe",
        "group reset-offsets",
        "group delete",
        "queue",
        "queue create",
        "queue list",
        "queue describe",
        "queue alter",
        "queue delete",
        "queue receive",
        "queue peek",
        "queue ack",
        "queue nack",
        "queue reject",
        "queue extend",
        "queue purge",
        "queue pause",
        "queue resume",
        "redrive",
        "route",
        "route create",
        "route list",
        "route describe",
        "route delete",
        "tail",
        "bench",
        "bench produce",
        "bench consume",
        "bench latency",
        "completions",
        "man",
    ];
    for command in commands {
        let words: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let output = millstream(&words);
        assert!(output.status.success(), "{command}");
        assert!(text(&output.stdout).contains("Usage:"), "{command}");
    }
    assert!(text(&millstream(&["--help"]).stdout).contains("Exit codes:"));
    assert!(text(&millstream(&["consume", "--help"]).stdout).contains("5m"));
}

#[test]
fn a_wrong_command_line_is_2_and_a_failure_1() {
    for wrong in [
        &["topic"][..],
        &["topic", "craete", "x"],
        &["consume", "t", "--from", "yesterday"],
        &[],
    ] {
        assert_eq!(millstream(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let wrong = millstream(&["consume", "t", "--from", "yesterday"]);
    assert!(text(&wrong.stderr).contains("a time span such as 5m"));
    let unreachable = millstream(&["topic", "list", "--server", "127.0.0.1:1"]);
    assert_eq!(unreachable.status.code(), Some(1));
    assert!(text(&unreachable.stderr).contains("millstream serve"));
}

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&millstream(&["completions", shell]).stdout);
        assert!(script.contains("reset-offsets"), "{shell}");
    }
    let page = text(&millstream(&["man"]).stdout);
    assert!(page.contains(".TH") && page.contains("topic"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("man1");
    assert!(
        millstream(&["man", "--dir", path.to_str().unwrap()])
            .status
            .success()
    );
    assert!(path.join("millstream-topic-create.1").exists());
}
