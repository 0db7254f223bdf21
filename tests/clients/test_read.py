"""Reading from a place: earliest, latest, an offset, a time; and what is told when the place does not exist."""

from __future__ import annotations

import time

import pytest
from agent import AgentError
from conftest import eventually
from records import numbered, record, values
from specs import clients

OFFSET_OUT_OF_RANGE = 1
UNKNOWN_TOPIC_OR_PARTITION = 3
T = 1_700_000_000_000


@clients()
def test_from_an_offset(client, topic, agents):
    name = topic()
    agents("confluent")("produce", topic=name, records=numbered(100))
    assert values(client("fetch", topic=name, start={"offset": 90}, count=10)) == [f"v{n}" for n in range(90, 100)]


@clients()
def test_from_a_time(client, topic, agents):
    name = topic(partitions=2)
    sent = [record(None, f"v{n}", partition=n % 2, timestamp=T + n * 1000) for n in range(40)]
    agents("confluent")("produce", topic=name, records=sent[:20])
    agents("confluent")("produce", topic=name, records=sent[20:])
    # Between records 29 and 30: both partitions start at the first record that is not older.
    read = client("fetch", topic=name, start={"time": T + 29_500}, count=10)
    assert sorted(values(read)) == sorted(f"v{n}" for n in range(30, 40))


@clients()
def test_from_a_time_that_records_were_given_by_their_client(client, topic, agents):
    """Not every client counts those when it says which time of a batch is the latest."""
    name = topic()
    client("produce", topic=name, records=[record(None, "old", timestamp=T), record(None, "new")])
    a_minute_ago = int(time.time() * 1000) - 60_000
    read = agents("confluent")("fetch", topic=name, start={"time": a_minute_ago}, count=1)
    assert values(read) == ["new"]


@clients("told")
def test_latest_sees_only_what_comes_after(client, topic, agents, new_name):
    name = topic()
    writer = agents("confluent")
    writer("produce", topic=name, records=numbered(5))
    member = new_name("member")
    client("join", member=member, group=new_name("group"), topics=[name], reset="latest")
    eventually(lambda: client("tell", member=member, what="state")["assigned"])

    # The position is set with the first fetch, some time after the assignment.
    def something_came() -> bool:
        writer("produce", topic=name, records=numbered(1, start=100))
        return bool(client("tell", member=member, what="state")["received"])

    eventually(something_came)
    received = values(client("tell", member=member, what="state")["received"])
    client("tell", member=member, what="leave")
    assert set(received) == {"v100"}


@clients("told")
def test_offset_beyond_the_end_is_told(client, topic, agents, new_name):
    name = topic()
    agents("confluent")("produce", topic=name, records=numbered(5))
    member = new_name("member")
    client("join", member=member, group=new_name("g"), topics=[name], reset="none", start=[[name, 0, 1000]])
    state = eventually(
        lambda: (state := client("tell", member=member, what="state"))["errors"] and state, why=lambda: "no error"
    )
    client("tell", member=member, what="leave")
    assert not state["received"]
    text = " ".join(error["message"] for error in state["errors"]).lower()
    assert "out of range" in text or "outofrange" in text, text


@clients()
def test_topic_that_does_not_exist(client, new_name):
    """The client says so, or creates it; it never hangs."""
    try:
        assert client("fetch", topic=new_name("missing"), start="earliest", count=1, seconds=2) == []
    except AgentError as refused:
        assert refused.code in (UNKNOWN_TOPIC_OR_PARTITION, None)


@clients()
def test_waiting_reader_gets_what_arrives(client, topic, agents, new_name):
    """A fetch that waits at the end of a partition answers as soon as there is something."""
    name = topic()
    member = new_name("member")
    client("join", member=member, group=new_name("group"), topics=[name])
    writer = agents("confluent" if client.name != "confluent" else "java")
    for batch in range(5):
        writer("produce", topic=name, records=numbered(2, start=batch * 2))
        wanted = [f"v{n}" for n in range(batch * 2 + 2)]
        eventually(lambda: values(client("tell", member=member, what="state")["received"]) == wanted)
    client("tell", member=member, what="leave")


@pytest.mark.parametrize("reader", ["java", "confluent", "franz-go"])
def test_compressed_batch_is_entered_in_its_middle(reader, topic, agents):
    """An offset inside a batch: the broker answers the whole batch, the client skips what is before."""
    name = topic()
    sent = [record(None, f"{n}", partition=0) for n in range(200)]
    agents("java")("produce", topic=name, records=sent, compression="zstd")
    read = agents(reader)("fetch", topic=name, start={"offset": 137}, count=63)
    assert values(read) == [f"{n}" for n in range(137, 200)]
