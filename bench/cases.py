"""What is measured. A case runs once on one broker and returns its figures by name."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from brokers import Broker
from clients import RECORD_BYTES, Clients

Figures = dict[str, float]

RATE = "records/s"
CPU = "server CPU s/GB"
PEAK = "server RSS peak, MB"
P50, P99 = "p50 ms", "p99 ms"

LATENCY_RATE = 10_000
T = TypeVar("T")
names = (f"bench-{n}" for n in itertools.count())


@dataclass(frozen=True)
class Sizes:
    """How much a run does: enough for steady figures in some minutes, or just enough to see that it works."""

    large: int
    small: int
    latency_seconds: int
    spread: int
    partitions: int
    rounds: int
    recovery: int


FULL = Sizes(large=2_000_000, small=450_000, latency_seconds=10, spread=1_000_000, partitions=10_000, rounds=3, recovery=5_000_000)
QUICK = Sizes(large=100_000, small=20_000, latency_seconds=3, spread=50_000, partitions=500, rounds=1, recovery=200_000)


Run = Callable[[Broker, Clients, Sizes], Figures]


@dataclass(frozen=True)
class Case:
    name: str
    run: Run
    # What Millstream wants to reach beside Kafka: figure to factor.
    aims: dict[str, float]


def measured(broker: Broker, records: int, rate_of: Callable[[], float]) -> Figures:
    """The rate of a run, with the server's CPU time until it has settled, and its peak of memory."""
    os.sync()
    broker.forget_peak()
    before = broker.cpu_seconds()
    rate = rate_of()
    broker.settle()
    cpu = (broker.cpu_seconds() - before) / (records * RECORD_BYTES / 1e9)
    return {RATE: rate, CPU: cpu, PEAK: broker.resident_bytes(peak=True) / 1e6}


def on_new_topic(
    broker: Broker, clients: Clients, promise: str, work: Callable[[str], T], partitions: int = 1
) -> T:
    topic = next(names)
    clients.create_topic(broker.address, topic, partitions, broker.promises[promise])
    try:
        return work(topic)
    finally:
        clients.delete_topic(broker.address, topic)


def large_batches(promise: str) -> Run:
    def run(broker: Broker, clients: Clients, sizes: Sizes) -> Figures:
        def work(topic: str) -> Figures:
            produce = partial(clients.produce_large_batches, broker.address, topic, sizes.large)
            return measured(broker, sizes.large, produce)

        return on_new_topic(broker, clients, promise, work)

    return run


def small_batches(promise: str) -> Run:
    def run(broker: Broker, clients: Clients, sizes: Sizes) -> Figures:
        def work(topic: str) -> Figures:
            produce = partial(clients.produce_small_batches, broker.address, topic, sizes.small)
            return measured(broker, sizes.small, produce)

        return on_new_topic(broker, clients, promise, work)

    return run


def latency(broker: Broker, clients: Clients, sizes: Sizes) -> Figures:
    def work(topic: str) -> Figures:
        half, most = clients.produce_latency(broker.address, topic, LATENCY_RATE * sizes.latency_seconds, LATENCY_RATE)
        return {P50: half, P99: most}

    return on_new_topic(broker, clients, "fsync", work)


def end_to_end(broker: Broker, clients: Clients, sizes: Sizes) -> Figures:
    def work(topic: str) -> Figures:
        half, most = clients.end_to_end_latency(broker.address, topic, LATENCY_RATE, sizes.latency_seconds)
        return {P50: half, P99: most}

    return on_new_topic(broker, clients, "fsync", work)


def consume(broker: Broker, clients: Clients, sizes: Sizes) -> Figures:
    """What was written just before, read back twice: the second time nothing is new to the server."""
    records = min(sizes.large, 2**30 // RECORD_BYTES)

    def work(topic: str) -> Figures:
        clients.produce_large_batches(broker.address, topic, records)
        broker.settle()
        clients.consume(broker.address, topic, records)
        return measured(broker, records, partial(clients.consume, broker.address, topic, records))

    return on_new_topic(broker, clients, "page cache", work)


def spread(broker: Broker, clients: Clients, sizes: Sizes) -> Figures:
    def work(topic: str) -> Figures:
        # The first run finds out where the partitions are, and opens what the server opens for each.
        clients.produce_spread(broker.address, topic, max(sizes.spread // 10, sizes.partitions))
        return measured(broker, sizes.spread, partial(clients.produce_spread, broker.address, topic, sizes.spread))

    return on_new_topic(broker, clients, "page cache", work, sizes.partitions)


# Of the others less is better.
HIGHER_IS_BETTER = {RATE}
CASES = [
    Case("produce, 1 MB batches, fsync before each ack", large_batches("fsync"), {RATE: 3}),
    Case("produce, 1 MB batches, page cache", large_batches("page cache"), {RATE: 3, CPU: 0.25}),
    Case("produce, 16 KB batches, fsync before each ack", small_batches("fsync"), {RATE: 3, CPU: 0.5}),
    Case("produce, 16 KB batches, page cache", small_batches("page cache"), {CPU: 0.5}),
    Case("ack latency at 10,000/s, fsync", latency, {P99: 0.5}),
    Case("end-to-end latency at 10,000/s, fsync", end_to_end, {P99: 0.5}),
    Case("consume 1 GiB", consume, {RATE: 1}),
    Case("produce over 10,000 partitions, page cache", spread, {RATE: 2}),
]


def warm_up(broker: Broker, clients: Clients, sizes: Sizes) -> None:
    """What a JVM needs to compile and both servers to allocate."""

    def work(topic: str) -> None:
        clients.produce_large_batches(broker.address, topic, sizes.large // 2)
        clients.produce_small_batches(broker.address, topic, sizes.small // 2)

    for promise in broker.promises:
        on_new_topic(broker, clients, promise, work)
    broker.settle()
