//! `millstream queue` and `millstream redrive`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Running, Shell};

/// A server with a queue `work` on the topic `orders`.
fn shell_with_queue(how: &str) -> Shell {
    let shell = Shell::new();
    shell.run("topic create orders --partitions 1");
    shell.run(&format!("queue create work --topic orders {how}"));
    shell
}

impl Shell {
    fn publish(&self, values: &[&str]) {
        self.run_with("produce orders", &format!("{}\n", values.join("\n")));
    }

    /// Receives up to ten messages: their receipts and their values.
    fn receive(&self, how: &str) -> Vec<(String, String)> {
        let said = self.run(&format!("queue receive work --max 10 {how}"));
        let pair = |line: &str| {
            let (receipt, value) = line.split_once('\t').expect("a receipt and a value");
            (receipt.to_owned(), value.to_owned())
        };
        said.lines().map(pair).collect()
    }

    fn receive_one(&self) -> (String, String) {
        let mut received = self.receive("--wait 5s");
        assert_eq!(received.len(), 1, "{received:?}");
        received.remove(0)
    }

    fn work(&self) -> Value {
        self.json("queue describe work --json")
    }

    /// Waits until the queue has that many dead letters.
    fn buried(&self, count: u64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.work()["totals"]["dead_lettered"] != count {
            assert!(Instant::now() < deadline, "{}", self.work());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_queues_life() {
    let shell = Shell::new();
    shell.run("topic create orders --partitions 1");
    let made = shell.json(
        "queue create work --topic orders --set dead_letters=true --set retry.attempts_max=3 --dead-letter-topic morgue --json",
    );
    assert_eq!(made["name"], "work");
    assert_eq!(made["dead_letter_topic"], "morgue");
    assert_eq!(made["policy"]["retry"]["attempts_max"], 3);
    assert!(shell.run("topic list").contains("morgue"));
    let again = shell.fails("queue create work --topic orders");
    assert!(again.contains("exists already"), "{again}");

    shell.publish(&["a", "b"]);
    let described = shell.run("queue describe work");
    for line in ["attempts_max", "morgue", "ready"] {
        assert!(described.contains(line), "{line}: {described}");
    }
    assert_eq!(shell.work()["depth"]["ready"], 2);

    let altered = shell.json("queue alter work --set in_flight_max=1 --json");
    assert_eq!(altered["policy"]["in_flight_max"], 1);
    assert_eq!(altered["policy"]["retry"]["attempts_max"], 3);
    assert_eq!(shell.receive("").len(), 1);
    shell.run("queue alter work --set in_flight_max=null");
    assert_eq!(shell.work()["policy"]["in_flight_max"], Value::Null);
    assert_eq!(shell.receive("").len(), 1);
    let refused = shell.fails("queue alter work --set in_flight_max=0");
    assert!(refused.contains("in_flight_max is at least 1"), "{refused}");

    shell.run("queue create other --topic orders");
    let deleted = shell.json("queue delete work other --json");
    let expected = json!([{"queue": "work", "deleted": true}, {"queue": "other", "deleted": true}]);
    assert_eq!(deleted, expected);
    assert_eq!(shell.json("queue list --json"), json!([]));
    for line in ["describe work", "delete work", "peek work", "purge work"] {
        let gone = shell.fails(&format!("queue {line}"));
        assert!(gone.contains("there is no queue"), "{line}: {gone}");
    }
}

#[test]
fn what_was_done_before_a_failure_is_told() {
    let shell = shell_with_queue("");
    let said = shell.feed("queue delete work nothing --json", "");
    assert_eq!(said.code, 1, "{said:?}");
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(told, json!([{"queue": "work", "deleted": true}]));
    assert!(said.err.contains("there is no queue"), "{said:?}");
}

#[test]
fn messages_are_looked_at_and_settled() {
    let shell = shell_with_queue("");
    shell.publish(&["a", "b", "c", "d"]);
    let seen = shell.run("queue peek work --max 2");
    assert_eq!(seen, "0\t0\tready\ta\n0\t1\tready\tb\n");
    let first = shell.run("queue peek work --max 1 --json");
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(
        (&first["value"], &first["attempts"]),
        (&json!("a"), &json!(0))
    );

    let held = shell.receive("--visibility 10m");
    let values: Vec<_> = held.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["a", "b", "c", "d"]);
    assert!(shell.run("queue peek work --max 1").contains("leased"));
    let receipts: Vec<_> = held.iter().map(|(receipt, _)| receipt.as_str()).collect();
    let done = shell.json(&format!("queue ack work {} --json", receipts[0]));
    assert_eq!(done, json!([{"ok": true, "receipt": receipts[0]}]));
    assert_eq!(shell.run(&format!("queue nack work {}", receipts[1])), "");
    assert_eq!(shell.receive_one().1, "b");
    shell.run(&format!("queue nack work {} --delay 1h", receipts[2]));
    assert_eq!(shell.work()["depth"]["parked"], 1);
    // Without dead letters what is given up is gone.
    shell.run(&format!("queue reject work {}", receipts[3]));
    let totals = shell.work()["totals"].clone();
    assert_eq!(
        (&totals["acknowledged"], &totals["discarded"]),
        (&json!(1), &json!(1))
    );
}

#[test]
fn a_refused_receipt_is_named() {
    let shell = shell_with_queue("");
    shell.publish(&["a", "b"]);
    let held = shell.receive("");
    let (first, second) = (&held[0].0, &held[1].0);
    shell.run(&format!("queue ack work {first}"));
    for (how, action) in [("ack", "ack"), ("nack", "nack"), ("extend", "extend")] {
        let said = shell.fails(&format!("queue {action} work {first}"));
        assert!(said.contains(&format!("{first}: ")), "{how}: {said}");
        assert!(
            said.contains("1 of 1 receipts were refused"),
            "{how}: {said}"
        );
    }
    let said = shell.fails(&format!("queue reject work {first} {second} nonsense"));
    assert!(said.contains(&format!("{first}: ")), "{said}");
    assert!(said.contains("nonsense: this is no receipt"), "{said}");
    assert!(!said.contains(&format!("{second}: ")), "{said}");

    let said = shell.feed(&format!("queue ack work {first} nonsense --json"), "");
    assert_eq!(said.code, 1);
    let results: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(results[0]["receipt"], first.as_str());
    assert_eq!(results[0]["code"], "finished");
    assert_eq!(results[1]["receipt"], "nonsense");
    assert_eq!(results[1]["code"], "invalid");
}

#[test]
fn a_lease_is_extended() {
    let shell = shell_with_queue("");
    shell.publish(&["a"]);
    let held = shell.receive("--visibility 2s");
    let done = shell.json(&format!(
        "queue extend work {} --visibility 10m --json",
        held[0].0
    ));
    assert_eq!(done[0]["ok"], true);
    assert_eq!(shell.receive("--wait 3s"), []);
    shell.run(&format!("queue ack work {}", held[0].0));
}

#[test]
fn queues_are_paused_resumed_and_purged() {
    let shell = shell_with_queue("");
    shell.publish(&["a", "b", "c"]);
    let paused = shell.json("queue pause work --json");
    assert_eq!(paused, json!([{"queue": "work", "paused": true}]));
    assert!(shell.run("queue list").contains("paused"));
    assert_eq!(shell.receive("--wait 100ms"), []);
    shell.run("queue resume work");
    let held = shell.run("queue receive work");
    assert_eq!(held.lines().count(), 1);
    let purged = shell.json("queue purge work --json");
    assert_eq!(purged, json!([{"queue": "work", "purged": 2}]));
    assert_eq!(shell.work()["depth"]["open"], 1);
    let said = shell.feed("queue purge work", "");
    assert!(said.err.contains("is purged: 0 messages"), "{said:?}");
    let resumed = shell.json("queue resume work --json");
    assert_eq!(resumed, json!([{"queue": "work", "resumed": true}]));
}

#[test]
fn following_goes_on_after_the_server_was_started_again() {
    let mut shell = shell_with_queue("");
    shell.publish(&["a"]);
    let mut reader = Running::start(&shell, "queue receive work --follow --ack");
    assert_eq!(reader.line(), "a");
    shell.kill_and_restart();
    let said = reader.said();
    assert!(said.contains("connecting again"), "{said}");
    shell.publish(&["b"]);
    assert_eq!(reader.line(), "b");
}

#[test]
fn dead_letters_come_back() {
    let shell = shell_with_queue("--set dead_letters=true");
    shell.publish(&["a", "b"]);
    for (receipt, _) in shell.receive("") {
        shell.run(&format!("queue reject work {receipt}"));
    }
    shell.buried(2);
    assert_eq!(shell.run("queue peek work"), "");
    assert_eq!(shell.run("consume work.dead"), "a\nb\n");
    assert_eq!(
        shell.json("redrive work --max 1 --json"),
        json!({"moved": 1, "refused": 0, "stopped": null})
    );
    assert_eq!(shell.receive_one().1, "a");
    shell.run("topic create elsewhere --partitions 1");
    let said = shell.feed("redrive work --to elsewhere", "");
    assert!(said.err.contains("1 messages were moved"), "{said:?}");
    assert_eq!(shell.run("consume elsewhere"), "b\n");
    shell.run("queue create plain --topic orders");
    let none = shell.fails("redrive plain");
    assert!(none.contains("keeps no dead letters"), "{none}");
}

#[test]
fn an_exclusive_queue_has_one_consumer() {
    let shell = shell_with_queue("--set access=exclusive");
    shell.publish(&["a", "b"]);
    let nobody = shell.fails("queue receive work");
    assert!(nobody.contains("--consumer NAME"), "{nobody}");
    assert!(shell.run("queue receive work --consumer one").contains('a'));
    let second = shell.fails("queue receive work --consumer two");
    assert!(second.contains("another consumer has it"), "{second}");
    assert_eq!(shell.run("queue receive work --consumer one --ack"), "b\n");
}
