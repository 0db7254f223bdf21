//! `millstream tail`.

use serde_json::Value;

use crate::{Running, Shell};

#[test]
fn what_is_there_and_what_comes_is_printed() {
    let shell = Shell::new();
    shell.run("topic create orders");
    shell.run_with("produce orders --key-separator :", "alice:one\nbob:two\n");
    assert_eq!(
        shell.run("tail orders --from earliest --max 2"),
        "one\ntwo\n"
    );
    let mut tail = Running::start(&shell, "tail orders --from earliest --json");
    let first: Value = serde_json::from_str(&tail.line()).unwrap();
    assert_eq!(
        (&first["key"], &first["offset"]),
        (&Value::from("alice"), &Value::from(0))
    );
    tail.line();
    shell.run_with("produce orders", "three\n");
    let third: Value = serde_json::from_str(&tail.line()).unwrap();
    assert_eq!(third["value"], "three");
}

#[test]
fn patterns_filters_and_places_choose() {
    let shell = Shell::new();
    for topic in ["orders.eu", "orders.us", "prices"] {
        shell.run(&format!("topic create {topic}"));
    }
    let input = concat!(
        r#"{"key":"a","value":"a1","headers":[{"key":"region","value":"eu"}]}"#,
        "\n",
        r#"{"key":"a","value":"a2"}"#,
        "\n",
    );
    shell.run_with("produce orders.eu --format json", input);
    shell.run_with("produce prices", "7\n");
    let filtered = r#"tail orders.eu prices --from earliest -n 1 --filter '{"header":"region"}'"#;
    assert_eq!(shell.run(filtered), "a1\n");
    let latest = "tail --pattern 'orders.#' --from latest-per-key -n 1";
    assert_eq!(shell.run(latest), "a2\n");
    assert_eq!(shell.run("tail prices --from 1h --max 1"), "7\n");
    assert_eq!(shell.run("tail orders.eu --from 0:1 --max 1"), "a2\n");
}

#[test]
fn what_cannot_be_is_said() {
    let shell = Shell::new();
    assert!(shell.fails("tail nothing").contains("nothing"));
    shell.run("topic create orders");
    let wrong = shell.fails("tail orders --filter '{\"haeder\":\"x\"}'");
    assert!(wrong.contains("filter"), "{wrong}");
    for line in ["tail", "tail orders --from yesterday"] {
        assert_eq!(shell.feed(line, "").code, 2, "{line}");
    }
    let nobody = shell.fails("tail orders --http 127.0.0.1:1");
    assert!(nobody.contains("millstream serve"), "{nobody}");
}

#[test]
fn a_topic_that_is_deleted_is_the_end() {
    let shell = Shell::new();
    shell.run("topic create orders");
    shell.run_with("produce orders", "one\n");
    let mut tail = Running::start(&shell, "tail orders --from earliest");
    assert_eq!(tail.line(), "one");
    shell.run("topic delete orders");
    assert_eq!(tail.child.wait().unwrap().code(), Some(1));
    let said = tail.said();
    assert!(said.contains("deleted"), "{said}");
}

#[test]
fn a_server_that_was_killed_is_found_again_without_loss() {
    let mut shell = Shell::new();
    shell.run("topic create orders");
    shell.run_with("produce orders", "one\ntwo\n");
    let mut tail = Running::start(&shell, "tail orders --from earliest");
    assert_eq!((tail.line(), tail.line()), ("one".into(), "two".into()));
    shell.kill_and_restart();
    let said = tail.said();
    assert!(said.contains("connecting again"), "{said}");
    shell.run_with("produce orders", "three\n");
    assert_eq!(tail.line(), "three");
}
