"""The HTTP API as pages in a browser have it: Chromium decides what a page may do, the server whose pages those are."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from agent import AgentError
from conftest import SETTINGS
from server import Server


@pytest.fixture
def browser(own_server: Server, agents):
    return agents.another("browser", own_server.http)


def publish(page, topic: str, value: str) -> dict:
    return page(
        "request",
        method="POST",
        path=f"/v1/topics/{topic}/records",
        headers={"content-type": "application/json"},
        body=json.dumps({"value": value}),
    )


def put(page, topic: str) -> dict:
    return page("request", method="PUT", path=f"/v1/topics/{topic}")


def test_a_page_of_this_machine_may_use_the_api(browser):
    browser("visit", origin="http://localhost")
    assert put(browser, "orders")["status"] == 201
    answer = publish(browser, "orders", "from a page")
    assert (answer["status"], json.loads(answer["body"])["topic"]) == (200, "orders")
    read = browser("request", method="GET", path="/v1/topics/orders/partitions/0/records")
    assert read["status"] == 200


def test_a_foreign_page_may_not(browser):
    """The browser shows such a page nothing, not even why; and the server has done nothing for it."""
    browser("visit", origin="http://foreign.test")
    for ask in (put, lambda page, topic: page("request", method="GET", path=f"/v1/topics/{topic}")):
        with pytest.raises(AgentError, match="Failed to fetch"):
            ask(browser, "orders")
    # What browsers send without asking first.
    with pytest.raises(AgentError, match="Failed to fetch"):
        browser("request", method="POST", path="/v1/topics", headers={"content-type": "text/plain"}, body='{"name": "orders"}')
    browser("visit", origin="http://localhost")
    assert browser("request", method="GET", path="/v1/topics/orders")["status"] == 404


def test_a_name_that_was_made_to_resolve_here_is_refused(browser, own_server: Server):
    """DNS rebinding: to the browser, page and server are of one site."""
    port = (own_server.http or "").split(":")[1]
    told = browser("page", url=f"http://rebound.test:{port}/healthz")
    assert told["status"] == 403 and "foreign-host" in told["text"]


@pytest.fixture
def open_server(own_server: Server) -> Iterator[Server]:
    own_server.kill()
    server = Server(own_server.directory / "open", 4, (*SETTINGS, "--http-allowed-origins", "http://friend.test:1,*"))
    server.start()
    yield server
    server.kill()


def test_a_page_that_is_allowed_may(open_server: Server, agents):
    page = agents.another("browser", open_server.http)
    page("visit", origin="http://friend.test")
    assert put(page, "orders")["status"] == 201
    assert publish(page, "orders", "from a friend")["status"] == 200


def test_the_description_can_be_browsed_without_a_network(browser, own_server: Server):
    url = f"http://{own_server.http}/docs"
    shown = browser("page", url=url)
    assert shown["status"] == 200 and shown["errors"] == []
    assert all(asked.startswith(f"http://{own_server.http}/") for asked in shown["asked"]), shown["asked"]
    for word in ("/v1/topics", "/v1/topics/{topic}/records", "Publish"):
        assert word in shown["text"], shown["text"][:2000]
