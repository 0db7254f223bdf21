"""Kafka's own command-line tools, as an operator types them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from records import numbered, values

BIN = Path(__file__).resolve().parents[1] / "kafka/bin"
TOOL_SECONDS_MAX = 60


@pytest.fixture
def tool(bootstrap: str) -> Callable[..., str]:
    """Runs a tool against the broker and returns what it printed; it must end well unless told otherwise."""

    def run(name: str, *arguments: str, input: str = "", fails: bool = False) -> str:
        done = subprocess.run(
            [BIN / f"{name}.sh", "--bootstrap-server", bootstrap, *arguments],
            input=input,
            capture_output=True,
            text=True,
            timeout=TOOL_SECONDS_MAX,
        )
        # Some tools print an error and end with 0.
        failed = done.returncode != 0 or "Exception" in done.stdout + done.stderr
        assert failed == fails, f"{name} {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + (done.stderr if fails else "")

    return run


def test_topics(tool, new_name):
    name = new_name("topic")
    tool("kafka-topics", "--create", "--topic", name, "--partitions", "3", "--config", "retention.ms=3600000")
    described = tool("kafka-topics", "--describe", "--topic", name)
    assert re.search(r"PartitionCount:\s*3\s+ReplicationFactor:\s*1", described)
    assert "retention.ms=3600000" in described
    assert len(re.findall(r"Partition: \d+\s+Leader: \d+", described)) == 3
    tool("kafka-topics", "--alter", "--topic", name, "--partitions", "5")
    assert "PartitionCount: 5" in tool("kafka-topics", "--describe", "--topic", name)
    assert name in tool("kafka-topics", "--list").split()
    assert "already exists" in tool("kafka-topics", "--create", "--topic", name, fails=True)
    tool("kafka-topics", "--delete", "--topic", name)
    assert name not in tool("kafka-topics", "--list").split()


def test_configs(tool, topic):
    name = topic()
    entity = ("--entity-type", "topics", "--entity-name", name)
    tool("kafka-configs", *entity, "--alter", "--add-config", "retention.ms=7200000,max.message.bytes=200000")
    described = tool("kafka-configs", *entity, "--describe")
    assert "retention.ms=7200000" in described and "max.message.bytes=200000" in described
    tool("kafka-configs", *entity, "--alter", "--delete-config", "retention.ms")
    assert "retention.ms=7200000" not in tool("kafka-configs", *entity, "--describe")
    every = tool("kafka-configs", *entity, "--describe", "--all")
    assert "min.insync.replicas=" in every and "cleanup.policy=" in every
    tool("kafka-configs", *entity, "--alter", "--add-config", "retention.ms=soon", fails=True)


def test_console_producer_and_consumer(tool, topic):
    name = topic()
    lines = [f"key{n}:value{n}" for n in range(100)]
    parse = ("--reader-property", "parse.key=true", "--reader-property", "key.separator=:")
    tool("kafka-console-producer", "--topic", name, *parse, input="\n".join(lines) + "\n")
    show = ("--formatter-property", "print.key=true", "--formatter-property", "key.separator=:")
    read = tool("kafka-console-consumer", "--topic", name, "--from-beginning", "--max-messages", "100", *show)
    assert read.split() == lines


def test_groups(tool, topic, group, agents):
    name = topic(partitions=2)
    agents("confluent")("produce", topic=name, records=numbered(100, partitions=2))
    tool("kafka-console-consumer", "--topic", name, "--group", group, "--from-beginning", "--max-messages", "100")
    assert group in tool("kafka-consumer-groups", "--list").split()
    rows = lags(tool("kafka-consumer-groups", "--describe", "--group", group), name)
    assert rows == {0: (50, 50, 0), 1: (50, 50, 0)}
    tool("kafka-consumer-groups", "--reset-offsets", "--group", group, "--topic", name, "--shift-by", "-10", "--execute")
    rows = lags(tool("kafka-consumer-groups", "--describe", "--group", group), name)
    assert rows == {0: (40, 50, 10), 1: (40, 50, 10)}
    tool("kafka-consumer-groups", "--reset-offsets", "--group", group, "--all-topics", "--to-earliest", "--execute")
    assert values(agents("java")("fetch", topic=name, start={"offset": 0}, count=1))
    assert "Empty" in tool("kafka-consumer-groups", "--describe", "--group", group, "--state")
    tool("kafka-consumer-groups", "--delete-offsets", "--group", group, "--topic", name)
    tool("kafka-consumer-groups", "--delete", "--group", group)
    assert group not in tool("kafka-consumer-groups", "--list").split()


def lags(described: str, topic: str) -> dict[int, tuple[int, int, int]]:
    """Partition to committed offset, end and lag, from the tool's table."""
    rows = {}
    for line in described.splitlines():
        columns = line.split()
        if len(columns) > 5 and columns[1] == topic:
            partition, committed, end, lag = map(int, columns[2:6])
            rows[partition] = (committed, end, lag)
    return rows


def test_offsets_and_deletion(tool, topic, agents, tmp_path):
    name = topic(partitions=2)
    agents("confluent")("produce", topic=name, records=numbered(20, partitions=2))
    ends = tool("kafka-get-offsets", "--topic", name, "--time", "latest").split()
    assert ends == [f"{name}:0:10", f"{name}:1:10"]
    wanted = tmp_path / "delete.json"
    wanted.write_text(f'{{"partitions": [{{"topic": "{name}", "partition": 0, "offset": 4}}], "version": 1}}')
    tool("kafka-delete-records", "--offset-json-file", str(wanted))
    starts = tool("kafka-get-offsets", "--topic", name, "--time", "earliest").split()
    assert starts == [f"{name}:0:4", f"{name}:1:0"]
    assert f'"{name}-0"' in tool("kafka-log-dirs", "--describe", "--topic-list", name)


def test_performance_tools(tool, topic):
    name = topic()
    produced = tool(
        "kafka-producer-perf-test", "--topic", name, "--num-records", "20000", "--record-size", "100",
        "--throughput", "-1",
    )  # fmt: skip
    assert "20000 records sent" in produced
    consumed = tool("kafka-consumer-perf-test", "--topic", name, "--num-records", "20000")
    assert re.search(r",\s*20000,", consumed), consumed
    verified = tool("kafka-verifiable-producer", "--topic", name, "--max-messages", "1000")
    assert '"acked":1000' in verified


def test_api_versions(tool):
    listed = tool("kafka-broker-api-versions")
    for api in ("Produce(0)", "Fetch(1)", "ListOffsets(2)", "Metadata(3)", "JoinGroup(11)", "CreateTopics(19)"):
        assert re.search(re.escape(api) + r": .*\[usable: \d+\]", listed), api
