"""Publishing and reading records over HTTP: every kind of body, and what is refused."""

from __future__ import annotations

import base64
import json
import threading
import time

import httpx
import pytest
from http_api import Api, Refused, values

T = 1_700_000_000_000
CLOUD_EVENT = {"specversion": "1.0", "id": "e-1", "source": "/tests", "type": "test.made", "subject": "clé 🌾"}


@pytest.fixture
def http_topic(api: Api, new_name):
    def make(partitions: int = 1, **settings) -> str:
        name = new_name("http")
        api.create_topic(name, partitions, **settings)
        return name

    return make


def test_records_come_back_as_they_were_published(api: Api, http_topic):
    topic = http_topic()
    binary = {"base64": base64.b64encode(bytes(range(256))).decode()}
    records = [
        {"key": "k", "value": "text", "headers": {"h": "1", "twice": ["a", None, "b"]}, "timestamp": T},
        {"key": None, "value": None, "headers": {}, "timestamp": T + 1},
        {"key": "", "value": "", "headers": {"": ""}, "timestamp": T + 2},
        {"key": binary, "value": binary, "headers": {"bytes": binary}, "timestamp": T + 3},
        {"key": "ключ-鍵", "value": 'quote " backslash \\ control \u0001 🌾', "headers": {"naïve": "ü"}, "timestamp": T + 4},
    ]
    places = api.publish(topic, *records)
    assert [(p["partition"], p["offset"], p["timestamp"]) for p in places] == [(0, n, T + n) for n in range(5)]
    read = api.read(topic)
    assert (read["next_offset"], read["earliest"], read["latest"]) == (5, 0, 5)
    assert [{name: one[name] for name in records[0]} for one in read["records"]] == records


def test_json_values_are_kept_as_they_are_written(api: Api, http_topic):
    topic = http_topic()
    for written in ('{"b": 1, "a" :2.50}', "[1,2]", "12.50", "true", '{"base64":"AP8=","more":1}'):
        body = f'{{"value": {written}}}'.encode()
        api.call("POST", f"/v1/topics/{topic}/records", content=body, headers={"content-type": "application/json"})
        assert api.read_all(topic)[-1]["value"] == written


def test_a_raw_body_is_the_value(api: Api, http_topic):
    topic = http_topic()
    body = bytes(range(256)) * 1000
    headers = {"content-type": "image/png", "millstream-key": "logo", "Millstream-Header-Source": "web"}
    api.call("POST", f"/v1/topics/{topic}/records", content=body, headers=headers, params={"timestamp": T})
    (read,) = api.read(topic)["records"]
    assert base64.b64decode(read["value"]["base64"]) == body
    assert (read["key"], read["timestamp"]) == ("logo", T)
    assert read["headers"] == {"content-type": "image/png", "source": "web"}
    raw = httpx.get(
        f"http://{api.address}/v1/topics/{topic}/partitions/0/records?offset=0", headers={"accept": "application/octet-stream"}
    )
    assert (raw.status_code, raw.content, raw.headers["millstream-key"]) == (200, body, "logo")


def test_cloud_events_of_every_mode_are_stored_alike(api: Api, http_topic):
    topic = http_topic()
    data = '{"n": 1}'
    path = f"/v1/topics/{topic}/records"
    structured = json.dumps(CLOUD_EVENT | {"partitionkey": "p", "datacontenttype": "application/json"})[:-1] + f', "data": {data}}}'
    percent = {"ce-subject": "cl%C3%A9%20%F0%9F%8C%BE", "ce-partitionkey": "p", "content-type": "application/json"}
    binary = {f"ce-{name}": value for name, value in CLOUD_EVENT.items() if name != "subject"} | percent
    api.call("POST", path, content=data, headers=binary)
    api.call("POST", path, content=structured, headers={"content-type": "application/cloudevents+json"})
    api.call("POST", path, content=f"[{structured}]", headers={"content-type": "application/cloudevents-batch+json"})
    read = api.read(topic)["records"]
    expected = {f"ce_{name}": value for name, value in CLOUD_EVENT.items()}
    expected |= {"ce_partitionkey": "p", "content-type": "application/json"}
    for one in read:
        assert (one["key"], one["value"], one["headers"]) == ("p", data, expected)
    assert len(read) == 3


def test_reads_by_offset_time_and_key(api: Api, http_topic):
    topic = http_topic(partitions=3)
    api.publish(topic, *({"key": f"k{n % 5}", "value": str(n), "timestamp": T + n} for n in range(50)))
    found = api.call("GET", f"/v1/topics/{topic}/records", params={"key": "k3"})
    assert values(found["records"]) == [str(n) for n in range(3, 50, 5)]
    partition = found["partition"]
    whole = api.read(topic, partition)["records"]
    assert api.read(topic, partition, offset=whole[3]["offset"], max=2)["records"] == whole[3:5]
    since = api.read(topic, partition, time=whole[4]["timestamp"])["records"]
    assert since == whole[4:]
    assert api.read(topic, partition, **{"from": "latest"})["records"] == []


def test_a_read_waits_for_what_comes(api: Api, http_topic):
    topic = http_topic()
    later = threading.Timer(0.3, lambda: Api(api.address).publish(topic, "came"))
    began = time.monotonic()
    later.start()
    assert values(api.read(topic, offset=0, wait_ms=10_000)["records"]) == ["came"]
    assert 0.2 < time.monotonic() - began < 5
    assert api.read(topic, offset=1, wait_ms=50)["records"] == []


def test_of_a_batch_all_is_published_or_nothing(api: Api, http_topic):
    topic = http_topic(partitions=2, max_message_bytes=10_000)
    with pytest.raises(Refused) as refused:
        api.publish(topic, {"value": "small", "partition": 0}, {"value": "x" * 20_000, "partition": 1})
    assert refused.value.code == "too-large"
    with pytest.raises(Refused):
        api.publish(topic, {"value": "small", "partition": 0}, {"value": "nowhere", "partition": 7})
    assert api.read_all(topic, 2) == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "bad-json"),
        ("[]", "bad-json"),
        ('{"valeu": 1}', "bad-json"),
        ('{"records": [{"value": "a"}, {"key": 1}]}', "bad-json"),
        ('{"value": {"base64": "?"}}', "bad-json"),
        ('{"value": "a", "priority": 10}', "invalid-record"),
        ('{"value": "a", "delay_ms": 1, "deliver_at": 1}', "invalid-record"),
        ('{"value": "a", "timestamp": -5}', "invalid-record"),
        ('{"value": "a", "partition": 9}', "unknown-partition"),
        ("[" * 100_000, "bad-json"),
    ],
)
def test_what_is_no_record_is_refused_with_a_reason(body, code, api: Api, http_topic):
    topic = http_topic()
    with pytest.raises(Refused) as refused:
        api.call("POST", f"/v1/topics/{topic}/records", content=body, headers={"content-type": "application/json"})
    problem = refused.value.problem
    assert refused.value.media_type == "application/problem+json"
    assert (problem["code"], problem["status"]) == (code, refused.value.status)
    assert problem["detail"] and problem["title"] and problem["type"]
    assert api.read_all(topic) == []


def test_topics_of_both_protocols_are_the_same(api: Api, http_topic, topic, agents):
    made_here, made_there = http_topic(partitions=2), topic(partitions=3)
    client = agents("confluent")
    assert len(client("list_offsets", topic=made_here, at="latest")) == 2
    assert len(api.call("GET", f"/v1/topics/{made_there}")["partitions"]) == 3
    api.call("DELETE", f"/v1/topics/{made_there}")
    assert made_there not in client("list_topics")
