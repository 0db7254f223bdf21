//! `millstream group`, and reading in one.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::common::PATIENCE;
use crate::{Running, Shell};

fn shell_with_ten() -> Shell {
    let shell = Shell::new();
    shell.run("topic create orders --partitions 2");
    let records: String = (0..10)
        .map(|n| format!("{{\"value\":\"{n}\",\"partition\":{}}}\n", n % 2))
        .collect();
    shell.run_with("produce orders --format json", &records);
    shell
}

#[test]
fn a_group_goes_on_where_it_stopped() {
    let shell = shell_with_ten();
    let first = shell.run("consume orders --group billing --max 4");
    let second = shell.run("consume orders --group billing");
    let mut all: Vec<_> = first.lines().chain(second.lines()).collect();
    assert_eq!(first.lines().count(), 4);
    all.sort_unstable();
    assert_eq!(all, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(shell.run("consume orders --group billing"), "");
    assert_eq!(
        shell.run("consume orders --group other").lines().count(),
        10
    );
}

#[test]
fn lag_is_shown_and_offsets_are_moved() {
    let shell = shell_with_ten();
    shell.run("consume orders --group billing");
    shell.run_with("produce orders --partition 0", "10\n11\n");
    assert_eq!(shell.json("group list --json")[0]["group"], "billing");
    let described = shell.json("group describe billing --json");
    assert_eq!(described["state"], "Empty");
    assert_eq!(described["lag"], 2);
    assert_eq!(described["partitions"][0]["committed"], 5);
    assert_eq!(described["partitions"][0]["end"], 7);

    let lag = || {
        shell.json("group describe billing --json")["lag"]
            .as_i64()
            .unwrap()
    };
    let said = shell.feed(
        "group reset-offsets billing --topic orders --to earliest --json",
        "",
    );
    assert!(
        said.out.contains("\"to\": 0") && said.err.contains("--execute"),
        "{said:?}"
    );
    assert_eq!(lag(), 2, "nothing was changed");
    shell.run("group reset-offsets billing --topic orders --to earliest --execute");
    assert_eq!(lag(), 12);
    shell.run("group reset-offsets billing --topic orders:1 --to latest --execute");
    assert_eq!(lag(), 7);
    shell.run("group reset-offsets billing --all-topics --shift -2 --execute");
    assert_eq!(lag(), 9);
    shell.run("group reset-offsets billing --topic orders:0 --to 3 --execute");
    assert_eq!(lag(), 6);
    assert_eq!(
        shell.run("consume orders --group billing").lines().count(),
        6
    );
    assert!(shell.run("group describe billing").contains("COMMITTED"));

    let deleted = shell.json("group delete billing --json");
    assert_eq!(deleted, json!([{"group": "billing", "deleted": true}]));
    assert!(
        shell
            .fails("group describe billing")
            .contains("there is no group 'billing'")
    );
    assert!(
        shell
            .fails("group delete billing")
            .contains("GROUP_ID_NOT_FOUND")
    );
}

#[test]
fn a_group_with_members_is_left_alone() {
    let shell = shell_with_ten();
    let mut member = shell
        .command("consume orders --group busy --follow --from earliest")
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(member.stdout.take().unwrap()));
    lines.next().unwrap().unwrap();
    let described = shell.json("group describe busy --json");
    assert_eq!(described["members"].as_array().unwrap().len(), 1);
    assert_eq!(described["members"][0]["client"], "millstream-cli");
    let refused = shell.fails("group reset-offsets busy --topic orders --to earliest --execute");
    assert!(refused.contains("has 1 members"), "{refused}");
    assert!(shell.fails("group delete busy").contains("NON_EMPTY_GROUP"));
    member.kill().unwrap();
    member.wait().unwrap();
}

#[test]
fn a_member_leaves_however_it_ends() {
    let shell = Shell::new();
    shell.run("topic create long");
    let line = "x".repeat(200);
    shell.run_with("produce long", &format!("{line}\n").repeat(20_000));
    let members = || {
        let described = shell.json("group describe readers --json");
        described["members"].as_array().unwrap().len()
    };
    let mut reader = Running::start(&shell, "consume long --group readers");
    assert_eq!(reader.line(), line);
    assert!(reader.close_output().success());
    assert_eq!(members(), 0, "after its output was closed");
    assert_eq!(
        shell.run("consume long --group readers").lines().count(),
        20_000,
        "what nobody has read is not committed"
    );

    let follow = "consume long --group readers --follow";
    let mut reader = Running::start(&shell, follow);
    assert!(reader.said().contains("reading 1 partitions"));
    assert!(reader.close_output().success());
    assert_eq!(
        members(),
        0,
        "after its output was closed while nothing came"
    );

    let mut reader = Running::start(&shell, follow);
    assert!(reader.said().contains("reading 1 partitions"));
    assert_eq!(members(), 1);
    kill_process(Pid::from_child(&reader.child), Signal::TERM).unwrap();
    assert!(reader.child.wait().unwrap().success());
    assert_eq!(members(), 0, "after it was terminated");
}

#[test]
fn a_member_whose_output_is_stuck_leaves_when_terminated() {
    let shell = Shell::new();
    shell.run("topic create long");
    shell.run_with(
        "produce long",
        &format!("{}\n", "x".repeat(200)).repeat(20_000),
    );
    // Its output is a pipe that is open, far smaller than what there is to print, and not read.
    let mut reader = Running::start(&shell, "consume long --group stuck");
    assert!(reader.said().contains("reading 1 partitions"));
    std::thread::sleep(Duration::from_millis(500));
    kill_process(Pid::from_child(&reader.child), Signal::TERM).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = reader.child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it goes on after SIGTERM");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success());
    let described = shell.json("group describe stuck --json");
    assert!(described["members"].as_array().unwrap().is_empty());
    assert_eq!(
        shell.run("consume long --group stuck").lines().count(),
        20_000,
        "what nobody has read is not committed"
    );
}

#[test]
fn the_lag_of_who_has_committed_nothing_is_not_known() {
    let shell = shell_with_ten();
    let mut reader = Running::start(&shell, "consume orders --group new --follow");
    assert!(reader.said().contains("reading 2 partitions"));
    let described = shell.json("group describe new --json");
    assert_eq!(described["lag"], Value::Null);
    assert_eq!(described["partitions"][0]["lag"], Value::Null);
    let text = shell.run("group describe new");
    assert!(text.contains("Lag       -\n"), "{text}");
}

#[test]
fn a_place_in_a_group_is_moved_not_named() {
    let shell = shell_with_ten();
    let said = shell.fails("consume orders --group billing --from 3");
    assert!(
        said.contains("group reset-offsets billing --topic orders"),
        "{said}"
    );
}
