"""Queues over HTTP: a worker's life, and what is left of it after kill -9."""

from __future__ import annotations

from typing import Any

from conftest import eventually
from http_api import Api
from server import Server

# Every worker of these tests is gone for good when the server is killed.
VISIBILITY_MS = 2_000


def receive(api: Api, queue: str, **asked: Any) -> list[dict[str, Any]]:
    request = {"max": 10, "visibility_ms": VISIBILITY_MS} | asked
    return api.call("POST", f"/v1/queues/{queue}/receive", request)["messages"]


def settle(api: Api, queue: str, how: str, messages: list[dict[str, Any]]) -> None:
    receipts = [message["receipt"] for message in messages]
    results = api.call("POST", f"/v1/queues/{queue}/{how}", {"receipts": receipts})["results"]
    assert all(result["ok"] for result in results), results


def test_what_fails_ends_in_the_dead_letters_and_comes_back(own_server: Server) -> None:
    with Api(own_server.http) as api:
        api.create_topic("orders")
        policy = {"retry": {"attempts_max": 2}, "dead_letters": True}
        api.call("POST", "/v1/queues", {"name": "work", "topic": "orders", "policy": policy})
        api.publish("orders", "good", "bad")
        for _ in range(2):
            for message in receive(api, "work", wait_ms=5_000):
                settle(api, "work", "nack" if message["value"] == "bad" else "ack", [message])
        dead = eventually(lambda: api.read_all("work.dead"))
        assert [(one["value"], one["headers"]["millstream.dead-letter.reason"]) for one in dead] == [("bad", "attempts")]
        assert api.call("POST", "/v1/queues/work/redrive")["moved"] == 1
        assert [one["value"] for one in receive(api, "work", wait_ms=5_000)] == ["bad"]


def test_nothing_is_lost_or_done_twice_over_kills(own_server: Server) -> None:
    """What was acknowledged stays done; everything else comes again, after each of several kills."""
    done: list[str] = []
    with Api(own_server.http) as api:
        api.create_topic("orders", partitions=3)
        api.call("POST", "/v1/queues", {"name": "work", "topic": "orders"})
        for start in range(0, 120, 20):
            api.publish("orders", *(str(number) for number in range(start, start + 20)))
    for _ in range(3):
        with Api(own_server.http) as api:
            for _ in range(3):
                messages = receive(api, "work", wait_ms=5_000)
                settle(api, "work", "ack", messages[::2])
                done += [message["value"] for message in messages[::2]]
        own_server.kill()
        own_server.start()
    with Api(own_server.http) as api:

        def drain() -> bool:
            messages = receive(api, "work", wait_ms=500)
            settle(api, "work", "ack", messages)
            done.extend(message["value"] for message in messages)
            return api.call("GET", "/v1/queues/work")["depth"]["open"] == 0

        eventually(drain, 30)
    assert sorted(done, key=int) == [str(number) for number in range(120)]
