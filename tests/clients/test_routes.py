"""Routes: one publish, over Kafka or HTTP, reaches several queues in one commit, each with what its filter takes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from http_api import Api, Refused, values
from records import record
from server import Server

T = 1_700_000_000_000

FILTERS: dict[str, Any] = {
    "all": None,
    "region": {"header": "region", "equals": "eu"},
    "key": {"key": {"equals": "user-2"}},
    "users": {"key": {"prefix": "user-"}},
    "large": {"header": "amount", "gt": 100, "le": 500},
    "either": {"any": [{"header": "kind", "in": ["a", "b"]}, {"not": {"header": "region"}}]},
}

# Key, headers, and the filters that take it.
MESSAGES: list[tuple[str | None, dict[str, str], set[str]]] = [
    ("user-1", {"region": "eu", "amount": "100"}, {"region", "users"}),
    ("user-2", {"region": "us", "amount": "100.5", "kind": "a"}, {"key", "users", "large", "either"}),
    ("shop-1", {"region": "eu", "amount": "1e3"}, {"region"}),
    ("user-20", {"amount": "500", "kind": "c"}, {"users", "large", "either"}),
    (None, {"region": "us", "kind": "b", "amount": "many"}, {"either"}),
    (None, {}, {"either"}),
]
EXPECTED = {
    name: [str(at) for at, (_, _, taken) in enumerate(MESSAGES) if name == "all" or name in taken] for name in FILTERS
}


@pytest.mark.parametrize("writer", ["http", "java", "confluent"])
def test_one_publish_reaches_every_queue_that_wants_it(writer: str, agents, api: Api, new_name: Callable[[str], str]):
    source, run = new_name("source"), new_name("run")
    api.create_topic(source)
    for name, wanted in FILTERS.items():
        api.create_topic(f"{run}-{name}")
        api.create_queue(f"{run}-{name}", f"{run}-{name}")
        route = {"source_topic": source, "targets": [f"{run}-{name}"], "filter": wanted}
        api.call("PUT", f"/v1/routes/{run}-{name}", route)
    if writer == "http":
        api.publish(
            source,
            *({"key": key, "value": str(at), "headers": headers} for at, (key, headers, _) in enumerate(MESSAGES)),
        )
    else:
        written = [
            record(key, str(at).encode(), 0, T + at, [(name, value.encode()) for name, value in headers.items()])
            for at, (key, headers, _) in enumerate(MESSAGES)
        ]
        agents(writer)("produce", topic=source, records=written, compression="lz4")
    for name, expected in EXPECTED.items():
        received = api.receive(f"{run}-{name}", max=100, wait_ms=5_000)
        assert values(received) == expected, name
        api.ack(f"{run}-{name}", *received)
        assert api.open(f"{run}-{name}") == 0
        stats = api.call("GET", f"/v1/routes/{run}-{name}")["stats"]
        assert stats == {"records": len(expected), "refused": 0, "skipped": 0}, name
    for name in FILTERS:
        api.call("DELETE", f"/v1/routes/{run}-{name}")


def test_loops_and_unknown_targets_are_refused(api: Api, new_name: Callable[[str], str]):
    one, other = new_name("one"), new_name("other")
    api.create_topic(one)
    api.create_topic(other)
    api.call("PUT", f"/v1/routes/{one}", {"source_topic": one, "targets": [other]})
    for name, route, code in [
        ("back", {"source_topic": other, "targets": [one]}, "invalid-route"),
        ("back", {"source_pattern": "#", "targets": [one]}, "invalid-route"),
        ("back", {"source_topic": one, "targets": ["nowhere"]}, "invalid-route"),
        (one, {"source_topic": other, "targets": [one]}, "exists"),
    ]:
        with pytest.raises(Refused) as refused:
            api.call("PUT", f"/v1/routes/{name}", route)
        assert refused.value.code == code, route
    api.call("DELETE", f"/v1/routes/{one}")


def test_source_and_targets_agree_over_kills(own_server: Server):
    """Whatever kill -9 cuts off, it is in the source and in every target, or in none."""
    targets = ["a", "b", "c"]
    with Api(own_server.http) as api:
        for name in ["source", *targets]:
            api.create_topic(name)
        api.call("PUT", "/v1/routes/spread", {"source_topic": "source", "targets": targets})
    acknowledged: list[str] = []
    sent = 0
    for _ in range(4):
        stop = threading.Event()

        def publish() -> None:
            nonlocal sent
            with Api(own_server.http) as api, contextlib.suppress(httpx.HTTPError, Refused):
                while not stop.is_set():
                    batch = [str(sent + n) for n in range(3)]
                    sent += 3
                    api.publish("source", *batch)
                    acknowledged.extend(batch)

        writer = threading.Thread(target=publish)
        writer.start()
        time.sleep(0.4)
        own_server.kill()
        stop.set()
        writer.join()
        own_server.start()
        with Api(own_server.http) as api:
            there = values(api.read_all("source"))
            for target in targets:
                assert values(api.read_all(target)) == there, target
            assert set(acknowledged) <= set(there)
    assert len(acknowledged) > 50, "too little was published to say anything"
