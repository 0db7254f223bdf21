"""Written by Kafka's clients with each codec, or over HTTP in each form, and read by both: the same bytes, headers, keys and
timestamps."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from conftest import eventually
from http_api import Api, json_lines, record_in, record_out
from records import Record, content, record
from specs import BY_NAME, CODECS
from test_matrix import PARTITIONS, T, samples

# Two that share no code: Java's own and Go's.
WRITERS = ["java", "franz-go"]
READERS = ["java", "confluent", "franz-go"]


def read_over_http(api: Api, topic: str) -> list[Record]:
    return [record_out(one) for one in api.read_all(topic, PARTITIONS)]


def read_raw(api: Api, topic: str, one: Record) -> bytes | None:
    path = f"/v1/topics/{topic}/partitions/{one['partition']}/records"
    accept = {"accept": "application/octet-stream"}
    answer = api.client.get(path, params={"offset": one["offset"]}, headers=accept)
    assert answer.headers["millstream-timestamp"] == str(one["timestamp"])
    return None if answer.status_code == 204 else answer.content


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("codec", CODECS)
def test_http_reads_what_kafka_wrote(name, codec, topic, agents, api: Api):
    made, written = topic(partitions=PARTITIONS), samples("null-header" in BY_NAME[name].can)
    agents(name)("produce", topic=made, records=written, compression=codec)
    read = read_over_http(api, made)
    assert content(read) == content([one | {"topic": made, "offset": at} for at, one in enumerate(written)])
    for one in read:
        raw = read_raw(api, made, one)
        assert (None if raw is None else base64.b64encode(raw).decode()) == one["value"]


@pytest.mark.parametrize("reader", READERS)
def test_kafka_reads_what_http_wrote(reader, topic, agents, api: Api):
    made, written = topic(partitions=PARTITIONS), samples(null_headers=True)
    places = api.publish(made, *map(record_in, written))
    sent = [one | {"topic": made, "offset": place["offset"]} for one, place in zip(written, places, strict=True)]
    read = agents(reader)("fetch", topic=made, start="earliest", count=len(written))
    assert content(read) == content(sent)


@pytest.mark.parametrize("reader", READERS)
def test_kafka_reads_raw_bodies_and_events(reader, topic, agents, api: Api):
    made = topic()
    path = f"/v1/topics/{made}/records"
    raw = bytes(range(256))
    api.call(
        "POST", path, content=raw, params={"timestamp": T},
        headers={"content-type": "image/png", "millstream-key": "k", "millstream-header-h": "1"},
    )  # fmt: skip
    api.call(
        "POST", path, content=raw, params={"timestamp": T + 1},
        headers={"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t", "ce-partitionkey": "p"},
    )  # fmt: skip
    event = {"specversion": "1.0", "id": "2", "source": "/s", "type": "t", "data_base64": base64.b64encode(raw).decode()}
    structured = {"content-type": "application/cloudevents+json"}
    api.call("POST", path, content=json.dumps(event), params={"timestamp": T + 2}, headers=structured)
    read = agents(reader)("fetch", topic=made, start="earliest", count=3)
    attributes = [("ce_source", b"/s"), ("ce_specversion", b"1.0"), ("ce_type", b"t")]
    expected = [
        record("k", raw, 0, T, [("content-type", b"image/png"), ("h", b"1")]),
        record("p", raw, 0, T + 1, [("ce_id", b"1"), ("ce_partitionkey", b"p"), *attributes]),
        record(None, raw, 0, T + 2, [("ce_id", b"2"), *attributes]),
    ]
    assert content(read) == content([one | {"topic": made, "offset": at} for at, one in enumerate(expected)])


def test_a_group_reads_what_http_writes_as_it_comes(topic, agents, group, api: Api):
    made, member = topic(partitions=PARTITIONS), agents.another("confluent")
    member("join", member="m", group=group, topics=[made])
    for n in range(30):
        api.publish(made, {"value": str(n), "partition": n % PARTITIONS})
    eventually(lambda: len(member("tell", member="m", what="state")["received"]) == 30)
    member("tell", member="m", what="commit")
    shown = api.call("GET", f"/v1/groups/{group}")
    assert shown["state"].lower() == "stable", shown


def read_events(agent, api: Api, topic: str, count: int) -> list[Record]:
    """What a live feed brings."""
    agent("follow", member=topic, path=f"/v1/live?topic={topic}&from=earliest")
    return gathered(agent, topic, count, lambda event: event)


def read_socket(agent, api: Api, topic: str, count: int) -> list[Record]:
    """What a subscription on a WebSocket brings."""
    frame = {"type": "subscribe", "subscription": "s", "topics": [topic], "from": "earliest"}
    say(agent, topic, frame)
    return gathered(agent, topic, count, lambda frame: frame.get("record"))


def read_queue(agent, api: Api, topic: str, count: int) -> list[Record]:
    """What a queue delivers on a WebSocket."""
    api.call("POST", "/v1/queues", {"name": topic, "topic": topic, "from": "earliest"})
    say(agent, topic, {"type": "consume", "subscription": "s", "queue": topic, "credit": count})
    return gathered(agent, topic, count, lambda frame: frame.get("message"))


def say(agent, member: str, frame: Any) -> None:
    agent("connect", member=member, path="/v1/ws")
    eventually(lambda: agent("state", member=member)["opened"])
    agent("send", member=member, text=json.dumps(frame))


def gathered(agent, member: str, count: int, pick: Callable[[Any], Any]) -> list[Record]:
    def picked() -> list[Any]:
        told = map(pick, json_lines(agent("state", member=member)["received"]))
        return [one for one in told if one is not None]

    eventually(lambda: len(picked()) >= count, why=lambda: agent("state", member=member))
    found = [record_out(one) for one in picked()]
    agent("close", member=member)
    return found


PUSHED = {"events": read_events, "socket": read_socket, "queue": read_queue}


@pytest.fixture
def listener(request: pytest.FixtureRequest, agents, http_address: str):
    return agents.another(request.param, http_address)


@pytest.mark.parametrize("listener", ["python", "node"], indirect=True)
@pytest.mark.parametrize("codec", CODECS)
def test_what_kafka_wrote_is_pushed_as_it_is(listener, codec, topic, agents, api: Api):
    for name in WRITERS:
        made, written = topic(partitions=PARTITIONS), samples("null-header" in BY_NAME[name].can)
        agents(name)("produce", topic=made, records=written, compression=codec)
        expected = content([one | {"topic": made, "offset": at} for at, one in enumerate(written)])
        for how, read in PUSHED.items():
            assert content(read(listener, api, made, len(written))) == expected, (name, how)


@pytest.mark.parametrize("listener", ["python", "node", "browser"], indirect=True)
def test_what_http_wrote_is_pushed_as_it_is(listener, topic, api: Api):
    made, written = topic(partitions=PARTITIONS), samples(null_headers=True)
    places = api.publish(made, *map(record_in, written))
    sent = [one | {"topic": made, "offset": place["offset"]} for one, place in zip(written, places, strict=True)]
    for how, read in PUSHED.items():
        assert content(read(listener, api, made, len(written))) == content(sent), how


@pytest.mark.parametrize("reader", READERS)
def test_kafka_reads_what_a_socket_wrote(reader, topic, agents, http_address: str):
    made, written = topic(partitions=PARTITIONS), samples(null_headers=True)
    socket = agents.another("node", http_address)
    say(socket, made, {"type": "publish", "id": 1, "topic": made, "records": list(map(record_in, written))})
    answers = eventually(lambda: list(json_lines(socket("state", member=made)["received"])))
    places = answers[0]["records"]
    sent = [one | {"topic": made, "offset": place["offset"]} for one, place in zip(written, places, strict=True)]
    read = agents(reader)("fetch", topic=made, start="earliest", count=len(written))
    assert content(read) == content(sent)
