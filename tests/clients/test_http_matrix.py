"""Written by Kafka's clients with each codec, or over HTTP in each form, and read by both: the same bytes, headers, keys and
timestamps."""

from __future__ import annotations

import base64
import json

import pytest
from http_api import Api, record_in, record_out
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
    from conftest import eventually

    made, member = topic(partitions=PARTITIONS), agents.another("confluent")
    member("join", member="m", group=group, topics=[made])
    for n in range(30):
        api.publish(made, {"value": str(n), "partition": n % PARTITIONS})
    eventually(lambda: len(member("tell", member="m", what="state")["received"]) == 30)
    member("tell", member="m", what="commit")
    shown = api.call("GET", f"/v1/groups/{group}")
    assert shown["state"].lower() == "stable", shown
