"""The HTTP API as tests use it: one method for each thing to do, and records in the form of `records.py`.

Queues, live feeds and what is refused are tested through it; what other libraries make of the API is in `agents/`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
from records import Record

# Longer than the longest wait that a request may ask for.
ANSWER_SECONDS_MAX = 75


class Refused(Exception):
    """The server answered with a problem document."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"{answer.request.method} {answer.request.url.raw_path.decode()}: {answer.status_code} {answer.text}")
        self.status = answer.status_code
        self.media_type = answer.headers.get("content-type")
        try:
            self.problem: dict[str, Any] = answer.json()
        except ValueError:
            self.problem = {}

    @property
    def code(self) -> str | None:
        return self.problem.get("code")


class Api:
    def __init__(self, address: str) -> None:
        self.address = address
        self.client = httpx.Client(base_url=f"http://{address}", timeout=ANSWER_SECONDS_MAX)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def call(self, method: str, path: str, body: Any = None, **how: Any) -> Any:
        """The answer's JSON, or None if it has no body. `how` is HTTPX's: headers, params, content."""
        if body is not None:
            how["json"] = body
        answer = self.client.request(method, path, **how)
        if not answer.is_success:
            raise Refused(answer)
        return answer.json() if answer.content else None

    # Topics and records.

    def create_topic(self, name: str, partitions: int = 1, **settings: Any) -> Any:
        # Tests write records with timestamps of years ago, which retention by time would be right to delete.
        named = {"retention.ms": -1} | {key.replace("_", "."): value for key, value in settings.items()}
        return self.call("POST", "/v1/topics", {"name": name, "partitions": partitions, "settings": named})

    def publish(self, topic: str, *records: Any) -> list[dict[str, int]]:
        """Texts, or records as the API writes them."""
        made = [{"value": one} if isinstance(one, str) else one for one in records]
        return self.call("POST", f"/v1/topics/{quote(topic)}/records", {"records": made})["records"]

    def read(self, topic: str, partition: int = 0, **query: Any) -> Any:
        return self.call("GET", f"/v1/topics/{quote(topic)}/partitions/{partition}/records", params=query)

    def read_all(self, topic: str, partitions: int = 1) -> list[Any]:
        found = []
        for partition in range(partitions):
            offset = 0
            while True:
                page = self.read(topic, partition, offset=offset)
                found += page["records"]
                if page["next_offset"] >= page["latest"]:
                    break
                offset = page["next_offset"]
        return found

    # Queues.

    def create_queue(self, name: str, topic: str, **policy: Any) -> Any:
        return self.call("POST", "/v1/queues", {"name": name, "topic": topic} | policy)

    def queue(self, name: str) -> Any:
        return self.call("GET", f"/v1/queues/{quote(name)}")

    def tell(self, queue: str, what: str, body: Any = None, **query: Any) -> Any:
        return self.call("POST", f"/v1/queues/{quote(queue)}/{what}", {} if body is None else body, params=query)

    def receive(self, queue: str, max: int = 1, visibility_ms: int = 30_000, wait_ms: int = 0, **how: Any) -> list[Any]:
        asked = {"max": max, "visibility_ms": visibility_ms, "wait_ms": wait_ms} | how
        return self.tell(queue, "receive", asked)["messages"]

    def settle(self, queue: str, how: str, messages: list[Any], **said: Any) -> list[Any]:
        """Acks, nacks, rejects or extends what was received; every receipt has to be taken."""
        receipts = [message["receipt"] for message in messages]
        results = self.tell(queue, how, {"receipts": receipts} | said)["results"]
        assert len(results) == len(receipts) and all(result["ok"] for result in results), results
        return results

    def ack(self, queue: str, *messages: Any) -> list[Any]:
        return self.settle(queue, "ack", list(messages))

    def peek(self, queue: str, **query: Any) -> list[Any]:
        return self.call("GET", f"/v1/queues/{quote(queue)}/peek", params=query)["messages"]

    def open(self, queue: str) -> int:
        """How many messages are not finished."""
        return self.queue(queue)["depth"]["open"]

    def dead_letters(self, queue: str) -> list[Any]:
        """What has ended in the queue's dead-letter topic."""
        topic = self.queue(queue)["dead_letter_topic"]
        partitions = len(self.call("GET", f"/v1/topics/{quote(topic)}")["partitions"])
        return self.read_all(topic, partitions)


def values(messages: list[Any]) -> list[Any]:
    return [message["value"] for message in messages]


def bytes_in(value: bytes | None) -> Any:
    """Bytes as the API takes them: text where they are, so that both forms are tried."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def bytes_out(value: Any) -> str | None:
    """Bytes as the API tells them, in base64."""
    if value is None:
        return None
    return value["base64"] if isinstance(value, dict) else base64.b64encode(value.encode()).decode()


def record_in(record: Record) -> dict[str, Any]:
    """A record of `records.py` as the API takes it."""

    def decoded(text: str | None) -> Any:
        return None if text is None else bytes_in(base64.b64decode(text))

    made = {name: record[name] for name in ("partition", "timestamp") if name in record}
    headers: dict[str, list[Any]] = {}
    for name, value in record["headers"]:
        headers.setdefault(name, []).append(decoded(value))
    return made | {"key": decoded(record["key"]), "value": decoded(record["value"]), "headers": headers}


def record_out(message: dict[str, Any]) -> Record:
    """A record or message of the API as one of `records.py`."""
    headers = [
        [name, bytes_out(value)]
        for name, values in message["headers"].items()
        for value in (values if isinstance(values, list) else [values])
    ]
    places = {name: message[name] for name in ("topic", "partition", "offset", "timestamp")}
    return places | {"key": bytes_out(message["key"]), "value": bytes_out(message["value"]), "headers": headers}


def json_lines(received: list[dict[str, Any]]) -> Iterator[Any]:
    """The JSON of what a feed was sent."""
    return (json.loads(one["data"]) for one in received)
