//! Backup of a running server, restore, and the doctor, as an operator uses them.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{Server, Site};

const RECORDS: usize = 5_000;

fn millstream(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millstream"))
        .args(arguments)
        .output()
        .unwrap()
}

fn succeed(arguments: &[&str]) -> String {
    let output = millstream(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes numbered lines from a file, and returns what reading the topic has to bring.
fn publish(site: &Site, server: &Server) -> String {
    let lines: String = (0..RECORDS).map(|number| format!("{number}\n")).collect();
    let file = site.scratch().join("lines");
    std::fs::write(&file, &lines).unwrap();
    let address = server.address().to_string();
    succeed(&["topic", "create", "numbers", "--server", &address]);
    succeed(&[
        "produce",
        "numbers",
        "--file",
        path(&file),
        "--server",
        &address,
    ]);
    lines
}

fn read(server: &Server) -> String {
    succeed(&[
        "consume",
        "numbers",
        "--server",
        &server.address().to_string(),
    ])
}

#[test]
fn a_backup_of_a_running_server_holds_what_was_acknowledged() {
    let mut site = Site::new().restless();
    let server = site.start();
    let lines = publish(&site, &server);
    let backup = site.scratch().join("backup");
    let data = path(site.data_dir()).to_owned();

    let summary = succeed(&["backup", path(&backup), "--data-dir", &data, "--json"]);
    assert!(summary.contains("journal_bytes"), "{summary}");
    // What comes after the backup is not in it.
    let address = server.address().to_string();
    succeed(&["topic", "create", "later", "--server", &address]);
    server.kill();

    let doctor = succeed(&["doctor", "--deep", "--data-dir", path(&backup)]);
    assert!(doctor.trim_end().ends_with("whole"), "{doctor}");
    let restored = site.scratch().join("restored");
    succeed(&["restore", path(&backup), "--data-dir", path(&restored)]);
    let server = Site::new().at(&restored).start();
    assert_eq!(read(&server), lines);
    let topics = succeed(&["topic", "list", "--server", &server.address().to_string()]);
    assert!(!topics.contains("later"), "{topics}");
}

#[test]
fn without_a_server_the_directory_is_copied_as_it_lies() {
    let mut site = Site::new();
    let server = site.start();
    let lines = publish(&site, &server);
    server.kill();
    let backup = site.scratch().join("backup");
    let data = path(site.data_dir()).to_owned();
    succeed(&["backup", path(&backup), "--data-dir", &data]);
    let server = Site::new().at(&backup).start();
    assert_eq!(read(&server), lines);
}

#[test]
fn a_target_that_is_not_empty_is_refused() {
    let mut site = Site::new();
    let _server = site.start();
    let target = site.scratch().to_owned();
    std::fs::write(target.join("something"), "").unwrap();
    let output = millstream(&["backup", path(&target), "--data-dir", path(site.data_dir())]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(error.contains("is not empty"), "{error}");
}

#[test]
fn the_doctor_names_what_is_damaged() {
    let mut site = Site::new().restless();
    let server = site.start();
    publish(&site, &server);
    server.stop();
    let packs = site.data_dir().join("packs");
    let pack = std::fs::read_dir(packs)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    std::fs::write(&pack, bytes).unwrap();

    let output = millstream(&["doctor", "--deep", "--data-dir", path(site.data_dir())]);
    let found = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success(), "{found}");
    assert!(found.contains("damage: "), "{found}");
}

#[test]
fn the_doctor_stays_out_while_a_server_runs() {
    let mut site = Site::new();
    let _server = site.start();
    let output = millstream(&["doctor", "--data-dir", path(site.data_dir())]);
    assert!(!output.status.success());
}
