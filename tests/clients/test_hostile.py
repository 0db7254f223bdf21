"""What a peer can do wrong on the HTTP port: the server refuses it or cuts it off, and serves everybody else meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import SETTINGS, eventually
from http_api import Api, Refused
from server import Server
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as open_socket

IDLE_MS = 2_000
CONNECTIONS = 2_000
MIB = 1 << 20


@pytest.fixture
def hasty_server(own_server: Server, tmp_path: Path) -> Iterator[Server]:
    """One that gives peers two seconds, where the default is a minute."""
    own_server.kill()
    server = Server(tmp_path / "hasty", 4, (*SETTINGS, "--http-connection-idle-ms", str(IDLE_MS)))
    server.start()
    yield server
    server.kill()


def dial(server: Server) -> socket.socket:
    host, port = (server.http or "").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def works(server: Server) -> None:
    """Whether it serves another client, and soon."""
    began = time.monotonic()
    assert httpx.get(f"http://{server.http}/healthz", timeout=5).text == "ok\n"
    assert time.monotonic() - began < 2


def memory_bytes(server: Server) -> int:
    assert server.process is not None
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def answer_to(server: Server, request: bytes) -> bytes:
    """All that comes back until the server closes the connection or falls silent."""
    with dial(server) as peer:
        peer.settimeout(5)
        answer = b""
        with contextlib.suppress(OSError):
            peer.sendall(request)
            peer.shutdown(socket.SHUT_WR)
            while got := peer.recv(65536):
                answer += got
        return answer


def test_garbage_is_refused_or_cut_off(own_server: Server):
    dice = random.Random(4)
    openings = [b"", b"\x16\x03\x01\x02\x00\x01", b"GET ", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 1000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    for n in range(60):
        noise = openings[n % len(openings)] + dice.randbytes(dice.randrange(1, 5000))
        answer = answer_to(own_server, noise)
        assert not answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 5")), (noise[:40], answer[:200])
    works(own_server)


@pytest.mark.parametrize(
    "head",
    [
        b"POST /v1/topics HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/topics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /v1/topics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}",
        b"POST /v1/topics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"x: y\r\n" * 5_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    ],
    ids=["negative", "huge", "two-lengths", "huge-chunk", "long-line", "many-headers", "long-header", "no-host", "two-hosts"],
)
def test_a_head_that_is_wrong_is_refused(head, own_server: Server):
    answer = answer_to(own_server, head)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer[:200]
    works(own_server)


def answers_in(stream: bytes) -> list[tuple[int, bytes]]:
    """The status and the body of each answer, all of which tell the length of their bodies."""
    found = []
    while stream:
        head, stream = stream.split(b"\r\n\r\n", 1)
        lines = head.split(b"\r\n")
        assert lines[0].startswith(b"HTTP/1."), lines[0][:100]
        lengths = [line.split(b":")[1] for line in lines if line.lower().startswith(b"content-length:")]
        length = int(lengths[0]) if lengths else 0
        found.append((int(lines[0].split()[1]), stream[:length]))
        stream = stream[length:]
    return found


def test_http_1_0_is_served_and_the_connection_closed(own_server: Server):
    body = b'{"name": "orders"}'
    head = b"POST /v1/topics HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    for request, status in [
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.0\r\nHost: evil.example\r\n\r\n", 403),
        (b"GET /nothing HTTP/1.0\r\n\r\n", 404),
        (head + body, 201),
        (head + body, 409),
    ]:
        with dial(own_server) as peer:
            peer.settimeout(5)
            peer.sendall(request)
            answer = b""
            # It ends without the client's doing anything for it.
            while got := peer.recv(65536):
                answer += got
            assert [found for found, _ in answers_in(answer)] == [status], (request, answer)


def test_requests_sent_ahead_are_answered_in_order(own_server: Server):
    """200 requests in one breath, publishes, reads and mistakes among them, before the first answer is read."""
    with Api(own_server.http or "") as api:
        api.create_topic("orders")
    requests, expected = [], []
    for n in range(200):
        kind = n % 4
        if kind == 0:
            body = b'{"value": "%d"}' % n
            head = b"POST /v1/topics/orders/records HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            requests.append(head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            expected.append((200, b'"offset":%d,' % (n // 4)))
        elif kind == 1:
            path = b"/v1/topics/orders/partitions/0/records?offset=%d" % (n // 4)
            requests.append(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
            expected.append((200, b'"value":"%d"' % (n - 1)))
        elif kind == 2:
            requests.append(b"GET /v1/topics/none-%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % n)
            expected.append((404, b"none-%d" % n))
        else:
            requests.append(b"DELETE /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            expected.append((405, b"method-not-allowed"))
    with dial(own_server) as peer:
        peer.settimeout(10)
        peer.sendall(b"".join(requests))
        answer = b""
        # A client that closes its side before it has the answers is taken for one that has gone.
        while answer.count(b"HTTP/1.1 ") < len(requests) or not answer.endswith(b"}"):
            answer += peer.recv(65536)
    found = answers_in(answer)
    assert [status for status, _ in found] == [status for status, _ in expected]
    for n, ((_, body), (_, said)) in enumerate(zip(found, expected, strict=True)):
        assert said in body, (n, body)
    works(own_server)


def test_a_body_that_is_too_large_is_refused_before_it_is_kept(own_server: Server):
    before = memory_bytes(own_server)
    with Api(own_server.http or "") as api:
        api.create_topic("orders")

        def endless() -> Iterator[bytes]:
            for _ in range(512):
                yield bytes(MIB)

        for declared in (True, False):
            body = bytes(200 * MIB) if declared else endless()
            try:
                with pytest.raises(Refused) as refused:
                    api.call("POST", "/v1/topics/orders/records", content=body)
                assert (refused.value.status, refused.value.code) == (413, "too-large")
            except (httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError):
                # It was cut off while it was still sending, which is as good.
                pass
        assert memory_bytes(own_server) - before < 300 * MIB
        assert api.read_all("orders") == []
    works(own_server)


def test_slow_heads_are_cut_off(hasty_server: Server):
    with dial(hasty_server) as peer:
        began = time.monotonic()
        ended = False
        for byte in b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nx: " + b"y" * 1000:
            try:
                peer.sendall(bytes([byte]))
                peer.settimeout(0.1)
                # An end of the connection, or a refusal.
                peer.recv(100)
                ended = True
                break
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True
                break
        assert ended and time.monotonic() - began < 5 * IDLE_MS / 1000
    works(hasty_server)


@pytest.mark.slow
def test_slow_bodies_are_cut_off(own_server: Server):
    """A body has ten seconds beside the time for its bytes; one byte in a while is less than the slowest peer sends."""
    with dial(own_server) as peer:
        peer.sendall(b"POST /v1/topics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
        began, answer = time.monotonic(), b""
        peer.settimeout(0.5)
        while not answer and time.monotonic() - began < 40:
            with contextlib.suppress(TimeoutError):
                peer.sendall(b"{")
                answer = peer.recv(1000)
        assert answer.startswith(b"HTTP/1.1 408"), answer
        assert time.monotonic() - began < 30
    works(own_server)


def test_thousands_of_idle_connections_do_no_harm(own_server: Server):
    before = memory_bytes(own_server)
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(dial(own_server))
        works(own_server)
        assert memory_bytes(own_server) - before < 100 * MIB
        with Api(own_server.http or "") as api:
            api.create_topic("orders")
            assert api.publish("orders", "one")[0]["offset"] == 0
    works(own_server)


def test_connections_beyond_the_limit_are_refused(tmp_path: Path, own_server: Server):
    own_server.kill()
    server = Server(tmp_path / "narrow", 4, (*SETTINGS, "--http-connections-max", "10"))
    server.start()
    try:
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(dial(server)) for _ in range(20)]
            time.sleep(0.5)
            refused = 0
            for peer in peers:
                peer.settimeout(0.05)
                try:
                    refused += peer.recv(1) == b""
                except TimeoutError:
                    pass
                except ConnectionError:
                    refused += 1
            assert refused == 10
        time.sleep(0.2)
        works(server)
    finally:
        server.kill()


def test_idle_connections_are_closed(hasty_server: Server):
    with dial(hasty_server) as quiet, dial(hasty_server) as used:
        used.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert used.recv(1000).startswith(b"HTTP/1.1 200")
        for peer in (quiet, used):
            peer.settimeout(4 * IDLE_MS / 1000)
            with contextlib.suppress(ConnectionResetError):
                assert peer.recv(1000) == b""


def test_a_peer_that_does_not_read_its_answers_holds_up_nobody(own_server: Server):
    before = memory_bytes(own_server)
    with Api(own_server.http or "") as api:
        api.create_topic("orders")
        for _ in range(8):
            api.call("POST", "/v1/topics/orders/records", content=b"x" * 1_000_000, headers={"content-type": "text/plain"})
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                peer = stack.enter_context(dial(own_server))
                peer.setblocking(False)
                read = b"GET /v1/topics/orders/partitions/0/records?offset=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"
                with contextlib.suppress(BlockingIOError):
                    peer.sendall(read)
            time.sleep(1)
            works(own_server)
            assert api.publish("orders", "another")[0]["offset"] == 8
            # One answer each may be under way, of 8 MiB.
            assert memory_bytes(own_server) - before < 600 * MIB


FOREIGN = [
    ({"origin": "http://evil.example"}, "foreign-origin"),
    ({"origin": "null"}, "foreign-origin"),
    ({"origin": "https://localhost.evil.example"}, "foreign-origin"),
    ({"host": "evil.example"}, "foreign-host"),
    ({"host": "127.0.0.1.evil.example:8080"}, "foreign-host"),
]


@pytest.mark.parametrize(("headers", "code"), FOREIGN)
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/topics"), ("POST", "/v1/topics"), ("GET", "/metrics"), ("GET", "/nothing")])
def test_foreign_pages_are_refused(headers, code, method, path, api: Api):
    with pytest.raises(Refused) as refused:
        api.call(method, path, headers=headers)
    assert (refused.value.status, refused.value.code) == (403, code)


def test_many_peers_of_all_kinds_at_once(own_server: Server):
    """Garbage, silence and work side by side: the work is done."""
    stop = threading.Event()

    def noise(seed: int) -> None:
        dice = random.Random(seed)
        while not stop.is_set():
            with contextlib.suppress(OSError), dial(own_server) as peer:
                peer.sendall(dice.randbytes(dice.randrange(1, 2000)))

    threads = [threading.Thread(target=noise, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        with Api(own_server.http or "") as api:
            api.create_topic("orders")
            offsets = [api.publish("orders", str(n))[0]["offset"] for n in range(200)]
            assert offsets == list(range(200))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# Live feeds and WebSockets.


def gauge(server: Server, name: str) -> float:
    page = httpx.get(f"http://{server.http}/metrics", timeout=5).text
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{")))


def publish_large(api: Api, topic: str, count: int) -> None:
    for n in range(count):
        value = f"{n} " + "x" * 250_000
        api.call("POST", f"/v1/topics/{topic}/records", content=value, headers={"content-type": "text/plain"})


def stalled(server: Server, path: str) -> socket.socket:
    """A peer that has asked for a feed and does not read it."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, port = (server.http or "").split(":")
    peer.connect((host, int(port)))
    peer.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return peer


@pytest.mark.parametrize("slow", ["block", "drop_oldest", "drop_newest", "latest_per_key", "disconnect"])
def test_feeds_that_nobody_reads_hold_bounded_memory(slow, own_server: Server):
    with Api(own_server.http or "") as api, contextlib.ExitStack() as stack:
        api.create_topic("orders", millstream_durability="memory")
        for _ in range(50):
            stack.enter_context(stalled(own_server, f"/v1/live?topic=orders&slow={slow}"))
        eventually(lambda: gauge(own_server, "millstream_live_subscriptions") == 50)
        before = memory_bytes(own_server)
        publish_large(api, "orders", 200)
        # All have the same records before them: 50 MB of values, not 50 times as much.
        assert memory_bytes(own_server) - before < 300 * MIB
        works(own_server)
    eventually(lambda: gauge(own_server, "millstream_live_subscriptions") == 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["feed", "socket"])
def test_a_reader_that_stands_still_is_dropped(kind, own_server: Server):
    """30 seconds after it has stopped to take anything."""
    with Api(own_server.http or "") as api:
        api.create_topic("orders", millstream_durability="memory")
        if kind == "feed":
            peer = stalled(own_server, "/v1/live?topic=orders")
        else:
            peer = raw_socket(own_server)
            peer.sendall(text_frame(json.dumps({"type": "subscribe", "subscription": "s", "topics": ["orders"]})))
        eventually(lambda: gauge(own_server, "millstream_live_subscriptions") == 1)
        publish_large(api, "orders", 100)
        began = time.monotonic()
        eventually(lambda: gauge(own_server, "millstream_live_subscriptions") == 0, 60)
        assert time.monotonic() - began > 10
        peer.close()


def raw_socket(server: Server) -> socket.socket:
    """A WebSocket whose bytes are the test's business."""
    peer = dial(server)
    peer.sendall(
        b"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += peer.recv(1)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return peer


def text_frame(text: str) -> bytes:
    """A text message as clients send it, masked with zeros."""
    data = text.encode()
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + data


@pytest.mark.parametrize(("headers", "host"), [({"Origin": "http://evil.example"}, None), ({"Origin": "null"}, None), ({}, "evil.example")])
def test_sockets_of_foreign_pages_are_refused(headers, host, own_server: Server):
    peer = socket.create_connection(tuple((own_server.http or "").split(":")))
    url = f"ws://{host or own_server.http}/v1/ws"
    with pytest.raises(InvalidStatus) as refused:
        open_socket(url, sock=peer, additional_headers=headers, open_timeout=10)
    assert refused.value.response.status_code == 403
    works(own_server)


def test_a_message_that_is_too_large_ends_its_socket_alone(own_server: Server):
    url = f"ws://{own_server.http}/v1/ws"
    before = memory_bytes(own_server)
    with open_socket(url) as other:
        for size in (3 * MIB, 64 * MIB):
            with open_socket(url, close_timeout=1) as large:
                with pytest.raises((ConnectionClosed, OSError)) as ended:
                    large.send("x" * size)
                    large.recv(10)
                if isinstance(ended.value, ConnectionClosed) and ended.value.rcvd:
                    assert ended.value.rcvd.code == 1009
        other.send(json.dumps({"type": "ping", "id": 1}))
        assert json.loads(other.recv(10)) == {"type": "pong", "id": 1}
    # On the word of a header alone no more is reserved than a message may have.
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(raw_socket(own_server)).sendall(b"\x81\xff" + (2**40).to_bytes(8, "big") + bytes(4))
            stack.enter_context(raw_socket(own_server)).sendall(b"\x81\xff" + MIB.to_bytes(8, "big") + bytes(4))
        works(own_server)
        assert memory_bytes(own_server) - before < 200 * MIB


def test_garbage_on_a_socket_ends_it_alone(own_server: Server):
    dice = random.Random(5)
    with open_socket(f"ws://{own_server.http}/v1/ws") as other:
        for n in range(40):
            with raw_socket(own_server) as peer:
                peer.settimeout(10)
                with contextlib.suppress(OSError):
                    # Whole frames of noise, and noise instead of frames.
                    noise = dice.randbytes(dice.randrange(1, 2000))
                    peer.sendall(noise if n % 2 else text_frame(noise.decode("latin-1")))
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(65536):
                        pass
        other.send(json.dumps({"type": "ping", "id": 1}))
        assert json.loads(other.recv(10)) == {"type": "pong", "id": 1}
    eventually(lambda: gauge(own_server, "millstream_connections") <= 1)


def test_requests_sent_ahead_are_answered_in_order(own_server: Server):
    """200 on one connection, before the first answer is read; and as many frames on a socket."""
    with Api(own_server.http or "") as api:
        api.create_topic("orders")
    bodies = [json.dumps({"value": str(n)}).encode() for n in range(200)]
    head = b"POST /v1/topics/orders/records HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with dial(own_server) as peer:
        peer.sendall(b"".join(head % len(body) + body for body in bodies))
        answers = b""
        while answers.count(b'"offset":') < 200:
            got = peer.recv(65536)
            assert got, answers[-500:]
            answers += got
    offsets = [int(part.split(b",")[0]) for part in answers.split(b'"offset":')[1:]]
    assert offsets == list(range(200))
    with open_socket(f"ws://{own_server.http}/v1/ws") as ahead:
        for n in range(200):
            ahead.send(json.dumps({"type": "publish", "id": n, "topic": "orders", "record": {"value": str(n)}}))
        told = [json.loads(ahead.recv(10)) for _ in range(200)]
    assert {one["id"]: one["records"][0]["offset"] for one in told} == {n: 200 + n for n in range(200)}
