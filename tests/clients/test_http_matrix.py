"""Written in every way (`writers.py`: Kafka's clients with each codec, HTTP in each form, WebSocket), read in every way (Kafka
groups, reads, queues, live feeds, WebSocket): the same bytes, headers, keys and timestamps."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from agent import Agent
from conftest import Agents, eventually
from http_api import Api, json_lines, record_out
from records import Record, content
from test_matrix import PARTITIONS
from writers import WRITERS, Place, say

GROUPS = ["java", "confluent", "franz-go"]
LISTENERS = ["python", "node", "browser"]


@pytest.fixture(params=WRITERS)
def written(request: pytest.FixtureRequest, topic: Callable[..., str], agents: Agents, api: Api) -> list[Record]:
    """What a writer has written, to a topic of its own."""
    return WRITERS[request.param](Place(topic(partitions=PARTITIONS), agents, api))


def topic_of(records: list[Record]) -> str:
    return records[0]["topic"]


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_reads_what_was_written(name: str, written: list[Record], agents: Agents, group: str) -> None:
    member = agents(name)
    member("join", member=group, group=group, topics=[topic_of(written)])

    def received() -> list[Record]:
        return member("tell", member=group, what="state")["received"]

    eventually(lambda: len(received()) >= len(written), 30, why=received)
    read = received()
    member("tell", member=group, what="leave")
    assert content(read) == content(written)


def test_http_reads_what_was_written(written: list[Record], api: Api) -> None:
    read = [record_out(one) for one in api.read_all(topic_of(written), PARTITIONS)]
    assert content(read) == content(written)
    for one in read:
        assert read_raw(api, one) == (None if one["value"] is None else base64.b64decode(one["value"]))


def read_raw(api: Api, one: Record) -> bytes | None:
    path = f"/v1/topics/{one['topic']}/partitions/{one['partition']}/records"
    accept = {"accept": "application/octet-stream"}
    answer = api.client.get(path, params={"offset": one["offset"]}, headers=accept)
    assert answer.headers["millstream-timestamp"] == str(one["timestamp"])
    return None if answer.status_code == 204 else answer.content


def test_a_queue_delivers_what_was_written(written: list[Record], api: Api) -> None:
    name, read = topic_of(written), []
    api.create_queue(name, name, **{"from": "earliest"})
    while len(read) < len(written):
        messages = api.receive(name, max=len(written), wait_ms=5_000)
        assert messages, f"{len(read)} of {len(written)} came"
        read += map(record_out, messages)
    assert content(read) == content(written)


def read_events(agent: Agent, api: Api, topic: str, count: int) -> list[Record]:
    """What a live feed brings."""
    agent("follow", member=topic, path=f"/v1/live?topic={topic}&from=earliest")
    return gathered(agent, topic, count, lambda event: event)


def read_socket(agent: Agent, api: Api, topic: str, count: int) -> list[Record]:
    """What a subscription on a WebSocket brings."""
    say(agent, topic, {"type": "subscribe", "subscription": "s", "topics": [topic], "from": "earliest"})
    return gathered(agent, topic, count, lambda frame: frame.get("record"))


def read_queue(agent: Agent, api: Api, topic: str, count: int) -> list[Record]:
    """What a queue delivers on a WebSocket."""
    api.create_queue(topic, topic, **{"from": "earliest"})
    say(agent, topic, {"type": "consume", "subscription": "s", "queue": topic, "credit": count})
    return gathered(agent, topic, count, lambda frame: frame.get("message"))


def gathered(agent: Agent, member: str, count: int, pick: Callable[[Any], Any]) -> list[Record]:
    def picked() -> list[Any]:
        told = map(pick, json_lines(agent("state", member=member)["received"]))
        return [one for one in told if one is not None]

    eventually(lambda: len(picked()) >= count, why=lambda: agent("state", member=member))
    found = [record_out(one) for one in picked()]
    agent("close", member=member)
    return found


PUSHED = {"events": read_events, "socket": read_socket, "queue": read_queue}


@pytest.fixture(scope="session")
def listeners(http_address: str):
    """The agents that follow feeds, each started once."""
    agents = Agents(http_address)
    yield agents
    agents.end(list(agents.shared.values()))


@pytest.mark.parametrize("listener", LISTENERS)
def test_what_was_written_is_pushed(listener: str, written: list[Record], listeners: Agents, api: Api) -> None:
    for how, read in PUSHED.items():
        pushed = read(listeners(listener), api, topic_of(written), len(written))
        assert content(pushed) == content(written), how


def test_a_group_reads_what_http_writes_as_it_comes(topic, agents, group, api: Api):
    made, member = topic(partitions=PARTITIONS), agents.another("confluent")
    member("join", member="m", group=group, topics=[made])
    for n in range(30):
        api.publish(made, {"value": str(n), "partition": n % PARTITIONS})
    eventually(lambda: len(member("tell", member="m", what="state")["received"]) == 30)
    member("tell", member="m", what="commit")
    shown = api.call("GET", f"/v1/groups/{group}")
    assert shown["state"].lower() == "stable", shown
