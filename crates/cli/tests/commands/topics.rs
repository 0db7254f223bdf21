//! `millstream topic`.

use serde_json::json;

use crate::Shell;

#[test]
fn a_topics_life() {
    let shell = Shell::new();
    shell.run("topic create orders --partitions 3 --set retention.ms=1000000");
    let listed = shell.json("topic list --json");
    assert_eq!(listed[0]["name"], "orders");
    assert_eq!(listed[0]["partitions"], 3);

    shell.run_with("produce orders --partition 1", "a\nb\n");
    let described = shell.json("topic describe orders --json");
    assert_eq!(described["records"], 2);
    assert_eq!(described["partitions"][1]["latest"], 2);
    assert_eq!(described["settings"][0]["name"], "retention.ms");
    assert_eq!(described["settings"][0]["value"], "1000000");
    assert!(described["settings"].as_array().unwrap().len() == 1);
    let all = shell.json("topic describe orders --all --json");
    assert!(all["settings"].as_array().unwrap().len() > 10);

    shell
        .run("topic alter orders --partitions 5 --set cleanup.policy=compact --unset retention.ms");
    let described = shell.json("topic describe orders --json");
    assert_eq!(described["partitions"].as_array().unwrap().len(), 5);
    assert_eq!(described["settings"][0]["name"], "cleanup.policy");

    let table = shell.run("topic describe orders");
    assert!(
        table.contains("PARTITION") && table.contains("cleanup.policy"),
        "{table}"
    );
    assert!(!table.contains('\x1b'), "no colour but on a terminal");
    shell.run("topic delete orders");
    assert_eq!(shell.json("topic list --json").as_array().unwrap().len(), 0);
}

#[test]
fn changes_are_told_as_json() {
    let shell = Shell::new();
    let made = shell.json("topic create orders --partitions 2 --set retention.ms=1000000 --json");
    assert_eq!(made["name"], "orders");
    assert_eq!(made["partitions"].as_array().unwrap().len(), 2);
    assert_eq!(made["settings"][0]["value"], "1000000");
    let there = shell.json("topic create orders --if-not-exists --json");
    assert_eq!(there["id"], made["id"]);
    let altered = shell.json("topic alter orders --partitions 3 --set retention.ms=2000000 --json");
    assert_eq!(altered["partitions"].as_array().unwrap().len(), 3);
    assert_eq!(altered["settings"][0]["value"], "2000000");
    let deleted = shell.json("topic delete gone orders --if-exists --json");
    assert_eq!(deleted, json!([{"topic": "orders", "deleted": true}]));
}

#[test]
fn refusals_say_what_to_do() {
    let shell = Shell::new();
    shell.run("topic create there");
    assert!(
        shell
            .fails("topic create there")
            .contains("TOPIC_ALREADY_EXISTS")
    );
    shell.run("topic create there --if-not-exists");
    assert!(
        shell
            .fails("topic describe gone")
            .contains("there is no topic 'gone'")
    );
    for line in ["delete gone", "alter gone --partitions 2"] {
        let gone = shell.fails(&format!("topic {line}"));
        assert!(
            gone.contains("UNKNOWN_TOPIC_OR_PARTITION") && gone.contains("`topic list`"),
            "{line}: {gone}"
        );
        assert!(!gone.contains("create the topic"), "{line}: {gone}");
    }
    shell.run("topic delete gone --if-exists");
    assert!(
        shell
            .fails("topic create ../x")
            .contains("INVALID_TOPIC_EXCEPTION")
    );
    let wrong = shell.fails("topic create new --set retention.ms=soon");
    assert!(
        wrong.contains("INVALID_CONFIG") && wrong.contains("retention.ms"),
        "{wrong}"
    );
    shell.run("topic create new --validate-only");
    assert!(shell.fails("topic describe new").contains("new"));
}
