"""A broker that is killed and comes back: what each promise of durability means to a client that was reading.

These tests kill the broker, so they run against a Millstream of their own only.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from conftest import eventually
from records import numbered, values
from server import Server
from specs import SPECS


def joined(client, topic: str, group: str, **how) -> None:
    client("join", member="m", group=group, topics=[topic], **how)


def received(client) -> list[str]:
    return values(client("tell", member="m", what="state")["received"])


@pytest.mark.parametrize("name", [spec.name for spec in SPECS])
def test_clients_live_through_a_restart(name, own_server: Server, agents, new_name):
    """A fsynced topic loses nothing to kill -9, and a member of a group reads on where it was, once each record."""
    topic, group = new_name("topic"), new_name("group")
    client = agents.another(name, own_server.bootstrap)
    writer = agents.another("confluent", own_server.bootstrap)
    writer("create_topic", topic=topic, partitions=2)
    writer("produce", topic=topic, records=numbered(50, partitions=2), idempotent=True)
    joined(client, topic, group, session_ms=30000)
    eventually(lambda: len(received(client)) == 50, 30)
    # Some clients join anew after a broken connection, and start again from what is committed.
    client("tell", member="m", what="commit")

    own_server.kill()
    own_server.start()
    writer("produce", topic=topic, records=numbered(50, partitions=2, start=50), idempotent=True)
    eventually(lambda: len(received(client)) == 100, 45, why=lambda: client("tell", member="m", what="state"))
    for partition in range(2):
        of_partition = [value for value in received(client) if int(value[1:]) % 2 == partition]
        assert of_partition == [f"v{n}" for n in range(partition, 100, 2)]


@pytest.mark.parametrize("name", [spec.name for spec in SPECS if "group_offsets" in spec.can])
def test_commits_live_through_a_restart(name, own_server: Server, agents, new_name):
    topic, group = new_name("topic"), new_name("group")
    client = agents.another(name, own_server.bootstrap)
    client("create_topic", topic=topic, partitions=1)
    client("produce", topic=topic, records=numbered(10))
    joined(client, topic, group)
    eventually(lambda: len(received(client)) == 10, 30, why=lambda: client("tell", member="m", what="state"))
    client("tell", member="m", what="commit")
    own_server.kill()
    own_server.start()
    again = agents.another(name, own_server.bootstrap)
    assert again("group_offsets", group=group) == [[topic, 0, 10]]


# What a reader that had read too far is told: an error that names what happened.
TOLD = ("out of range", "outofrange", "truncat", "log_truncation")


def told(client) -> bool:
    errors = client("tell", member="m", what="state")["errors"]
    return any(word in error["message"].lower() for error in errors for word in TOLD)


@pytest.mark.parametrize("name", [spec.name for spec in SPECS if "told" in spec.can])
def test_reader_of_a_memory_topic_is_told_of_the_loss(name, own_server: Server, agents, new_name):
    topic = new_name("memory")
    client, writer = agents.another(name, own_server.bootstrap), agents.another("confluent", own_server.bootstrap)
    writer("create_topic", topic=topic, partitions=1, configs={"millstream.durability": "memory"})
    writer("produce", topic=topic, records=numbered(100))
    joined(client, topic, new_name("group"), reset="none", start=[[topic, 0, 0]])
    eventually(lambda: len(received(client)) == 100, 30)

    own_server.kill()
    own_server.start()
    eventually(lambda: told(client), 30, why=lambda: client("tell", member="m", what="state")["errors"])
    assert len(received(client)) == 100
    # What is written now has offsets above all that were ever given out.
    places = writer("produce", topic=topic, records=numbered(5))
    assert min(place["offset"] for place in places) >= 100


@pytest.mark.parametrize("name", [spec.name for spec in SPECS if "told" in spec.can])
def test_group_of_a_memory_topic_is_told_of_the_loss(name, own_server: Server, agents, new_name):
    """Its committed offset is durable, the records before and after it are not: who comes back to it is told."""
    topic, group = new_name("memory"), new_name("group")
    client, writer = agents.another(name, own_server.bootstrap), agents.another("confluent", own_server.bootstrap)
    writer("create_topic", topic=topic, partitions=1, configs={"millstream.durability": "memory"})
    writer("produce", topic=topic, records=numbered(100))
    joined(client, topic, group)
    eventually(lambda: len(received(client)) == 100, 30)
    client("tell", member="m", what="commit")
    client("tell", member="m", what="leave")

    own_server.kill()
    own_server.start()
    again = agents.another(name, own_server.bootstrap)
    joined(again, topic, group, reset="none")
    eventually(lambda: told(again), 30, why=lambda: again("tell", member="m", what="state"))
    assert received(again) == []


@pytest.mark.parametrize("name", [spec.name for spec in SPECS if "told" in spec.can])
def test_reader_of_an_os_topic_is_told_of_the_loss(name, own_server: Server, agents, new_name):
    """The data directory goes back to how it was before the last records: a power cut that took what was not synced."""
    topic, client, writer = read_and_lost(name, own_server, agents, new_name)
    # New records take the offsets of those that were lost: only the leader epoch tells them apart.
    writer("produce", topic=topic, records=numbered(80, start=1000))
    eventually(lambda: told(client), 30, why=lambda: client("tell", member="m", what="state")["errors"])
    read = writer("fetch", topic=topic, start="earliest", count=130)
    assert values(read) == [f"v{n}" for n in (*range(50), *range(1000, 1080))]


@pytest.mark.parametrize("name", [spec.name for spec in SPECS if "told" in spec.can])
def test_reader_beyond_the_end_of_an_os_topic_is_told(name, own_server: Server, agents, new_name):
    """As above, and nobody writes again: the reader stands beyond the end of what survived."""
    topic, client, writer = read_and_lost(name, own_server, agents, new_name)
    eventually(lambda: told(client), 30, why=lambda: client("tell", member="m", what="state")["errors"])
    assert writer("list_offsets", topic=topic, at="latest") == {"0": 50}


def read_and_lost(name: str, server: Server, agents, new_name):
    """A reader of the given client that has had 100 records of an `os` topic, of which the last 50 are lost then."""
    topic = new_name("os")
    client, writer = agents.another(name, server.bootstrap), agents.another("confluent", server.bootstrap)
    writer("create_topic", topic=topic, partitions=1, configs={"millstream.durability": "os"})
    writer("produce", topic=topic, records=numbered(50))
    kept = image_of(server)
    writer("produce", topic=topic, records=numbered(50, start=50))
    joined(client, topic, new_name("group"), reset="none", start=[[topic, 0, 0]])
    eventually(lambda: len(received(client)) == 100, 30)
    go_back_to(kept, server)
    return topic, client, writer


def go_back_to(image: Path, server: Server) -> None:
    """Kills the server and starts it again on the data directory as it was."""
    server.kill()
    shutil.rmtree(server.directory / "data")
    image.rename(server.directory / "data")
    server.start()


def image_of(server: Server) -> Path:
    """The data directory as it is at one instant: the server is stopped while it is copied."""
    assert server.process is not None
    image = server.directory / "image"
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        # A socket is no data, and cannot be copied.
        shutil.copytree(server.directory / "data", image, ignore=shutil.ignore_patterns("*.sock"))
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    return image
