"""Every way to write a record, for the tests that read them in every way.

A writer is given a topic of `PARTITIONS` partitions, publishes to it and returns the records that every reader has to see there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conftest import Agents, eventually
from http_api import Api, json_lines, record_in
from records import Record, record
from specs import BY_NAME, CODECS
from test_matrix import PARTITIONS, T, samples

# Two that share no code: Java's own and Go's.
KAFKA_CLIENTS = ["java", "franz-go"]
BYTES = bytes(range(256))


@dataclass(frozen=True)
class Place:
    """Where a writer writes, and by what."""

    topic: str
    agents: Agents
    api: Api

    def at(self, records: list[Record], places: list[dict[str, int]]) -> list[Record]:
        return [one | {"topic": self.topic, "offset": at["offset"]} for one, at in zip(records, places, strict=True)]

    def post(self, content: Any, **how: Any) -> list[dict[str, int]]:
        return self.api.call("POST", f"/v1/topics/{self.topic}/records", content=content, **how)["records"]


def kafka(client: str, codec: str) -> Callable[[Place], list[Record]]:
    def write(place: Place) -> list[Record]:
        written = samples("null-header" in BY_NAME[client].can)
        place.agents(client)("produce", topic=place.topic, records=written, compression=codec)
        return [one | {"topic": place.topic, "offset": at} for at, one in enumerate(written)]

    return write


def http_json(place: Place) -> list[Record]:
    written = samples(null_headers=True)
    return place.at(written, place.api.publish(place.topic, *map(record_in, written)))


def websocket(place: Place) -> list[Record]:
    written, socket = samples(null_headers=True), place.agents.another("node", place.api.address)
    say(socket, "w", {"type": "publish", "id": 1, "topic": place.topic, "records": list(map(record_in, written))})
    answers = eventually(lambda: list(json_lines(socket("state", member="w")["received"])))
    return place.at(written, answers[0]["records"])


def say(agent: Any, member: str, frame: Any) -> None:
    """Opens a WebSocket and sends a frame on it."""
    agent("connect", member=member, path="/v1/ws")
    eventually(lambda: agent("state", member=member)["opened"])
    agent("send", member=member, text=json.dumps(frame))


def raw_bodies(place: Place) -> list[Record]:
    """The value as it is; what is no text stands in the key and in header values as the bytes of HTTP's own headers."""
    written = [
        record("k", BYTES, 0, T, [("content-type", b"image/png"), ("h", b"1")]),
        record(None, "no key", 1, T + 1),
        record("", "", 2, T + 2, [("empty", b"")]),
        record(b"\xff\xfe", "long " * 2000, 0, T + 3, [("dup", b"first"), ("dup", b"\xfcber"), ("dup", b"first")]),
    ]
    places = []
    for one in written:
        key = {} if one["key"] is None else {"millstream-key": base64.b64decode(one["key"])}
        headers = [*key.items()]
        for name, value in one["headers"]:
            prefix = "" if name == "content-type" else "millstream-header-"
            headers.append((prefix + name, base64.b64decode(value)))
        query = {name: one[name] for name in ("partition", "timestamp")}
        places += place.post(base64.b64decode(one["value"]), headers=headers, params=query)
    return place.at(written, places)


# An event's attributes, and how they are kept, as the Kafka binding wants it.
REQUIRED = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def attributes(more: dict[str, str]) -> list[tuple[str, bytes]]:
    return [(f"ce_{name}", value.encode()) for name, value in sorted((REQUIRED | more).items())]


def binary_events(place: Place) -> list[Record]:
    events = [({"partitionkey": "p"}, "image/png", BYTES), ({"subject": "clé 鍵"}, None, b"")]
    written, places = [], []
    for at, (more, media_type, data) in enumerate(events):
        # Values are percent-encoded (section 3.1.3.2 of the HTTP binding).
        encoded = {name: "".join(f"%{byte:02X}" for byte in value.encode()) for name, value in more.items()}
        headers = {f"ce-{name}": value for name, value in (REQUIRED | encoded).items()}
        headers |= {"content-type": media_type} if media_type else {}
        places += place.post(data, headers=headers, params={"partition": at, "timestamp": T + at})
        kept = [("content-type", media_type.encode())] if media_type else []
        written.append(record(more.get("partitionkey"), data, at, T + at, kept + attributes(more)))
    return place.at(written, places)


def structured_events(place: Place) -> list[Record]:
    encoded = base64.b64encode(BYTES).decode()
    events: list[tuple[dict[str, str], dict[str, Any], str | None, bytes | None]] = [
        ({}, {"data_base64": encoded, "datacontenttype": "image/png"}, "image/png", BYTES),
        ({"partitionkey": "p"}, {"data": {"ü": 1}}, "application/json", '{"ü": 1}'.encode()),
        ({}, {"data": "värde", "datacontenttype": "text/plain"}, "text/plain", "värde".encode()),
        ({}, {}, None, None),
    ]
    written, places = [], []
    for at, (more, data, media_type, value) in enumerate(events):
        partition = at % PARTITIONS
        body = json.dumps(REQUIRED | more | data, ensure_ascii=False).encode()
        media = {"content-type": "application/cloudevents+json"}
        places += place.post(body, headers=media, params={"partition": partition, "timestamp": T + at})
        kept = [("content-type", media_type.encode())] if media_type else []
        written.append(record(more.get("partitionkey"), value, partition, T + at, kept + attributes(more)))
    return place.at(written, places)


WRITERS: dict[str, Callable[[Place], list[Record]]] = {
    **{f"{client}-{codec}": kafka(client, codec) for client in KAFKA_CLIENTS for codec in CODECS},
    "http-json": http_json,
    "http-raw": raw_bodies,
    "http-event": binary_events,
    "http-structured-event": structured_events,
    "websocket": websocket,
}
