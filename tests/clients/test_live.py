"""Live feeds and WebSockets as other people's libraries read them: HTTPX and websockets in Python, eventsource and ws in Node,
and what a browser brings."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from agent import Agent
from conftest import eventually
from http_api import Api, json_lines
from server import Server
from specs import HTTP_SPECS

CLIENTS = [spec.name for spec in HTTP_SPECS]


@pytest.fixture(params=CLIENTS)
def reader(request: pytest.FixtureRequest, own_server: Server, agents) -> Agent:
    return agents.another(request.param, own_server.http)


@pytest.fixture
def api(own_server: Server) -> Api:
    return Api(own_server.http or "")


def follow(reader: Agent, path: str, member: str = "m") -> None:
    reader("follow", member=member, path=path, events=["subscribed", "dropped", "lost", "end"])
    eventually(lambda: named(reader, "subscribed", member), why=lambda: reader("state", member=member))


def named(reader: Agent, kind: str, member: str = "m") -> list[Any]:
    received = reader("state", member=member)["received"]
    return list(json_lines([one for one in received if one["event"] == kind]))


def values(reader: Agent, member: str = "m") -> list[str]:
    return [one["value"] for one in named(reader, "message", member)]


class Socket:
    """A WebSocket that an agent holds."""

    def __init__(self, client: Agent, member: str = "s") -> None:
        self.client, self.member = client, member
        client("connect", member=member, path="/v1/ws")
        eventually(lambda: self.state()["opened"], why=self.state)

    def state(self) -> dict[str, Any]:
        return self.client("state", member=self.member)

    def send(self, **frame: Any) -> None:
        self.client("send", member=self.member, text=json.dumps(frame))

    def frames(self, wanted: Callable[[Any], bool] = lambda frame: True) -> list[Any]:
        return [frame for frame in json_lines(self.state()["received"]) if wanted(frame)]

    def of_type(self, kind: str) -> list[Any]:
        return self.frames(lambda frame: frame["type"] == kind)

    def answer(self, id: Any) -> Any:
        return eventually(lambda: self.frames(lambda frame: frame.get("id") == id), why=self.state)[0]


def test_events_come_as_they_are_published(reader: Agent, api: Api):
    api.create_topic("orders.eu")
    follow(reader, f"/v1/live?pattern={quote('orders.#')}")
    tricky = ["one", "two\nlines", "carriage\r\nreturn", "größe \u2028 \U0001f600", "", ":colon", "data: x"]
    api.publish("orders.eu", *tricky)
    api.create_topic("orders.new")
    api.publish("orders.new", "new")
    eventually(lambda: len(values(reader)) == len(tricky) + 1, why=lambda: values(reader))
    assert values(reader) == [*tricky, "new"]
    api.call("DELETE", "/v1/topics/orders.new")
    api.publish("orders.eu", "goes on")
    eventually(lambda: values(reader)[-1] == "goes on")


def test_a_feed_survives_kills_without_loss_or_repetition(reader: Agent, api: Api, own_server: Server):
    """The reader reconnects by itself with what it was told last; what comes meanwhile waits for it."""
    api.create_topic("orders", partitions=3)
    follow(reader, "/v1/live?topic=orders")
    expected: list[str] = []

    def publish(count: int) -> None:
        new = [str(len(expected) + n) for n in range(count)]
        api.publish("orders", *({"value": value, "partition": int(value) % 3} for value in new))
        expected.extend(new)

    # Nothing was told but the beginning when it is killed for the first time.
    for _ in range(4):
        own_server.kill()
        own_server.start()
        publish(20)
        publish(20)
        eventually(lambda: len(values(reader)) >= len(expected), 30, why=lambda: reader("state", member="m"))
    assert sorted(values(reader), key=int) == expected
    for partition in range(3):
        told = [one["offset"] for one in named(reader, "message") if one["partition"] == partition]
        assert told == sorted(told)
    assert named(reader, "lost") == []


def test_what_retention_took_meanwhile_is_told(reader: Agent, api: Api, own_server: Server):
    api.create_topic("orders")
    follow(reader, "/v1/live?topic=orders")
    api.publish("orders", "seen")
    eventually(lambda: values(reader) == ["seen"])
    address = own_server.http
    own_server.kill()
    # At another address meanwhile, so that the reader cannot be there first.
    own_server.http = "127.0.0.1:0"
    own_server.start()
    with Api(own_server.http or "") as elsewhere:
        elsewhere.publish("orders", "gone", "gone too", "kept")
        elsewhere.call("DELETE", "/v1/topics/orders/partitions/0/records", params={"before": 3})
    own_server.stop()
    own_server.http = address
    own_server.start()
    eventually(lambda: values(reader) == ["seen", "kept"], 30, why=lambda: reader("state", member="m"))
    lost = {"topic": "orders", "partition": 0, "from": 1, "to": 3, "reason": "retention"}
    assert named(reader, "lost") == [lost]


def test_an_orderly_end_is_told(reader: Agent, api: Api, own_server: Server):
    api.create_topic("orders")
    follow(reader, "/v1/live?topic=orders")
    socket = Socket(reader)
    own_server.stop()
    eventually(lambda: named(reader, "end"), why=lambda: reader("state", member="m"))
    assert named(reader, "end")[0]["code"] == "shutting-down"
    eventually(lambda: socket.state()["closed"], why=socket.state)
    assert socket.state()["closed"]["code"] == 1001


def test_a_socket_publishes_follows_and_works(reader: Agent, api: Api):
    api.create_topic("orders")
    api.create_queue("mail", "orders")
    socket = Socket(reader)
    socket.send(type="subscribe", id=1, subscription="live", topics=["orders"], credit=2)
    socket.send(type="consume", id=2, subscription="work", queue="mail", credit=10)
    assert socket.answer(1)["type"] == "subscribed" and socket.answer(2)["type"] == "consuming"
    records = [{"key": "größe", "value": f"\U0001f600 {n}"} for n in range(3)]
    socket.send(type="publish", id="p", topic="orders", records=records)
    assert [place["offset"] for place in socket.answer("p")["records"]] == [0, 1, 2]
    eventually(lambda: len(socket.of_type("message")) == 3, why=socket.state)
    assert len(socket.of_type("record")) == 2
    socket.send(type="credit", subscription="live", credit=1)
    eventually(lambda: len(socket.of_type("record")) == 3, why=socket.state)
    told = [frame["record"] for frame in socket.of_type("record")]
    assert told == api.read_all("orders")
    messages = [frame["message"] for frame in socket.of_type("message")]
    socket.send(type="ack", id="a", queue="mail", receipts=[message["receipt"] for message in messages])
    assert socket.answer("a")["results"] == [{"ok": True}] * 3
    assert api.open("mail") == 0
    socket.send(type="nonsense", id="n")
    assert socket.answer("n")["problem"]["code"] == "bad-json"
    socket.send(type="ping", id="still there")
    assert socket.answer("still there")["type"] == "pong"


def test_what_a_killed_worker_held_comes_back_at_once(reader: Agent, api: Api):
    api.create_topic("orders")
    api.create_queue("mail", "orders")
    socket = Socket(reader)
    hour = 3_600_000
    socket.send(type="consume", id=1, subscription="work", queue="mail", credit=10, visibility_ms=hour)
    socket.answer(1)
    api.publish("orders", "one", "two")
    eventually(lambda: len(socket.of_type("message")) == 2, why=socket.state)
    assert api.receive("mail", 10) == []
    if reader.name == "browser":
        reader("visit", origin="http://localhost")
    else:
        reader.kill()
    again = api.receive("mail", 10, wait_ms=10_000)
    assert again and api.queue("mail")["depth"]["leased"] == 2


def test_a_socket_goes_on_from_its_position_after_a_kill(reader: Agent, api: Api, own_server: Server):
    api.create_topic("orders", partitions=2)
    socket = Socket(reader, "before")
    socket.send(type="subscribe", id=1, subscription="live", topics=["orders"])
    position = socket.answer(1)["position"]
    api.publish("orders", *({"value": str(n), "partition": n % 2} for n in range(10)))
    eventually(lambda: len(socket.of_type("record")) == 10, why=socket.state)
    seen = [frame["record"]["value"] for frame in socket.of_type("record")]
    position = socket.of_type("record")[-1]["position"]
    own_server.kill()
    eventually(lambda: socket.state()["closed"], why=socket.state)
    own_server.start()
    api.publish("orders", *({"value": str(n), "partition": n % 2} for n in range(10, 20)))
    socket = Socket(reader, "after")
    socket.send(type="subscribe", id=1, subscription="live", topics=["orders"], position=position)
    eventually(lambda: len(socket.of_type("record")) == 10, why=socket.state)
    seen += [frame["record"]["value"] for frame in socket.of_type("record")]
    assert sorted(seen, key=int) == [str(n) for n in range(20)]


def test_a_foreign_page_gets_no_feed_and_no_socket(own_server: Server, agents, api: Api):
    api.create_topic("orders")
    page = agents.another("browser", own_server.http)
    page("visit", origin="http://foreign.test")
    page("follow", member="m", path="/v1/live?topic=orders&from=earliest", events=["subscribed"])
    page("connect", member="s", path="/v1/ws")
    api.publish("orders", "secret")
    eventually(lambda: page("state", member="m")["errors"] and page("state", member="s")["closed"])
    feed, socket = page("state", member="m"), page("state", member="s")
    assert (feed["received"], socket["received"], socket["opened"]) == ([], [], 0)
    assert socket["closed"]["code"] == 1006
