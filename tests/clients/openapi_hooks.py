"""What Schemathesis is told while it goes through the API: names of things that are there, and receipts of messages that are held.

It makes up names otherwise, and would learn little more than that there is no such queue. Every fourth request of an
operation is left as it was made up. Which operations were answered, and how, is written down for the test.
"""

from __future__ import annotations

import atexit
import json
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import schemathesis
from http_api import Api, Refused

ANSWERED = Path(os.environ["OPENAPI_ANSWERED"])
KNOWN: dict[str, Any] = {"topic": "orders", "queue": "work", "route": "fork", "partition": 0}
# These make something, which takes a name that is not there.
MAKING = {"create_topic", "create_queue", "put_topic", "put_route"}
# These may leave things in a state in which nothing else works.
UPSETTING = {
    "alter_topic", "put_topic", "delete_topic", "alter_queue", "delete_queue", "pause_queue", "put_route", "delete_route",
}  # fmt: skip
SETTLING = {"ack", "nack", "reject", "extend", "ack_and_publish"}
READING = {"receive", "peek", "purge_queue", "describe_queue", "read", "read_key", "delete_records"}

api = Api(os.environ["OPENAPI_ADDRESS"])
calls: Counter[str] = Counter()
answered: dict[str, Counter[int]] = defaultdict(Counter)


def drop(path: str) -> None:
    try:
        api.call("DELETE", path)
    except Refused as refusal:
        if refusal.status != 404:
            raise


def set_up() -> None:
    """Makes everything anew."""
    for path in ("queues/work", "routes/fork", "topics/orders", "topics/copies"):
        drop(f"/v1/{path}")
    for topic in ("orders", "copies"):
        api.create_topic(topic, **{"millstream.durability": "memory", "millstream.key.index": True})
    policy = {"dead_letters": True, "delays": True, "priorities": True}
    api.create_queue("work", "orders", policy=policy)
    api.call("PUT", "/v1/routes/fork", {"source_topic": "orders", "targets": ["copies"]})


def held() -> list[str]:
    """Receipts of messages that were just received."""
    api.publish("orders", {"key": "k", "value": "v", "headers": {"h": ["1", None]}, "priority": 3})
    return [message["receipt"] for message in api.receive("work", max=10)]


def name_of(operation: Any) -> str:
    return operation.definition.raw["operationId"]


def fill(operation: str, body: dict[str, Any]) -> None:
    """What a body says of things that have to be there."""
    if operation in SETTLING and isinstance(body.get("receipts"), list):
        body["receipts"] = held() if operation == "ack_and_publish" else body["receipts"] + held()
    if operation == "ack_and_publish" and isinstance(body.get("publish"), list):
        for one in body["publish"]:
            if isinstance(one, dict):
                one["topic"] = "copies"
    if operation == "create_queue" and "topic" in body:
        body["topic"] = "orders"
    if operation == "put_route":
        body.update(source_topic="orders", targets=["copies"])
        body.pop("source_pattern", None)
    if operation == "redrive_queue" and body.get("to") is not None:
        body["to"] = "copies"


def hurry(asked: Any) -> None:
    """Nobody has to wait for what never comes."""
    if isinstance(asked, dict) and isinstance(waits := asked.get("wait_ms"), int) and 20 < waits <= 60_000:
        asked["wait_ms"] = 20


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    operation = name_of(case.operation)
    calls[operation] += 1
    if calls[operation] == 1 and len(calls) == 1:
        set_up()
    if calls[operation] % 4 == 0:
        return
    if operation not in MAKING:
        for name in case.path_parameters or {}:
            if name in KNOWN:
                case.path_parameters[name] = KNOWN[name]
    if operation in READING:
        api.publish("orders", {"key": "k", "value": {"base64": "AP8="}}, "text")
    if operation == "redrive_queue":
        api.tell("work", "reject", {"receipts": held()})
    if operation == "publish" and calls[operation] % 2:
        # A record in JSON says everything itself.
        case.query = {}
    hurry(case.query)
    hurry(case.body)
    if isinstance(case.body, dict):
        fill(operation, case.body)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    operation = name_of(case.operation)
    answered[operation][response.status_code] += 1
    if operation in UPSETTING and response.status_code < 300:
        set_up()


@atexit.register
def write_down() -> None:
    ANSWERED.write_text(json.dumps(answered))
