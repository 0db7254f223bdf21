"""What a queue can be told, each thing as a worker over HTTP sees it: order, time, limits, who may receive, and what is refused."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import eventually
from http_api import Api, Refused, values

FIFO = {"in_flight_max": 1, "interval_ms": 0}

NewQueue = Callable[..., str]


@pytest.fixture
def queue(api: Api, new_name: Callable[[str], str]) -> NewQueue:
    """Makes a queue with this policy, on a topic of the same name and one partition."""

    def make(**policy: Any) -> str:
        name = new_name("queue")
        api.create_topic(name)
        api.create_queue(name, name, policy=policy)
        return name

    return make


def alter(api: Api, name: str, **policy: Any) -> Any:
    return api.call("PATCH", f"/v1/queues/{name}", {"policy": policy})


def total(api: Api, name: str, what: str) -> int:
    return api.queue(name)["totals"][what]


def until_total(api: Api, name: str, what: str, count: int) -> None:
    eventually(lambda: total(api, name, what) == count, why=lambda: api.queue(name))


def refused(status: int, code: str, act: Callable[[], Any]) -> str:
    """The detail of the problem document with which `act()` is refused."""
    with pytest.raises(Refused) as caught:
        act()
    refusal = caught.value
    assert (refusal.status, refusal.code, refusal.media_type) == (status, code, "application/problem+json"), refusal
    return refusal.problem["detail"]


# Order.


def test_the_urgent_come_first(api: Api, queue: NewQueue):
    name = queue(priorities=True)
    priorities = [0, 5, 9, 5, 0, 9]
    api.publish(name, *({"value": f"{p}-{at}", "priority": p} for at, p in enumerate(priorities)))
    eventually(lambda: api.queue(name)["depth"]["ready"] == len(priorities))
    received = [api.receive(name)[0]["value"] for _ in priorities]
    assert received == ["9-2", "9-5", "5-1", "5-3", "0-0", "0-4"]


def test_one_key_is_in_flight_once_and_others_go_on(api: Api, queue: NewQueue):
    name = queue(keys=FIFO)
    api.publish(name, *({"key": value[0], "value": value} for value in ("a1", "a2", "b1", "b2", "c1", "a3")))
    first = api.receive(name, max=10, wait_ms=5_000)
    assert values(first) == ["a1", "b1", "c1"]
    assert api.receive(name, max=10) == []
    assert api.queue(name)["depth"]["behind_key"] == 3
    api.ack(name, first[0])
    second = api.receive(name, max=10, wait_ms=5_000)
    assert values(second) == ["a2"]
    # What is given back comes again before what is behind it.
    api.settle(name, "nack", second, delay_ms=0)
    again = api.receive(name, max=10, wait_ms=5_000)
    assert [(one["value"], one["attempts"]) for one in again] == [("a2", 2)]
    api.ack(name, again[0], first[1])
    assert sorted(values(api.receive(name, max=10, wait_ms=5_000))) == ["a3", "b2"]


def test_keys_keep_their_order_among_many_workers(api: Api, queue: NewQueue):
    """Every key's messages are done in their order although some fail at first, and never two of them at a time."""
    name = queue(keys=FIFO)
    keys, each = "abcde", 8
    api.publish(name, *({"key": key, "value": f"{key}{n}"} for n in range(each) for key in keys))
    lock = threading.Lock()
    held: set[str] = set()
    wrong: list[str] = []
    done: dict[str, list[int]] = defaultdict(list)

    def work() -> None:
        with Api(api.address) as own:
            while received := own.receive(name, max=2, wait_ms=1_000):
                for message in received:
                    with lock:
                        if message["key"] in held:
                            wrong.append(f"{message['value']} was delivered beside another of its key")
                        held.add(message["key"])
                time.sleep(0.005)
                for message in received:
                    n = int(message["value"][1:])
                    fails = n % 3 == 0 and message["attempts"] == 1
                    with lock:
                        held.discard(message["key"])
                        if not fails:
                            done[message["key"]].append(n)
                    own.settle(name, "nack" if fails else "ack", [message])

    with ThreadPoolExecutor(4) as workers:
        for worker in [workers.submit(work) for _ in range(4)]:
            worker.result()
    assert not wrong, wrong[:5]
    assert done == {key: list(range(each)) for key in keys}


# Time.


def test_messages_live_for_as_long_as_the_queue_says(api: Api, queue: NewQueue):
    name = queue(ttl_ms=700, dead_letters=True, dead_letter_expired=True)
    api.publish(name, "held", "late")
    held = api.receive(name, wait_ms=5_000)
    assert values(held) == ["held"]
    until_total(api, name, "expired", 1)
    # Whoever holds a message may still finish it.
    api.ack(name, *held)
    assert api.receive(name, max=10) == []
    dead = eventually(lambda: api.dead_letters(name))
    assert [(one["value"], one["headers"]["millstream.dead-letter.reason"]) for one in dead] == [("late", "expired")]


def test_messages_say_themselves_how_long_they_live(api: Api, queue: NewQueue):
    name = queue(record_ttl=True)
    soon = int(time.time() * 1_000) + 300
    api.publish(name, {"value": "a", "ttl_ms": 300}, {"value": "b", "expires_at": soon}, {"value": "c", "ttl_ms": 60_000}, "d")
    until_total(api, name, "expired", 2)
    assert values(api.receive(name, max=10, wait_ms=5_000)) == ["c", "d"]


def test_repeated_ids_are_dropped_within_the_window(api: Api, queue: NewQueue):
    name = queue(dedup_window_ms=1_500)
    api.publish(name, {"id": "x", "value": "first"}, {"id": "x", "value": "again"}, {"id": "y", "value": "other"})
    api.publish(name, {"id": "x", "value": "once more"}, {"value": "no id"}, {"value": "no id"})
    until_total(api, name, "duplicates", 2)
    received = api.receive(name, max=10)
    assert values(received) == ["first", "other", "no id", "no id"]
    api.ack(name, *received)
    # Also of what is done.
    api.publish(name, {"id": "x", "value": "after it was done"})
    until_total(api, name, "duplicates", 3)
    time.sleep(1.6)
    api.publish(name, {"id": "x", "value": "after the window"})
    assert values(api.receive(name, max=10, wait_ms=5_000)) == ["after the window"]


def test_repeated_ids_are_dropped_unless_a_queue_takes_every_message(api: Api, queue: NewQueue):
    name, every = queue(), queue(dedup_window_ms=0)
    sent = [{"id": "x", "value": "first"}, {"id": "x", "value": "again"}, "no id", "no id"]
    for one in (name, every):
        api.publish(one, *sent)
    assert values(api.receive(name, max=10, wait_ms=5_000)) == ["first", "no id", "no id"]
    assert values(api.receive(every, max=10, wait_ms=5_000)) == ["first", "again", "no id", "no id"]
    alter(api, name, dedup_window_ms=0)
    api.publish(name, {"id": "x", "value": "once more"})
    assert values(api.receive(name, max=10, wait_ms=5_000)) == ["once more"]


def test_messages_wait_for_their_time(api: Api, queue: NewQueue):
    name = queue(delays=True)
    began = time.time()
    at = int(began * 1_000) + 1_200
    api.publish(name, {"value": "delayed", "delay_ms": 700}, {"value": "at a time", "deliver_at": at}, "at once")
    assert values(api.receive(name, max=10, wait_ms=5_000)) == ["at once"]
    assert api.queue(name)["depth"]["parked"] == 2
    for value, seconds in [("delayed", 0.7), ("at a time", 1.2)]:
        assert values(api.receive(name, max=10, wait_ms=5_000)) == [value]
        assert seconds - 0.01 <= time.time() - began < seconds + 5


def test_a_queue_delays_everything_or_nothing(api: Api, queue: NewQueue):
    late, plain = queue(delay_ms=600), queue()
    for name in (late, plain):
        api.publish(name, {"value": "own delay", "delay_ms": 60_000})
    began = time.monotonic()
    # Records' own delays count only where the policy says so.
    assert values(api.receive(plain, wait_ms=5_000)) == ["own delay"]
    assert api.receive(late) == []
    assert values(api.receive(late, wait_ms=5_000)) == ["own delay"]
    assert time.monotonic() - began > 0.4


# Limits.


def test_so_many_are_in_flight(api: Api, queue: NewQueue):
    name = queue(in_flight_max=2)
    api.publish(name, *"abcde")
    held = api.receive(name, max=10, wait_ms=5_000)
    assert values(held) == ["a", "b"]
    assert api.receive(name, max=10) == []
    api.ack(name, held[1])
    assert values(api.receive(name, max=10, wait_ms=5_000)) == ["c"]


def test_so_many_a_second(api: Api, queue: NewQueue):
    name = queue(rate={"per_second": 10, "burst": 2})
    api.publish(name, *"abcdef")
    began = time.monotonic()
    received = values(api.receive(name, max=10, wait_ms=5_000))
    assert received == ["a", "b"]
    while len(received) < 6:
        received += values(api.receive(name, max=10, wait_ms=5_000))
        # Two at once, and one for each tenth of a second that has passed; a little for what the clocks disagree.
        assert len(received) <= 2 + 10 * (time.monotonic() - began) + 0.5
    assert received == list("abcdef")


def test_a_full_queue_refuses(api: Api, queue: NewQueue):
    name = queue(length={"records_max": 3, "overflow": "refuse"})
    api.publish(name, "a", "b")
    # All of them or none.
    detail = refused(409, "queue-full", lambda: api.publish(name, "c", "d"))
    assert name in detail and "3" in detail
    api.publish(name, "c")
    held = api.receive(name, max=1)
    # What is held counts.
    refused(409, "queue-full", lambda: api.publish(name, "d"))
    api.ack(name, *held)
    api.publish(name, "d")
    assert values(api.read_all(name)) == ["a", "b", "c", "d"]


def test_a_full_queue_drops_its_oldest(api: Api, queue: NewQueue):
    name = queue(length={"records_max": 3, "overflow": "drop_oldest"})
    api.publish(name, "a")
    held = api.receive(name, wait_ms=5_000)
    api.publish(name, *"bcdef")
    until_total(api, name, "overflowed", 3)
    # What is held counts, and is not dropped.
    assert values(api.receive(name, max=10)) == ["e", "f"]
    api.ack(name, *held)


def test_a_full_queue_gives_up_its_oldest(api: Api, queue: NewQueue):
    name = queue(length={"records_max": 2, "overflow": "dead_letter_oldest"}, dead_letters=True)
    api.publish(name, *"abcd")
    dead = eventually(lambda: len(found := api.dead_letters(name)) == 2 and found)
    assert [(one["value"], one["headers"]["millstream.dead-letter.reason"]) for one in dead] == [
        ("a", "overflow"),
        ("b", "overflow"),
    ]
    assert values(api.receive(name, max=10, wait_ms=5_000)) == ["c", "d"]


# Who receives.


def test_an_exclusive_queue_is_one_consumers(api: Api, queue: NewQueue):
    name = queue(access="exclusive", consumer_idle_ms=400)
    api.publish(name, "a", "b")
    assert "consumer" in refused(400, "consumer-needed", lambda: api.receive(name))
    held = api.receive(name, consumer="one")
    assert "another consumer" in refused(409, "queue-taken", lambda: api.receive(name, consumer="two"))
    time.sleep(0.6)
    # Whoever holds something is there.
    refused(409, "queue-taken", lambda: api.receive(name, consumer="two"))
    api.ack(name, *held)

    def second() -> Any:
        try:
            return api.receive(name, consumer="two")
        except Refused as refusal:
            assert refusal.code == "queue-taken", refusal
            return None

    assert values(eventually(second)) == ["b"]
    refused(409, "queue-taken", lambda: api.receive(name, consumer="one"))
    # Once the queue is everybody's, nobody has to say who they are.
    alter(api, name, access=None)
    assert api.receive(name) == []


def test_a_single_active_consumer_is_followed_by_the_next(api: Api, queue: NewQueue):
    name = queue(access="single_active", consumer_idle_ms=500)
    api.publish(name, "a", "b")
    refused(400, "consumer-needed", lambda: api.receive(name))
    held = api.receive(name, consumer="one")
    assert values(held) == ["a"]
    # Others wait, and get nothing while that one is there.
    assert api.receive(name, consumer="two", wait_ms=700) == []
    api.ack(name, *held)
    assert values(api.receive(name, consumer="two", wait_ms=10_000)) == ["b"]
    assert api.receive(name, consumer="one") == []


# What operators do.


def test_a_paused_queue_delivers_nothing(api: Api, queue: NewQueue):
    name = queue()
    api.publish(name, "a", "b")
    held = api.receive(name)
    api.tell(name, "pause")
    assert api.queue(name)["paused"]
    assert api.receive(name, wait_ms=200) == []
    # What was delivered may be settled, and what is published is kept.
    api.ack(name, *held)
    api.publish(name, "c")
    with ThreadPoolExecutor(1) as other, Api(api.address) as own:
        waiting = other.submit(own.receive, name, max=10, wait_ms=20_000)
        eventually(lambda: api.queue(name)["waiting_requests"] == 1)
        api.tell(name, "resume")
        assert values(waiting.result()) == ["b", "c"]
    assert not api.queue(name)["paused"]


def test_a_purge_leaves_what_is_held_and_the_log(api: Api, queue: NewQueue):
    name = queue()
    api.publish(name, *"abcd")
    held = api.receive(name)
    assert api.tell(name, "purge") == {"purged": 3}
    assert api.open(name) == 1
    assert api.receive(name, max=10) == []
    api.ack(name, *held)
    assert values(api.read_all(name)) == list("abcd")
    api.publish(name, "e")
    assert values(api.receive(name, max=10, wait_ms=5_000)) == ["e"]


def test_a_peek_takes_nothing(api: Api, queue: NewQueue):
    name = queue()
    api.publish(name, *({"key": "k", "value": value, "headers": {"h": "1"}} for value in "abc"))
    held = api.receive(name)
    api.settle(name, "nack", held, delay_ms=60_000)
    api.receive(name)
    seen = api.peek(name)
    assert [(one["value"], one["state"], one["attempts"]) for one in seen] == [
        ("a", "parked", 1),
        ("b", "leased", 0),
        ("c", "ready", 0),
    ]
    assert (seen[2]["key"], seen[2]["headers"], seen[2]["offset"]) == ("k", {"h": "1"}, 2)
    assert "receipt" not in seen[0]
    assert values(api.peek(name, max=2)) == ["a", "b"]
    assert values(api.receive(name, max=10)) == ["c"]
    refused(400, "bad-query", lambda: api.peek(name, max=0))


def test_a_change_takes_effect_on_what_waits(api: Api, queue: NewQueue):
    name = queue(in_flight_max=1)
    api.publish(name, "a", "b")
    assert values(api.receive(name, wait_ms=5_000)) == ["a"]
    with ThreadPoolExecutor(1) as other, Api(api.address) as own:
        waiting = other.submit(own.receive, name, wait_ms=20_000)
        eventually(lambda: api.queue(name)["waiting_requests"] == 1)
        began = time.monotonic()
        changed = alter(api, name, in_flight_max=None)
        assert changed["policy"]["in_flight_max"] is None
        assert values(waiting.result()) == ["b"]
        assert time.monotonic() - began < 10


def test_a_change_takes_effect_on_what_is_there(api: Api, queue: NewQueue):
    name = queue(delay_ms=600_000)
    api.publish(name, {"value": "a"}, {"value": "b", "priority": 9}, {"value": "c", "priority": 5})
    assert api.receive(name, wait_ms=200) == []
    alter(api, name, delay_ms=None, priorities=True, retry={"attempts_max": 3})
    eventually(lambda: api.queue(name)["depth"]["ready"] == 3)
    assert values(api.receive(name, wait_ms=5_000)) == ["b"]
    policy = alter(api, name, length={"records_max": 1, "overflow": "drop_oldest"})["policy"]
    # Beside what is changed everything stays as it was.
    assert (policy["priorities"], policy["retry"]["attempts_max"]) == (True, 3)
    until_total(api, name, "overflowed", 2)
    alter(api, name, length=None, ttl_ms=1)
    api.publish(name, "d")
    until_total(api, name, "expired", 1)


# What is refused.


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        ({"window_records": 0}, "window_records"),
        ({"in_flight_max": 0}, "in_flight_max"),
        ({"retry": {"jitter_percent": 101}}, "jitter_percent"),
        ({"retry": {"attempts_max": 0}}, "nonzero"),
        ({"retry": {"backoff": "some"}}, "some"),
        ({"dead_letter_expired": True}, "dead_letters"),
        ({"length": {"records_max": 1}}, "overflow"),
        ({"length": {"records_max": 1, "overflow": "dead_letter_oldest"}}, "dead_letters"),
        ({"rate": {"per_second": 1}}, "burst"),
        ({"keys": {"in_flight_max": 1}}, "interval_ms"),
        ({"access": "everybody"}, "everybody"),
        ({"ttl_ms": "soon"}, "soon"),
        ({"color": "red"}, "color"),
        ([], "object"),
    ],
    ids=str,
)
def test_what_a_queue_cannot_be_told_is_named(policy: Any, named: str, api: Api, queue: NewQueue):
    name = queue()
    before = api.queue(name)["policy"]
    detail = refused(400, "invalid-policy", lambda: api.call("PATCH", f"/v1/queues/{name}", {"policy": policy}))
    assert named in detail
    assert api.queue(name)["policy"] == before
    refused(400, "invalid-policy", lambda: api.create_queue(f"{name}-2", name, policy=policy))
    refused(404, "unknown-queue", lambda: api.queue(f"{name}-2"))


def test_a_name_is_taken_once(api: Api, queue: NewQueue):
    name = queue(in_flight_max=7)
    assert name in refused(409, "exists", lambda: api.create_queue(name, name))
    assert api.queue(name)["policy"]["in_flight_max"] == 7
    refused(404, "unknown-topic", lambda: api.create_queue(f"{name}-2", f"{name}-nothing"))
    refused(400, "invalid-policy", lambda: api.create_queue(f"{name}-2", name, filter={"haeder": "x"}))
    refused(400, "invalid-name", lambda: api.create_queue("", name))
