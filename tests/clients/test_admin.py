"""What operators do: topics, their settings, offsets and groups, by every client that can."""

from __future__ import annotations

import base64

import pytest
from agent import AgentError
from conftest import eventually
from records import numbered, record, values
from specs import SPECS, clients

OFFSET_OUT_OF_RANGE = 1
UNKNOWN_TOPIC_OR_PARTITION = 3
INVALID_TOPIC = 17
TOPIC_ALREADY_EXISTS = 36
INVALID_PARTITIONS = 37
INVALID_CONFIG = 40
NON_EMPTY_GROUP = 68
GROUP_ID_NOT_FOUND = 69
GROUP_SUBSCRIBED_TO_TOPIC = 86

T = 1_700_000_000_000


def refusal(client, *args, **how) -> int | None:
    with pytest.raises(AgentError) as refused:
        client(*args, **how)
    return refused.value.code


@clients("create_topic", "delete_topic")
def test_topic_comes_and_goes(client, new_name, agents):
    name = new_name("made")
    witness = agents("confluent")
    client("create_topic", topic=name, partitions=3, configs={"retention.ms": "86400000", "cleanup.policy": "compact"})
    eventually(lambda: client("describe_topic", topic=name)["partitions"] == 3)
    configs = witness("describe_configs", topic=name)
    assert (configs["retention.ms"], configs["cleanup.policy"]) == ("86400000", "compact")
    if "list_topics" in client.can:
        assert name in client("list_topics")
    if "strict" in client.can:
        assert refusal(client, "create_topic", topic=name) in (TOPIC_ALREADY_EXISTS, None)
    client("delete_topic", topic=name)
    eventually(lambda: name not in witness("list_topics"))
    if "strict" in client.can:
        assert refusal(client, "delete_topic", topic=name) in (UNKNOWN_TOPIC_OR_PARTITION, None)


@clients("create_topic")
@pytest.mark.parametrize(
    ("name", "configs", "code"),
    [
        ("../etc", {}, INVALID_TOPIC),
        ("a b", {}, INVALID_TOPIC),
        ("x" * 250, {}, INVALID_TOPIC),
        (None, {"cleanup.policy": "sometimes"}, INVALID_CONFIG),
        (None, {"retention.ms": "-2"}, INVALID_CONFIG),
        (None, {"no.such.setting": "1"}, INVALID_CONFIG),
    ],
    ids=["path", "space", "too-long", "bad-value", "out-of-bounds", "unknown-key"],
)
def test_bad_topic_is_refused(client, name, configs, code, new_name):
    got = refusal(client, "create_topic", topic=name or new_name("bad"), configs=configs)
    # A client that checks for itself gives no code.
    assert got in (code, None)


@clients("create_partitions")
def test_partitions_are_added(client, topic, agents):
    name = topic(partitions=2)
    agents("confluent")("produce", topic=name, records=numbered(10, partitions=2))
    client("create_partitions", topic=name, total=5)
    eventually(lambda: client("describe_topic", topic=name)["partitions"] == 5)
    assert refusal(client, "create_partitions", topic=name, total=3) in (INVALID_PARTITIONS, None)
    eventually(lambda: client("list_offsets", topic=name, at="latest") == {"0": 5, "1": 5, "2": 0, "3": 0, "4": 0})


@clients("describe_configs", "alter_configs")
def test_settings_change_one_by_one(client, topic):
    name = topic(retention_ms="1000000", max_message_bytes="50000")
    assert client("describe_configs", topic=name)["retention.ms"] == "1000000"
    client("alter_configs", topic=name, set={"retention.ms": "2000000", "segment.bytes": "2097152"})
    described = eventually(lambda: (c := client("describe_configs", topic=name))["retention.ms"] == "2000000" and c)
    assert (described["segment.bytes"], described["max.message.bytes"]) == ("2097152", "50000")
    client("alter_configs", topic=name, set={}, delete=["retention.ms"])
    eventually(lambda: client("describe_configs", topic=name)["retention.ms"] == "604800000")
    assert refusal(client, "alter_configs", topic=name, set={"retention.ms": "soon"}) in (INVALID_CONFIG, None)


@clients("describe_configs", "replace_configs")
def test_settings_are_replaced(client, topic):
    """AlterConfigs as it was before KIP-339: what is not named goes back to its default."""
    name = topic(retention_ms="1000000", max_message_bytes="50000")
    client("replace_configs", topic=name, configs={"max.message.bytes": "60000"})
    described = eventually(
        lambda: (c := client("describe_configs", topic=name))["max.message.bytes"] == "60000" and c
    )
    assert described["retention.ms"] == "604800000"


@clients("delete_records", "list_offsets")
def test_records_are_deleted(client, topic, agents):
    name = topic(partitions=2)
    agents("confluent")("produce", topic=name, records=numbered(40, partitions=2))
    client("delete_records", topic=name, before={"0": 15})
    eventually(lambda: client("list_offsets", topic=name, at="earliest") == {"0": 15, "1": 0})
    assert client("list_offsets", topic=name, at="latest") == {"0": 20, "1": 20}
    read = agents("java")("fetch", topic=name, start="earliest", count=25)
    assert sorted(values(read), key=lambda v: int(v[1:])) == [f"v{n}" for n in range(40) if n % 2 or n >= 30]
    assert refusal(client, "delete_records", topic=name, before={"0": 1000}) in (OFFSET_OUT_OF_RANGE, None)


@clients("list_offsets")
def test_offsets_by_time(client, topic, agents):
    name = topic()
    sent = [record(None, f"v{n}", partition=0, timestamp=T + n * 1000) for n in range(10)]
    agents("confluent")("produce", topic=name, records=sent)
    assert client("list_offsets", topic=name, at="earliest") == {"0": 0}
    assert client("list_offsets", topic=name, at="latest") == {"0": 10}
    assert client("list_offsets", topic=name, at=T + 4500) == {"0": 5}
    assert client("list_offsets", topic=name, at=T) == {"0": 0}


@clients("max_timestamp")
def test_offset_of_the_highest_timestamp(client, topic, agents):
    name = topic()
    times = [5, 3, 9, 1, 7]
    sent = [record(None, f"v{n}", partition=0, timestamp=T + at) for n, at in enumerate(times)]
    for one in sent:
        agents("confluent")("produce", topic=name, records=[one])
    assert client("list_offsets", topic=name, at="max_timestamp") == {"0": 2}


@clients("log_dirs")
def test_log_dirs_tell_sizes(client, topic, agents):
    name = topic(partitions=2)
    records = [record(None, b"x" * 1000, partition=0) for _ in range(100)]
    agents("confluent")("produce", topic=name, records=records)

    def told() -> bool:
        sizes = client("log_dirs", topic=name)
        return set(sizes) == {"0", "1"} and sizes["0"] >= 100_000 and sizes["1"] < 1000

    eventually(told, why=lambda: client("log_dirs", topic=name))


@clients("describe_cluster")
def test_cluster(client, bootstrap, agents):
    cluster = client("describe_cluster")
    host, port = bootstrap.split(":")
    (broker,) = cluster["brokers"]
    assert (broker["host"], broker["port"]) == (host, int(port))
    assert cluster["controller"] == broker["id"]
    if cluster["id"] is not None:  # sarama does not say
        assert cluster["id"] == agents("java")("describe_cluster")["id"]


@clients("list_groups", "describe_group", "assigned")
def test_group_is_described(client, topic, group, agents):
    name = topic(partitions=2)
    client("join", member="m", group=group, topics=[name])
    eventually(lambda: client("tell", member="m", what="state")["assigned"], 30)
    described = eventually(lambda: (d := client("describe_group", group=group))["state"] == "Stable" and d)
    (member,) = described["members"]
    assert sorted(map(tuple, member["assignment"])) == [(name, 0), (name, 1)]
    assert group in client("list_groups")
    client("tell", member="m", what="leave")
    eventually(lambda: client("describe_group", group=group)["state"] in ("Empty", "Dead"), 30)


@clients("alter_group_offsets", "group_offsets")
def test_group_offsets_are_set(client, topic, group, agents):
    name = topic(partitions=2)
    agents("confluent")("produce", topic=name, records=numbered(20, partitions=2))
    client("alter_group_offsets", group=group, offsets=[[name, 0, 7], [name, 1, 3]])
    assert sorted(client("group_offsets", group=group)) == [[name, 0, 7], [name, 1, 3]]
    client("join", member="m", group=group, topics=[name])
    eventually(lambda: len(client("tell", member="m", what="state")["received"]) == 10, 30)
    client("tell", member="m", what="leave")


@clients("delete_group_offsets", "assigned")
def test_group_offsets_are_deleted(client, topic, group, agents):
    name = topic(partitions=2)
    agents("java")("alter_group_offsets", group=group, offsets=[[name, 0, 1], [name, 1, 2]])
    client("delete_group_offsets", group=group, topic=name, partitions=[1])
    eventually(lambda: client("group_offsets", group=group) == [[name, 0, 1]])
    client("join", member="m", group=group, topics=[name])
    eventually(lambda: client("tell", member="m", what="state")["assigned"], 30)
    refused = refusal(client, "delete_group_offsets", group=group, topic=name, partitions=[0])
    client("tell", member="m", what="leave")
    assert refused in (GROUP_SUBSCRIBED_TO_TOPIC, None)


@clients("delete_group", "assigned")
def test_group_is_deleted(client, topic, group, agents):
    name = topic()
    client("join", member="m", group=group, topics=[name])
    eventually(lambda: client("tell", member="m", what="state")["assigned"], 30)
    assert refusal(client, "delete_group", group=group) in (NON_EMPTY_GROUP, None)
    client("tell", member="m", what="commit")
    client("tell", member="m", what="leave")
    eventually(lambda: agents("java")("describe_group", group=group)["state"] == "Empty", 30)
    client("delete_group", group=group)
    eventually(lambda: group not in agents("java")("list_groups"))
    assert refusal(client, "delete_group", group=group) in (GROUP_ID_NOT_FOUND, None)


def test_deleted_topic_can_be_made_again(topic, agents):
    """A new topic of an old name starts empty, for writers and readers that knew the old one."""
    name = topic(partitions=2)
    java = agents("java")
    java("produce", topic=name, records=numbered(10, partitions=2))
    java("delete_topic", topic=name)
    eventually(lambda: name not in java("list_topics"))
    java("create_topic", topic=name, partitions=1)
    eventually(lambda: java("describe_topic", topic=name)["partitions"] == 1)
    for spec in SPECS:
        agents(spec.name)("produce", topic=name, records=[record(None, spec.name, partition=0)])
    read = agents("confluent")("fetch", topic=name, start="earliest", count=len(SPECS))
    assert values(read) == [spec.name for spec in SPECS]


def test_compacted_topic_takes_tombstones_and_refuses_null_keys(topic, agents):
    name = topic(cleanup_policy="compact")
    agents("java")("produce", topic=name, records=[record("a", "1", partition=0), record("a", None, partition=0)])
    read = agents("confluent")("fetch", topic=name, start="earliest", count=2)
    assert [r["value"] and base64.b64decode(r["value"]) for r in read] == [b"1", None]
    invalid_record = 87
    assert refusal(agents("java"), "produce", topic=name, records=[record(None, "x", partition=0)]) == invalid_record
