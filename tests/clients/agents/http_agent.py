"""The HTTP API from Python: HTTPX, httpx-sse and websockets. Its operations are those of every HTTP agent:

    request   method, path, headers, body (text) -> status, headers, body
    follow    member, path, events: follows the server-sent events of a path, those named in `events` beside messages,
              and connects again with the last id when it breaks
    connect   member, path: opens a WebSocket
    send      member, text
    state     member, drain -> opened (times), errors, received, ready; of a socket also closed (code and reason)
    close     member
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import httpx
from httpx_sse import EventSource
from protocol import serve
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as open_socket

RECONNECT_SECONDS = 0.2
MESSAGE_BYTES_MAX = 64 << 20


class Feed:
    """What both kinds keep of what they were told."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.opened = 0
        self.errors = 0
        self.received: list[dict[str, Any]] = []
        self.closed: dict[str, Any] | None = None
        self.lock = threading.Lock()
        self.leaving = threading.Event()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.leaving.set()

    def take(self, **message: Any) -> None:
        with self.lock:
            self.received.append(message | {"at": int(time.time() * 1000)})

    def state(self, drain: bool = False) -> dict[str, Any]:
        with self.lock:
            received = list(self.received)
            if drain:
                self.received.clear()
            return {"opened": self.opened, "errors": self.errors, "received": received, "closed": self.closed}


class Events(Feed):
    """What a browser's EventSource does: the standard leaves an event out that has no data, and keeps the last id."""

    def __init__(self, url: str, events: list[str]) -> None:
        self.events = {"message", *events}
        self.last_id = ""
        super().__init__(url)

    def run(self) -> None:
        while not self.leaving.is_set():
            try:
                self.listen()
            except httpx.HTTPError:
                self.errors += 1
            if self.closed is not None:
                return
            time.sleep(RECONNECT_SECONDS)

    def listen(self) -> None:
        headers = {"accept": "text/event-stream"} | ({"last-event-id": self.last_id} if self.last_id else {})
        with httpx.stream("GET", self.url, headers=headers, timeout=httpx.Timeout(10, read=None)) as response:
            if response.status_code != 200:
                self.closed = {"status": response.status_code, "body": response.read().decode()}
                return
            self.opened += 1
            for event in EventSource(response).iter_sse():
                if self.leaving.is_set():
                    return
                self.last_id = event.id or self.last_id
                if event.event in self.events and event.data:
                    self.take(event=event.event, id=self.last_id, data=event.data)


class Socket(Feed):
    def run(self) -> None:
        try:
            with open_socket(self.url, max_size=MESSAGE_BYTES_MAX, ping_interval=None) as self.socket:
                self.opened += 1
                for text in self.socket:
                    self.take(data=text)
            self.closed = {"code": self.socket.close_code, "reason": self.socket.close_reason}
        except ConnectionClosed as ended:
            self.closed = {"code": ended.rcvd.code if ended.rcvd else 1006, "reason": str(ended)}
        except Exception as failure:  # noqa: BLE001  (what a client is told is what tests ask about)
            self.errors += 1
            self.closed = {"code": 1006, "reason": str(failure)}

    def close(self) -> None:
        super().close()
        if self.opened:
            self.socket.close()


def main() -> None:
    base = sys.argv[1]
    members: dict[str, Feed] = {}
    client = httpx.Client(base_url=f"http://{base}", timeout=70)

    def request(method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None) -> dict[str, Any]:
        answer = client.request(method, path, headers=headers, content=body)
        return {"status": answer.status_code, "headers": dict(answer.headers), "body": answer.text}

    def follow(member: str, path: str, events: list[str] | None = None) -> None:
        members[member] = Events(f"http://{base}{path}", events or [])

    def connect(member: str, path: str) -> None:
        members[member] = Socket(f"ws://{base}{path}")

    def send(member: str, text: str) -> None:
        members[member].socket.send(text)

    def state(member: str, drain: bool = False) -> dict[str, Any]:
        return members[member].state(drain)

    def close(member: str) -> None:
        members.pop(member).close()

    operations = {f.__name__: f for f in (request, follow, connect, send, state, close)}
    serve(operations, lambda failure: None)


if __name__ == "__main__":
    main()
