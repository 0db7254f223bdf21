//! `millstream produce`, `consume` and `bench`.

use std::io::{BufRead, BufReader, Write};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Running, Shell};

#[test]
fn lines_go_in_and_come_out() {
    let shell = Shell::new();
    shell.run("topic create orders --partitions 4");
    shell.run_with("produce orders --key-separator :", "alice:one flat white\n");
    assert_eq!(
        shell.run("consume orders --from earliest --max 1"),
        "one flat white\n"
    );
    let template = r"consume orders --format '{topic} {offset} {key}={value}\t{headers}'";
    assert_eq!(shell.run(template), "orders 0 alice=one flat white\t\n");
}

#[test]
fn json_comes_back_as_it_went_in() {
    let shell = Shell::new();
    shell.run("topic create first");
    shell.run("topic create second");
    let input = concat!(
        r#"{"key":"k","value":"text","headers":[{"key":"h","value":"1"},{"key":"h","value":null}],"timestamp":1700000000000}"#,
        "\n",
        r#"{"key":null,"value":{"nested":[1,2]},"timestamp":1700000000001}"#,
        "\n",
        r#"{"value":null,"key_base64":"/w==","timestamp":1700000000002}"#,
        "\n",
    );
    let summary: Value = serde_json::from_str(&shell.run_with(
        "produce first --format json --json --compression zstd",
        input,
    ))
    .unwrap();
    assert_eq!(summary["records"], 3);
    let read = shell.run("consume first --json");
    let objects: Vec<Value> = read
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(objects[0]["headers"][1]["value"], Value::Null);
    assert_eq!(objects[1]["value"], r#"{"nested":[1,2]}"#);
    assert_eq!(objects[2]["key_base64"], "/w==");
    assert_eq!(objects[2]["timestamp"], 1_700_000_000_002_i64);

    shell.run_with("produce second --format json", &read);
    assert_eq!(
        shell.run("consume second --json"),
        read.replace("\"first\"", "\"second\"")
    );
}

#[test]
fn reading_is_cut_to_what_is_asked() {
    let shell = Shell::new();
    shell.run("topic create numbers --partitions 2");
    let records: String = (0..10)
        .map(|n| {
            format!(
                "{{\"value\":\"{n}\",\"partition\":0,\"timestamp\":{}}}\n",
                n * 1_000
            )
        })
        .collect();
    shell.run_with("produce numbers --format json", &records);
    let read = |arguments: &str| {
        shell
            .run(&format!("consume numbers {arguments}"))
            .split_whitespace()
            .collect::<String>()
    };
    assert_eq!(read(""), "0123456789");
    assert_eq!(read("--from 3 --to 6"), "345");
    assert_eq!(read("--from -2"), "89");
    assert_eq!(read("--from @4500 --to @6000"), "5");
    assert_eq!(read("--from 1970-01-01T00:00:08Z"), "89");
    assert_eq!(read("--max 4"), "0123");
    assert_eq!(read("--partition 1"), "");
    assert_eq!(read("--from latest"), "");
    assert_eq!(read("--from 1h"), "");
    assert!(
        shell
            .fails("consume numbers --partition 7")
            .contains("has no partition 7")
    );
}

#[test]
fn following_goes_on_until_interrupted() {
    let shell = Shell::new();
    shell.run("topic create live");
    shell.run_with("produce live", "old\n");
    let mut child = shell
        .command("consume live --follow --from earliest")
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "old");
    shell.run_with("produce live", "new\n");
    assert_eq!(lines.next().unwrap().unwrap(), "new");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_topic_that_is_created_anew_is_followed_from_its_beginning() {
    let shell = Shell::new();
    shell.run("topic create live");
    shell.run_with("produce live", "a\nb\nc\n");
    let mut follower = Running::start(&shell, "consume live --follow --from earliest");
    assert_eq!(
        [follower.line(), follower.line(), follower.line()],
        ["a", "b", "c"]
    );
    shell.run("topic delete live");
    shell.run("topic create live --partitions 2");
    let input = "{\"value\":\"d\",\"partition\":0}\n".repeat(5);
    shell.run_with("produce live --format json", &input);
    shell.run_with("produce live --partition 1", "e\n");
    let mut read: Vec<_> = (0..6).map(|_| follower.line()).collect();
    read.sort_unstable();
    assert_eq!(read, ["d", "d", "d", "d", "d", "e"]);
    // That the old one has been deleted is said only if there was a moment without any.
    let mut said = follower.said();
    if said.contains("has been deleted") {
        said = follower.said();
    }
    assert!(said.contains("has been created anew"), "{said}");
}

#[test]
fn that_a_followed_topic_is_deleted_is_said() {
    let shell = Shell::new();
    shell.run("topic create live");
    shell.run_with("produce live", "a\n");
    let mut follower = Running::start(&shell, "consume live --follow --from earliest");
    assert_eq!(follower.line(), "a");
    shell.run("topic delete live");
    let said = follower.said();
    assert!(said.contains("topic 'live' has been deleted"), "{said}");
    shell.run("topic create live");
    shell.run_with("produce live", "b\n");
    assert_eq!(follower.line(), "b");
    assert!(follower.said().contains("created anew"));
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let shell = Shell::new();
    shell.run("topic create long");
    let line = "x".repeat(200);
    shell.run_with("produce long", &format!("{line}\n").repeat(20_000));
    let mut child = shell.command("consume long").spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn input_that_cannot_be_used_is_told_by_its_line() {
    let shell = Shell::new();
    let said = shell.feed("produce topic --format json", "{}\n{\"vale\":1}\n");
    assert_eq!(said.code, 1);
    assert!(
        said.err.contains("line 2") && said.err.contains("vale"),
        "{}",
        said.err
    );
    assert!(
        shell
            .fails("produce topic --file /nowhere/at/all")
            .contains("/nowhere/at/all")
    );
}

#[test]
fn how_far_it_came_is_told_when_it_fails() {
    let shell = Shell::new();
    shell.run("topic create orders");
    shell.run("topic create small --set max.message.bytes=2000");
    let good = "{\"value\":\"v\"}\n".repeat(20_000);
    let said = shell.feed(
        "produce orders --format json --json",
        &format!("{good}[]\n{good}"),
    );
    assert_eq!(said.code, 1);
    assert!(
        said.err
            .contains("stopped at line 20001 with 20,000 records written"),
        "{said:?}"
    );
    let summary: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&summary["records"], &summary["failed_line"]),
        (&20_000.into(), &20_001.into())
    );
    assert_eq!(shell.run("consume orders").lines().count(), 20_000);

    let input = format!("a\nb\n{}\n", "x".repeat(5_000));
    let said = shell.feed("produce small --batch-bytes 1", &input);
    assert_eq!(said.code, 1);
    assert!(
        said.err
            .contains("stopped at line 3 with 2 records written: ")
            && said.err.contains("MESSAGE_TOO_LARGE"),
        "{said:?}"
    );
    assert_eq!(shell.run("consume small"), "a\nb\n");
}

#[test]
fn a_level_that_the_codec_does_not_have_is_refused() {
    let shell = Shell::new();
    for (how, reason) in [
        ("gzip --compression-level 99", "levels 1 to 9"),
        ("gzip --compression-level 0", "levels 1 to 9"),
        ("zstd --compression-level 23", "levels 1 to 22"),
        ("lz4 --compression-level 1000", "lz4 has no levels"),
        ("none --compression-level 1", "none has no levels"),
    ] {
        let said = shell.fails(&format!("produce orders --compression {how}"));
        assert!(said.contains(reason), "{how}: {said}");
    }
    for how in ["gzip --compression-level 9", "zstd --compression-level -5"] {
        shell.run_with(&format!("produce orders --compression {how}"), "a\n");
    }
}

#[test]
fn a_file_is_read_and_large_input_arrives() {
    let shell = Shell::new();
    shell.run("topic create many --partitions 3");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for n in 0..50_000 {
        writeln!(file, "key {}|value {n}", n % 100).unwrap();
    }
    let path = file.path().display();
    shell.run(&format!(
        "produce many --file {path} --key-separator | --compression lz4 --batch-bytes 20000"
    ));
    assert_eq!(shell.run("consume many").lines().count(), 50_000);
}

#[test]
fn benchmarks_measure() {
    let shell = Shell::new();
    let produced = shell
        .json("bench produce --records 20000 --size 100 --batch-bytes 10000 --partitions 2 --json");
    assert_eq!(produced["records"], 20_000);
    assert!(produced["times"]["p99_ms"].as_f64().unwrap() > 0.0);
    let consumed = shell.json("bench consume --records 20000 --decode --json");
    assert_eq!(consumed["records"], 20_000);
    let one = shell.json("bench consume --records 1 --json");
    assert_eq!(one["records"], 1);
    let latency = shell.json(
        "bench latency --rate 200 --duration 1s --warm-up 200ms --size 100 --topic latency --json",
    );
    assert_eq!(latency["times"]["count"], 200);
    assert!(
        shell
            .run("bench consume --records 1000")
            .contains("records/s")
    );
}

#[test]
fn a_benchmark_keeps_its_rate_and_its_duration() {
    let shell = Shell::new();
    let until_duration = shell.json("bench produce --duration 2s --rate 100 --json");
    let until_count = shell.json("bench produce --records 200 --rate 100 --json");
    for paced in [until_duration, until_count] {
        assert_eq!(paced["records"], 200, "{paced}");
        assert_eq!(paced["times"]["count"], 200, "{paced}");
        let seconds = paced["seconds"].as_f64().unwrap();
        assert!((1.9..4.0).contains(&seconds), "{paced}");
        // Each record has waited for its own batch, not for one to be full.
        assert!(
            paced["times"]["p50_ms"].as_f64().unwrap() < 500.0,
            "{paced}"
        );
    }
}
