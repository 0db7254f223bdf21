"""The agents' side of the protocol: requests in, answers out, one JSON object a line, one at a time.

Every client under test is wrapped in an agent, a program of its own that keeps to this protocol, so that the same
scenario drives every client and `kill -9` of an agent is the crash of that client. Requests:

    {"op": "produce", "args": {...}}   ->   {"ok": ...}   or   {"error": {"code": 10 | null, "message": "..."}}

`code` is Kafka's error code when the broker answered with one; the client's own failures have none. `agent.py`, one
directory up, is the other side and describes each operation. Keys, values and header values travel as base64.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any


class BrokerError(Exception):
    """A failure that carries the broker's error code."""

    def __init__(self, code: int | None, message: str) -> None:
        super().__init__(message)
        self.code = code


def encode(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def decode(value: str | None) -> bytes | None:
    return None if value is None else base64.b64decode(value)


def headers_in(record: dict[str, Any]) -> list[tuple[str, bytes | None]]:
    return [(name, decode(value)) for name, value in record.get("headers", [])]


def record_out(
    topic: str,
    partition: int,
    offset: int,
    timestamp: int,
    key: bytes | None,
    value: bytes | None,
    headers: list[tuple[str, bytes | None]] | None,
) -> dict[str, Any]:
    return {
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "timestamp": timestamp,
        "key": encode(key),
        "value": encode(value),
        "headers": [[name, encode(content)] for name, content in headers or []],
    }


def serve(operations: dict[str, Callable[..., Any]], code_of: Callable[[BaseException], int | None]) -> None:
    """Answers requests until stdin ends. `code_of` finds the broker's error code in the client's exceptions."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints must not garble the answers
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": operations[request["op"]](**request.get("args", {}))}
        except Exception as failure:  # noqa: BLE001  (every failure is an answer)
            traceback.print_exc(file=sys.stderr)
            answer = {"error": describe(failure, code_of)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def describe(failure: BaseException, code_of: Callable[[BaseException], int | None]) -> dict[str, Any]:
    code = failure.code if isinstance(failure, BrokerError) else code_of(failure)
    return {"code": code, "message": f"{type(failure).__name__}: {failure}"}


class Member:
    """A consumer that polls on a thread of its own, as a real one would, and does what it is asked between polls.

    A subclass supplies `poll`, `close_consumer` and the operations that tests call by name through `do`.
    """

    def __init__(self, code_of: Callable[[BaseException], int | None]) -> None:
        self.code_of = code_of
        self.received: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        self.assigned: set[tuple[str, int]] = set()
        self.assignments = 0
        self.revoked = 0
        self.lock = threading.Lock()
        self.orders: list[tuple[Callable[[], Any], dict[str, Any], threading.Event]] = []
        self.leaving = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def poll(self) -> list[dict[str, Any]]:
        """Waits a little, and returns the records that came."""
        raise NotImplementedError

    def close_consumer(self) -> None:
        raise NotImplementedError

    def run(self) -> None:
        while not self.leaving:
            try:
                records = self.poll()
                with self.lock:
                    self.received += records
            except Exception as failure:  # noqa: BLE001  (what a consumer is told is what tests ask about)
                with self.lock:
                    self.errors.append(describe(failure, self.code_of))
            self.obey()

    def obey(self) -> None:
        with self.lock:
            orders, self.orders = self.orders, []
        for order, outcome, done in orders:
            try:
                outcome["ok"] = order()
            except Exception as failure:  # noqa: BLE001
                outcome["failure"] = failure
            done.set()

    def between_polls(self, order: Callable[[], Any]) -> Any:
        """Runs `order` on the polling thread: most consumers are not safe to share between threads."""
        outcome: dict[str, Any] = {}
        done = threading.Event()
        with self.lock:
            self.orders.append((order, outcome, done))
        if not done.wait(60):
            raise TimeoutError("the consumer's poll did not return within a minute")
        if "failure" in outcome:
            raise outcome["failure"]
        return outcome["ok"]

    def state(self, drain: bool = False) -> dict[str, Any]:
        with self.lock:
            state = {
                "assigned": sorted(map(list, self.assigned)),
                "assignments": self.assignments,
                "revoked": self.revoked,
                "received": list(self.received),
                "errors": list(self.errors),
            }
            if drain:
                self.received.clear()
                self.errors.clear()
        return state

    def leave(self) -> None:
        self.leaving = True
        self.thread.join(30)
        self.close_consumer()
