"""Publishing under conditions: who was first, what is sent again, and what happens together with an acknowledgement, also when
the server is killed in the middle."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from conftest import eventually
from http_api import Api, Refused, values
from server import Server

# What a request meets when the server is killed under it: nothing is known of what became of it.
UNKNOWN = (httpx.HTTPError,)


def history(api: Api, topic: str, key: str) -> list[dict[str, Any]]:
    """All records of a key, page by page."""
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"key": key, "max": 100}
    while True:
        page = api.call("GET", f"/v1/topics/{topic}/records", params=query)
        found += page["records"]
        if page["next_offset"] >= page["latest"]:
            return found
        query["offset"] = page["next_offset"]


def curl(address: str, path: str, body: Any) -> tuple[int, Any]:
    """A publish by curl: the status and the answer."""
    command = [
        "curl", "--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}",
        "--header", "content-type: application/json", "--data", json.dumps(body), f"http://{address}{path}",
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, timeout=30, check=True)
    answer, status = ran.stdout.decode().rsplit("\n", 1)
    return int(status), json.loads(answer)


def test_of_writers_that_race_each_event_builds_on_the_one_before(api: Api, new_name: Callable[[str], str]):
    """Event sourcing: an account that writers pay into, by curl and by HTTPX, none of whom may overlook another's event."""
    topic, each = new_name("accounts"), 40
    api.create_topic(topic, partitions=4, millstream_key_index=True)
    lost: Counter[str] = Counter()

    def add(writer: str) -> None:
        with Api(api.address) as own:
            for _ in range(each):
                while True:
                    events = history(own, topic, "account")
                    balance = json.loads(events[-1]["value"])["balance"] if events else 0
                    expected = events[-1]["offset"] if events else "absent"
                    event = {"key": "account", "value": {"balance": balance + 1, "by": writer}, "expected": expected}
                    if writer == "curl":
                        status, answer = curl(own.address, f"/v1/topics/{topic}/records", event)
                    else:
                        sent = own.client.post(f"/v1/topics/{topic}/records", json=event)
                        status, answer = sent.status_code, sent.json()
                    if status == 200:
                        break
                    assert (status, answer["code"]) == (412, "precondition-failed"), answer
                    assert answer["position"] != (None if expected == "absent" else expected)
                    lost[writer] += 1

    writers = [threading.Thread(target=add, args=(name,)) for name in ["curl", "httpx-1", "httpx-2"]]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    events = [json.loads(event["value"]) for event in history(api, topic, "account")]
    assert [event["balance"] for event in events] == list(range(1, 3 * each + 1))
    assert Counter(event["by"] for event in events) == {"curl": each, "httpx-1": each, "httpx-2": each}
    assert sum(lost.values()) > 0, "nobody was ever second: the race was none"


def test_positions_outlive_a_kill(own_server: Server):
    with Api(own_server.http or "") as api:
        api.create_topic("accounts", millstream_key_index=True)
        for n in range(5):
            expected = "absent" if n == 0 else n - 1
            api.publish("accounts", {"key": "a", "value": str(n), "expected": expected})
    own_server.kill()
    own_server.start()
    with Api(own_server.http or "") as api:
        with pytest.raises(Refused) as refused:
            api.publish("accounts", {"key": "a", "value": "x", "expected": 3})
        assert (refused.value.status, refused.value.problem["position"]) == (412, 4)
        api.publish("accounts", {"key": "a", "value": "5", "expected": 4})
        assert values(history(api, "accounts", "a")) == [str(n) for n in range(6)]


def post_once(api: Api, topic: str, key: str, records: list[Any]) -> tuple[Any, bool]:
    """Where the records are, and whether they had been published before."""
    answer = api.client.post(f"/v1/topics/{topic}/records", json={"records": records}, headers={"idempotency-key": key})
    if not answer.is_success:
        raise Refused(answer)
    return answer.json(), answer.headers.get("idempotent-replayed") == "true"


def kills(server: Server, times: int, seconds: float) -> Iterator[None]:
    """Lets something happen, kills the server in the middle of it, and starts it again, so many times."""
    dice = random.Random(4)
    for _ in range(times):
        yield
        time.sleep(seconds * dice.uniform(0.5, 1.5))
        server.kill()
        server.start()


@pytest.mark.parametrize("partitions", [1, 3])
def test_what_is_sent_again_after_a_kill_is_published_once(partitions: int, own_server: Server):
    """Every request is sent until it is answered, and then once more: by several clients, over several kills."""
    with Api(own_server.http or "") as api:
        api.create_topic("orders", partitions=partitions)
    done = threading.Event()
    answers: dict[str, Any] = {}

    def publish(client: int) -> None:
        n, unknown = 0, False
        while not done.is_set() or unknown:
            with contextlib.suppress(*UNKNOWN), Api(own_server.http or "") as api:
                while not done.is_set() or unknown:
                    name = f"{client}-{n}"
                    records = [{"key": f"{name}.{part}", "value": f"{name}.{part}"} for part in range(3)]
                    unknown = True
                    answers[name], _ = post_once(api, "orders", name, records)
                    n, unknown = n + 1, False
            time.sleep(0.02)

    clients = [threading.Thread(target=publish, args=(client,)) for client in range(4)]
    for client in clients:
        client.start()
    for _ in kills(own_server, 5, 0.7):
        pass
    done.set()
    for client in clients:
        client.join()
    with Api(own_server.http or "") as api:
        for name, answer in answers.items():
            records = [{"key": f"{name}.{part}", "value": f"{name}.{part}"} for part in range(3)]
            assert post_once(api, "orders", name, records) == (answer, True)
        there = Counter(values(api.read_all("orders", partitions)))
        assert there == Counter(f"{name}.{part}" for name in answers for part in range(3))
        with pytest.raises(Refused) as reused:
            post_once(api, "orders", next(iter(answers)), [{"value": "another"}])
        assert (reused.value.status, reused.value.code) == (422, "idempotency-key-reused")
    assert len(answers) > 50, "too little was published to say anything"


def test_requests_that_come_at_once_are_one(api: Api, new_name: Callable[[str], str]):
    topic = new_name("topic")
    api.create_topic(topic)
    for n in range(20):
        answers: list[tuple[Any, bool]] = []
        start = threading.Barrier(8)

        def send(key: str, answers: list[tuple[Any, bool]] = answers, start: threading.Barrier = start) -> None:
            with Api(api.address) as own:
                own.call("GET", "/v1/topics?max=1")
                start.wait()
                answers.append(post_once(own, topic, key, [{"value": key}]))

        senders = [threading.Thread(target=send, args=(str(n),)) for _ in range(8)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        assert len(answers) == 8 and all(answer == answers[0][0] for answer, _ in answers)
        assert sorted(replayed for _, replayed in answers) == [False] + [True] * 7
    assert values(api.read_all(topic)) == [str(n) for n in range(20)]


def test_a_message_is_handed_on_exactly_once_over_kills(own_server: Server):
    """Workers take messages off a queue and publish what came of them to two topics, while the server is killed."""
    total, results = 600, ["results", "audit"]
    with Api(own_server.http or "") as api:
        for topic in ["orders", *results]:
            api.create_topic(topic, partitions=2)
        api.create_queue("work", "orders", policy={"retry": {"backoff": {"fixed": {"delay_ms": 0}}}})
        for start in range(0, total, 100):
            api.publish("orders", *({"key": str(n), "value": str(n)} for n in range(start, start + 100)))
    done = threading.Event()
    refused: Counter[str] = Counter()

    def work() -> None:
        while not done.is_set():
            with contextlib.suppress(*UNKNOWN), Api(own_server.http or "") as api:
                while not done.is_set():
                    messages = api.receive("work", max=5, visibility_ms=1_500, wait_ms=300)
                    if not messages:
                        continue
                    time.sleep(0.01)
                    records = [{"key": message["key"], "value": message["value"]} for message in messages]
                    request = {
                        "receipts": [message["receipt"] for message in messages],
                        "publish": [{"topic": topic, "records": records} for topic in results],
                    }
                    try:
                        api.tell("work", "ack-and-publish", request)
                    except Refused as problem:
                        # The answer to an earlier attempt was lost, or the lease ran out meanwhile.
                        assert problem.code in ("receipt-lost", "shutting-down"), problem
                        refused[str(problem.code)] += 1

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for _ in kills(own_server, 5, 0.5):
        pass
    with Api(own_server.http or "") as api:
        eventually(lambda: api.open("work") == 0, 40, lambda: api.queue("work"))
        done.set()
        for worker in workers:
            worker.join()
        for topic in results:
            handed_on = Counter(values(api.read_all(topic, 2)))
            assert handed_on == Counter(str(n) for n in range(total)), topic


def test_a_lost_receipt_publishes_nothing(api: Api, new_name: Callable[[str], str]):
    topic, results, queue = new_name("orders"), new_name("results"), new_name("work")
    api.create_topic(topic)
    api.create_topic(results)
    api.create_queue(queue, topic)
    api.publish(topic, "1", "2")
    first = api.receive(queue, max=2, visibility_ms=100, wait_ms=5_000)
    again = eventually(lambda: api.receive(queue, max=2, wait_ms=1_000))
    request = {
        "receipts": [again[0]["receipt"], first[1]["receipt"]],
        "publish": [{"topic": results, "records": [{"value": "r"}]}],
    }
    with pytest.raises(Refused) as refused:
        api.tell(queue, "ack-and-publish", request)
    assert (refused.value.status, refused.value.code) == (409, "receipt-lost")
    assert "receipt 1" in refused.value.problem["detail"]
    assert api.read_all(results) == [] and api.open(queue) == 2
    request["receipts"] = [message["receipt"] for message in again]
    assert api.tell(queue, "ack-and-publish", request)["published"][0]["records"][0]["offset"] == 0
    assert api.open(queue) == 0
