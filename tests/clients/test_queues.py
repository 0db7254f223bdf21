"""Queues over HTTP: a worker's life, and what is left of it after kill -9."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from typing import Any

import httpx
import pytest
from conftest import Agents, eventually
from http_api import Api, Refused
from records import record
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


@pytest.mark.parametrize("idempotent", [False, True])
def test_a_kafka_producer_waits_for_room_in_a_queue_that_refuses(own_server: Server, agents: Agents, idempotent: bool) -> None:
    producer = agents.another("confluent", own_server.bootstrap)
    with Api(own_server.http) as api:
        api.create_topic("orders")
        policy = {"length": {"records_max": 2, "overflow": "refuse"}}
        api.call("POST", "/v1/queues", {"name": "work", "topic": "orders", "policy": policy})

        def produce(value: str) -> None:
            producer("produce", topic="orders", records=[record(None, value)], idempotent=idempotent)

        produce("one")
        produce("two")
        with pytest.raises(Refused) as refused:
            api.publish("orders", "refused")
        assert refused.value.code == "queue-full"
        waiting = threading.Thread(target=produce, args=["three"])
        waiting.start()
        waiting.join(1)
        assert waiting.is_alive()
        assert [one["value"] for one in api.read_all("orders")] == ["one", "two"]
        settle(api, "work", "ack", receive(api, "work", max=1))
        waiting.join(20)
        assert not waiting.is_alive()
        assert [one["value"] for one in api.read_all("orders")] == ["one", "two", "three"]


class Ledger:
    """What workers know of each message, by what the server has answered them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.done: dict[str, float] = {}
        self.asked: set[str] = set()
        self.wrong: list[str] = []
        self.deliveries: Counter[str] = Counter()

    def delivered(self, messages: list[dict[str, Any]], began: float) -> None:
        with self.lock:
            for message in messages:
                value = message["value"]
                self.deliveries[value] += 1
                if self.done.get(value, began) < began:
                    self.wrong.append(f"{value} came again after it was done")

    def settled(self, messages: list[dict[str, Any]], results: list[dict[str, Any]]) -> None:
        with self.lock:
            for message, result in zip(messages, results, strict=True):
                value = message["value"]
                # `finished`: the acknowledgement whose answer a kill has cut off had been taken.
                if result["ok"] or (result["code"] == "finished" and value in self.asked):
                    self.done.setdefault(value, time.monotonic())
                elif result["code"] not in ("superseded", "lapsed"):
                    self.wrong.append(f"{value}: {result}")


def work(server: Server, ledger: Ledger, seed: int, finished: threading.Event) -> None:
    """Receives, and of what it got acknowledges some, gives some back, and forgets the rest, whatever happens to the server."""
    dice = random.Random(seed)
    while not finished.is_set():
        with contextlib.suppress(httpx.HTTPError), Api(server.http or "") as api:
            while not finished.is_set():
                began = time.monotonic()
                messages = receive(api, "work", max=dice.randint(1, 10), visibility_ms=1_000, wait_ms=200)
                ledger.delivered(messages, began)
                part = {"ack": [], "nack": [], "forget": []}  # type: dict[str, list[dict[str, Any]]]
                for message in messages:
                    part[dice.choices(["ack", "nack", "forget"], [8, 1, 1])[0]].append(message)
                with ledger.lock:
                    ledger.asked.update(message["value"] for message in part["ack"])
                for how in ("ack", "nack"):
                    if part[how]:
                        receipts = [message["receipt"] for message in part[how]]
                        results = api.call("POST", f"/v1/queues/work/{how}", {"receipts": receipts})["results"]
                        if how == "ack":
                            ledger.settled(part[how], results)
        time.sleep(0.02)


def test_workers_over_kills_lose_nothing_and_leave_nothing_stuck(own_server: Server) -> None:
    """Producers and workers at full speed while the server is killed again and again: what was acknowledged never comes again,
    what was published and not acknowledged does, and the queue is empty in the end."""
    published: list[str] = []
    producing, finished, ledger = threading.Event(), threading.Event(), Ledger()
    with Api(own_server.http or "") as api:
        api.create_topic("orders", partitions=3)
        policy = {"retry": {"backoff": {"fixed": {"delay_ms": 50}}}}
        api.call("POST", "/v1/queues", {"name": "work", "topic": "orders", "policy": policy})

    def produce() -> None:
        n = 0
        while not producing.is_set():
            with contextlib.suppress(httpx.HTTPError), Api(own_server.http or "") as api:
                while not producing.is_set():
                    batch = [str(n + one) for one in range(5)]
                    n += 5
                    api.publish("orders", *batch)
                    published.extend(batch)
            time.sleep(0.02)

    threads = [threading.Thread(target=work, args=(own_server, ledger, seed, finished)) for seed in range(4)]
    threads.append(threading.Thread(target=produce))
    for thread in threads:
        thread.start()
    dice = random.Random(4)
    try:
        for _ in range(6):
            time.sleep(dice.uniform(0.3, 1.2))
            own_server.kill()
            own_server.start()
        producing.set()
        with Api(own_server.http or "") as api:
            eventually(lambda: api.call("GET", "/v1/queues/work")["depth"]["open"] == 0, 60, lambda: api.queue("work"))
    finally:
        producing.set()
        finished.set()
        for thread in threads:
            thread.join()
    assert not ledger.wrong, ledger.wrong[:5]
    assert len(published) > 50, "too little was published to say anything"
    # Of some it is not known whether the acknowledgement was taken; all of them were delivered.
    assert set(published) <= set(ledger.deliveries)
    assert set(published) <= set(ledger.done) | ledger.asked
