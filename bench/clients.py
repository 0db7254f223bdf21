"""The client programs that drive the servers, and the figure that each of them prints."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

RECORD_BYTES = 1024
CLIENT_SECONDS_MAX = 600
# Kafka's controller refuses requests that make ten thousand at once.
PARTITIONS_AT_ONCE = 2000

RDKAFKA_RATE = re.compile(r"in (\d+)ms: (\d+) msgs/s")
PERF_RATE = re.compile(r"steady state records sent, ([\d.]+) records/sec")
PERF_LATENCY = re.compile(r"(\d+) ms 50th, (\d+) ms 95th, (\d+) ms 99th", re.MULTILINE)


class ClientFailed(Exception):
    """A client program did not do what was asked; the message is the end of its output."""


@dataclass(frozen=True)
class Clients:
    rdkafka: Path
    kafka_tools: Path
    millstream: Path

    def create_topic(self, address: str, topic: str, partitions: int, settings: list[str]) -> None:
        # Kafka's own tool refuses settings that Kafka does not know, before it asks the server.
        words = [word for setting in settings for word in ("--set", setting)]
        at_once = min(partitions, PARTITIONS_AT_ONCE)
        create = [self.millstream, "topic", "create", "--server", address, "--partitions", str(at_once)]
        run([*create, *words, topic])
        for count in range(2 * at_once, partitions + 1, at_once):
            run([self.millstream, "topic", "alter", "--server", address, "--partitions", str(count), topic])

    def delete_topic(self, address: str, topic: str) -> None:
        run([self.millstream, "topic", "delete", "--server", address, "--yes", topic])

    def end_offsets(self, address: str, topic: str) -> int:
        listed = self.tool("kafka-get-offsets", address, "--topic", topic)
        return sum(int(line.rsplit(":", 1)[1]) for line in listed.split())

    def produce_large_batches(self, address: str, topic: str, records: int) -> float:
        """librdkafka with batches of about 1 MB; records a second."""
        return self.rdkafka_rate(
            "-P", "-t", topic, "-p", "0", "-s", str(RECORD_BYTES), "-c", str(records), "-b", address, "-a", "-1",
            "-X", "linger.ms=5", "-X", "batch.size=1000000",
        )  # fmt: skip

    def produce_spread(self, address: str, topic: str, records: int) -> float:
        """librdkafka over all partitions at random, with time for batches to fill; records a second."""
        return self.rdkafka_rate(
            "-P", "-t", topic, "-s", str(RECORD_BYTES), "-c", str(records), "-b", address, "-a", "-1",
            "-X", "linger.ms=100",
        )  # fmt: skip

    def consume(self, address: str, topic: str, records: int) -> float:
        """librdkafka from the start of partition 0; records a second."""
        return self.rdkafka_rate("-C", "-t", topic, "-p", "0", "-o", "beginning", "-c", str(records), "-b", address)

    def rdkafka_rate(self, *arguments: str) -> float:
        output = run([self.rdkafka, "-q", *arguments])
        rates = RDKAFKA_RATE.findall(output)
        failed = re.search(r"(\d+) failed\)", output)
        if not rates or (failed and failed[1] != "0"):
            raise ClientFailed(output[-2000:])
        return float(rates[-1][1])

    def produce_small_batches(self, address: str, topic: str, records: int) -> float:
        """Kafka's own benchmark with the Java client's default batches of 16 KB; records a second."""
        output = self.perf_test(address, topic, records, rate=-1, warm_up=records // 3)
        return float(PERF_RATE.findall(steady(output))[-1])

    def produce_latency(self, address: str, topic: str, records: int, rate: int) -> tuple[float, float]:
        """Milliseconds until the acknowledgement at a given rate: median and 99th percentile."""
        warm_up = records // 2
        output = self.perf_test(address, topic, warm_up + records, rate, warm_up)
        half, _, most = PERF_LATENCY.findall(steady(output))[-1]
        return float(half), float(most)

    def perf_test(self, address: str, topic: str, records: int, rate: int, warm_up: int) -> str:
        """The first `warm_up` records are sent, and counted apart: they would show how the client's JVM compiles it."""
        return run(
            [
                self.kafka_tools / "bin/kafka-producer-perf-test.sh", "--topic", topic, "--num-records", str(records),
                "--warmup-records", str(warm_up), "--record-size", str(RECORD_BYTES), "--throughput", str(rate),
                "--bootstrap-server", address, "--command-property", "acks=all",
            ],
            KAFKA_HEAP_OPTS="-Xmx512M",
        )  # fmt: skip

    def end_to_end_latency(self, address: str, topic: str, rate: int, seconds: int) -> tuple[float, float]:
        """Milliseconds from the producer's send to the consumer's receipt: median and 99th percentile."""
        output = run(
            [
                self.millstream, "bench", "latency", "--server", address, "--topic", topic, "--rate", str(rate),
                "--duration", f"{seconds}s", "--size", str(RECORD_BYTES), "--json",
            ]
        )  # fmt: skip
        times = json.loads(output[output.index("{") :])["times"]
        return times["p50_ms"], times["p99_ms"]

    def tool(self, name: str, address: str, *arguments: str) -> str:
        return run([self.kafka_tools / f"bin/{name}.sh", "--bootstrap-server", address, *arguments])


def steady(output: str) -> str:
    """What kafka-producer-perf-test says of the records after its warm-up."""
    return output[output.index("steady state records sent") :]


def run(command: list[str | Path], **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=CLIENT_SECONDS_MAX,
    )
    if done.returncode != 0:
        raise ClientFailed(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout
