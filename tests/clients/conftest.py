"""What every client test shares: a broker, the agents, and names that no other test uses.

The broker is the one that MILLSTREAM_TEST_BOOTSTRAP names, else a Millstream of its own on a fresh directory. The
process that pytest was started as starts it, and the workers of pytest-xdist inherit the address.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from agent import Agent, AgentError  # noqa: E402
from http_api import Api  # noqa: E402
from server import Server  # noqa: E402
from specs import BY_NAME, CACHE  # noqa: E402

BOOTSTRAP = "MILLSTREAM_TEST_BOOTSTRAP"
HTTP = "MILLSTREAM_TEST_HTTP"
FOREIGN = "MILLSTREAM_TEST_FOREIGN"
DEFAULT_PARTITIONS = 4
# Groups of one or two members need not wait for more.
SETTINGS = ("--group-initial-rebalance-delay-ms", "0")
# UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER: what a new topic may answer at first.
NOT_YET = {3, 5, 6}

LOGS = CACHE / "clients/logs"


def pytest_configure(config: pytest.Config) -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    if BOOTSTRAP in os.environ:
        os.environ[FOREIGN] = "1"
        return
    directory = tempfile.TemporaryDirectory(prefix="millstream-clients-")
    server = Server(Path(directory.name), DEFAULT_PARTITIONS, SETTINGS)
    os.environ[BOOTSTRAP] = server.start()
    os.environ[HTTP] = server.http or ""

    def end() -> None:
        server.stop()
        (LOGS / "server.log").write_bytes(server.log.read_bytes())
        directory.cleanup()

    config.add_cleanup(end)


@pytest.fixture(scope="session")
def bootstrap() -> str:
    return os.environ[BOOTSTRAP]


@pytest.fixture(scope="session")
def http_address() -> str:
    if not (address := os.environ.get(HTTP)):
        pytest.skip("the broker under test has no HTTP API of Millstream's")
    return address


@pytest.fixture(scope="session")
def api(http_address: str) -> Iterator[Api]:
    with Api(http_address) as api:
        yield api


class Agents:
    """Starts agents; those that tests share stay until the session ends, the others until their test does."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.shared: dict[str, Agent] = {}
        self.own: list[Agent] = []

    def __call__(self, name: str) -> Agent:
        if name not in self.shared or not self.shared[name].alive:
            self.shared[name] = self.start(name, self.bootstrap)
        return self.shared[name]

    def another(self, name: str, bootstrap: str | None = None) -> Agent:
        """One that only the running test uses, and may kill."""
        agent = self.start(name, bootstrap or self.bootstrap)
        self.own.append(agent)
        return agent

    @staticmethod
    def start(name: str, bootstrap: str) -> Agent:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        return Agent(BY_NAME[name], bootstrap, LOGS / f"{name}-{worker}.log")

    def end(self, agents: list[Agent]) -> None:
        for agent in agents:
            agent.kill()
        agents.clear()


@pytest.fixture(scope="session")
def all_agents(bootstrap: str) -> Iterator[Agents]:
    agents = Agents(bootstrap)
    yield agents
    agents.end(list(agents.shared.values()))


@pytest.fixture
def agents(all_agents: Agents) -> Iterator[Agents]:
    yield all_agents
    all_agents.end(all_agents.own)


@pytest.fixture
def client(request: pytest.FixtureRequest, agents: Agents) -> Agent:
    """The client under test; see `specs.clients`."""
    return agents(request.param)


@pytest.fixture
def new_name() -> Callable[[str], str]:
    return lambda kind: f"{kind}-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def topic(agents: Agents, new_name: Callable[[str], str]) -> Callable[..., str]:
    """Makes a topic, by the client that every test trusts with it, and waits until it can be used."""

    def make(partitions: int = 1, **configs: str) -> str:
        name = new_name("topic")
        maker = agents("confluent")
        # Tests write records with timestamps of years ago, which retention by time would be right to delete.
        kept = {"retention.ms": "-1"}
        settings = kept | {key.replace("_", "."): value for key, value in configs.items()}
        maker("create_topic", topic=name, partitions=partitions, configs=settings)
        # Apache Kafka answers before it has made the partitions.
        eventually(lambda: len(maker("list_offsets", topic=name, at="latest")) == partitions)
        return name

    return make


@pytest.fixture
def group(new_name: Callable[[str], str]) -> str:
    return new_name("group")


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A Millstream of the test's own, to be killed."""
    if FOREIGN in os.environ:
        pytest.skip("the broker under test is not this suite's to kill")
    server = Server(tmp_path, DEFAULT_PARTITIONS, SETTINGS)
    server.start()
    yield server
    server.kill()


def eventually(holds: Callable[[], Any], seconds: float = 20, why: Callable[[], Any] | None = None) -> Any:
    """Waits until `holds()` is true, and returns what it is then; `why()` is shown when it never is."""
    deadline = time.monotonic() + seconds
    while True:
        failure: Exception | None = None
        try:
            if found := holds():
                return found
        except AgentError as refused:
            if refused.code not in NOT_YET:
                raise
            failure = refused
        if time.monotonic() > deadline:
            if failure:
                raise failure
            raise AssertionError(f"still not so after {seconds} s: {why() if why else holds}")
        time.sleep(0.05)
