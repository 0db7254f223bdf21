//! `millstream route`.

use serde_json::json;

use crate::Shell;

#[test]
fn a_routes_life() {
    let shell = Shell::new();
    for topic in ["orders", "orders.eu", "audit"] {
        shell.run(&format!("topic create {topic} --partitions 1"));
    }
    shell.run(
        r#"route create eu --from orders --to orders.eu --filter '{"header":"region","equals":"eu"}'"#,
    );
    shell.run("route create all --from-pattern orders.# --to audit");
    shell.run_with(
        "produce orders --format json",
        "{\"value\":\"1\",\"headers\":[{\"key\":\"region\",\"value\":\"eu\"}]}\n{\"value\":\"2\"}\n",
    );
    let read = shell.run("consume orders.eu");
    assert_eq!(read, "1\n");
    assert_eq!(shell.run("consume audit"), "1\n2\n");

    let listed = shell.json("route list --json");
    assert_eq!(listed[0]["name"], "all");
    assert_eq!(listed[1]["name"], "eu");
    assert_eq!(listed[1]["stats"]["records"], 1);
    let table = shell.run("route list");
    assert!(
        table.contains("orders.#") && table.contains("orders.eu"),
        "{table}"
    );
    let described = shell.json("route describe all --json");
    assert_eq!(described["source_pattern"], "orders.#");
    assert_eq!(described["sources"].as_array().unwrap().len(), 2);
    let text = shell.run("route describe eu");
    assert!(
        text.contains("orders.eu") && text.contains("region"),
        "{text}"
    );

    let made = shell.json("route create more --from orders --to audit --json");
    assert_eq!(made["targets"], json!(["audit"]));
    shell.run("route delete eu all");
    let deleted = shell.json("route delete more --json");
    assert_eq!(deleted, json!([{"route": "more", "deleted": true}]));
    assert_eq!(shell.json("route list --json").as_array().unwrap().len(), 0);
}

#[test]
fn refusals_say_what_to_do() {
    let shell = Shell::new();
    for topic in ["a", "b", "c"] {
        shell.run(&format!("topic create {topic} --partitions 1"));
    }
    shell.run("route create ab --from a --to b");
    shell.run("route create ab --from a --to b");
    let taken = shell.fails("route create ab --from a --to c");
    assert!(taken.contains("exists already"), "{taken}");
    let circle = shell.fails("route create ba --from b --to a");
    assert!(circle.contains("loop"), "{circle}");
    let unknown = shell.fails("route create ax --from a --to x");
    assert!(unknown.contains("create the topic first"), "{unknown}");
    assert!(
        shell
            .fails("route describe x")
            .contains("there is no route x")
    );
    assert!(
        shell
            .fails("route delete x")
            .contains("there is no route x")
    );
    let said = shell.feed("route create r --to b", "");
    assert_eq!(said.code, 2, "{}", said.err);
    let filter = shell.fails("route create r --from a --to c --filter region");
    assert!(filter.contains("not JSON"), "{filter}");
}
