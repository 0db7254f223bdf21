"""The clients under test: how each agent is started, and what it can do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("MILLSTREAM_TEST_CACHE", HERE.parents[1] / ".cache"))

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
ASSIGNORS = {"range", "roundrobin", "sticky", "cooperative-sticky"}
TOPIC_OPERATIONS = {
    "create_topic", "delete_topic", "create_partitions", "list_topics", "describe_topic", "describe_configs",
    "delete_records", "list_offsets", "describe_cluster",
}  # fmt: skip
READS = {"empties", "append-time"}
GROUP_OPERATIONS = {"list_groups", "describe_group", "delete_group", "group_offsets"}


@dataclass(frozen=True)
class Spec:
    """One client. `can` names operations of its admin client, assignors, and these abilities of its own:

    idempotent, static, seek, pause (at once), null-header (it writes them), empties (it tells them from nulls),
    append-time (it shows the broker's), assigned (it tells what a group gave it), told (it tells a reader that its
    offset is gone, and reads a partition from an offset without a group), strict (it tells that a topic to create was
    there, and one to delete was not), fenced (it tells that another took its static membership).
    """

    name: str
    command: Callable[[], list[str]]
    can: set[str] = field(default_factory=set)
    # What the agent is told beside the broker's address.
    arguments: tuple[str, ...] = ()


def python_agent(script: str) -> Callable[[], list[str]]:
    return lambda: [sys.executable, str(HERE / "agents" / script)]


@cache
def jars() -> str:
    fetched = subprocess.run([HERE.parent / "kafka/fetch"], check=True, capture_output=True, text=True)
    return fetched.stdout.strip()


def java_agent() -> list[str]:
    quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256M", "-XX:-UsePerfData"]
    log = f"-Dlog4j2.configurationFile={HERE.parent / 'kafka/tools.properties'}"
    return ["java", *quick, log, "-cp", f"{CACHE / 'clients/java'}:{jars()}/*", "Agent"]


def node_agent() -> list[str]:
    return [shutil.which("node") or "node", str(CACHE / "clients/js/agent.mjs")]


def node_http_agent(script: str) -> Callable[[], list[str]]:
    return lambda: [shutil.which("node") or "node", str(CACHE / "clients/js" / script)]


def go_agent(name: str) -> Callable[[], list[str]]:
    return lambda: [str(CACHE / "clients/go" / name)]


SPECS = [
    Spec(
        "java",
        java_agent,
        TOPIC_OPERATIONS
        | READS
        | GROUP_OPERATIONS
        | ASSIGNORS
        | {"alter_configs", "alter_group_offsets", "delete_group_offsets", "log_dirs", "max_timestamp"}
        | {"idempotent", "null-header", "static", "assigned", "pause", "seek", "told", "strict", "fenced"},
    ),
    Spec(
        "confluent",
        python_agent("confluent_agent.py"),
        TOPIC_OPERATIONS
        | READS
        | GROUP_OPERATIONS
        | (ASSIGNORS - {"sticky"})
        | {"alter_configs", "replace_configs", "alter_group_offsets", "max_timestamp"}
        | {"idempotent", "null-header", "static", "assigned", "pause", "seek", "told", "strict", "fenced"},
    ),
    Spec(
        "kafka-python",
        python_agent("kafka_python_agent.py"),
        TOPIC_OPERATIONS
        | READS
        | GROUP_OPERATIONS
        | (ASSIGNORS - {"cooperative-sticky"})
        | {"alter_configs", "alter_group_offsets", "delete_group_offsets", "log_dirs", "max_timestamp"}
        | {"idempotent", "static", "assigned", "pause", "seek", "told", "strict"},
    ),
    Spec(
        "kafkajs",
        node_agent,
        TOPIC_OPERATIONS
        | READS
        | GROUP_OPERATIONS
        | {"replace_configs", "alter_group_offsets"}
        | {"idempotent", "assigned", "pause", "seek"},
    ),
    Spec(
        "sarama",
        go_agent("sarama"),
        TOPIC_OPERATIONS
        | READS
        | GROUP_OPERATIONS
        | (ASSIGNORS - {"cooperative-sticky"})
        | {"replace_configs", "log_dirs"}
        | {"idempotent", "null-header", "assigned", "strict"},
    ),
    Spec(
        "franz-go",
        go_agent("franz"),
        TOPIC_OPERATIONS
        | READS
        | GROUP_OPERATIONS
        | ASSIGNORS
        | {"alter_configs", "replace_configs", "alter_group_offsets", "delete_group_offsets", "log_dirs"}
        | {"max_timestamp", "idempotent", "null-header", "static", "assigned", "pause", "seek", "strict", "fenced"},
    ),
    Spec(
        "kafka-go",
        go_agent("kafkago"),
        {"create_topic", "delete_topic", "describe_topic", "list_offsets", "null-header"},
    ),
]
# The same library set to speak as to Kafka 0.11, and as new as it can: programs choose, and few choose alike.
SARAMA = next(spec for spec in SPECS if spec.name == "sarama")
VARIANTS = [
    Spec(
        "sarama-0.11",
        SARAMA.command,
        READS | {"create_topic", "delete_topic", "list_offsets", "range", "roundrobin", "sticky"}
        | {"idempotent", "null-header", "assigned"},
        ("0.11.0.0",),
    ),
    Spec("sarama-new", SARAMA.command, SARAMA.can | {"alter_configs", "static"}, ("4.1.0",)),
]  # fmt: skip
# Of the HTTP API: what follows live feeds. They are started with that API's address.
HTTP_SPECS = [
    Spec("python", python_agent("http_agent.py")),
    Spec("node", node_http_agent("http_agent.mjs")),
    Spec("browser", node_http_agent("browser_agent.mjs")),
]
BY_NAME = {spec.name: spec for spec in SPECS + VARIANTS + HTTP_SPECS}


def clients(*abilities: str) -> pytest.MarkDecorator:
    """Runs a test once for each client that can do all of `abilities`, and in the slow lane for each variant."""
    able = [spec.name for spec in SPECS if spec.can.issuperset(abilities)]
    able += [
        pytest.param(spec.name, marks=pytest.mark.slow) for spec in VARIANTS if spec.can.issuperset(abilities)
    ]
    return pytest.mark.parametrize("client", able, indirect=True)
