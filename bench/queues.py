"""A queue over HTTP: send, receive and acknowledge, by one closed-loop client with 16 connections and batches of 10.

Millstream with a memory topic and with an fsynced one, and ElasticMQ in memory, in alternating rounds on one machine. Both
servers live for the whole time; while one is asked, the other is stopped (SIGSTOP), since an idle ElasticMQ takes a sixth of
a core. Prints Markdown: medians, and ratios to ElasticMQ.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import report

ELASTICMQ_ADDRESS = "127.0.0.1:9324"
LISTENING = re.compile(r"http listening on (127\.0\.0\.1:\d+)")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
START_SECONDS_MAX = 60
# A Java server gets faster for a while.
WARM_UP_SECONDS = 20
ROUND_WARM_UP_SECONDS = 5
AIMS = {"millstream, memory topic": 10, "millstream, fsynced topic": 5}


@dataclass
class Contender:
    name: str
    protocol: str
    address: str
    queue: str
    process: subprocess.Popen[bytes]
    rates: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/queues", description=__doc__)
    for hidden in ("--millstream", "--elasticmq", "--load", "--scratch"):
        parser.add_argument(hidden, type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--seconds", type=int, default=15, help="counted seconds of a round (default: 15)")
    return parser.parse_args()


def start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def start_millstream(binary: Path, directory: Path) -> tuple[subprocess.Popen[bytes], str]:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    command = [str(binary), "serve", "--data-dir", str(directory / "data")]
    process = start([*command, "--kafka-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"], directory / "server.log")
    found = awaited(lambda: LISTENING.search(ANSI.sub("", (directory / "server.log").read_text())), "millstream")
    return process, found[1]


def start_elasticmq(jars: Path, directory: Path) -> subprocess.Popen[bytes]:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    command = ["java", "-Xmx1g", "-cp", f"{jars}/*", "org.elasticmq.server.Main"]
    process = start(command, directory / "server.log")
    awaited(lambda: "started in" in (directory / "server.log").read_text(), "ElasticMQ")
    return process


def awaited(holds, who: str):
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{who} did not start")


def make_queue(address: str, name: str, durability: str) -> None:
    topic = {"name": name, "partitions": 1, "settings": {"millstream.durability": durability, "retention.ms": "60000"}}
    post(address, "/v1/topics", topic)
    post(address, "/v1/queues", {"name": name, "topic": name})


def post(address: str, path: str, body: object) -> None:
    request = urllib.request.Request(
        f"http://{address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    urllib.request.urlopen(request).close()


def main() -> None:
    options = arguments()
    servers: list[subprocess.Popen[bytes]] = []
    try:
        process, address = start_millstream(options.millstream, options.scratch / "queues-millstream")
        servers.append(process)
        elasticmq = start_elasticmq(options.elasticmq, options.scratch / "queues-elasticmq")
        servers.append(elasticmq)
        make_queue(address, "memory", "memory")
        make_queue(address, "fsync", "fsync")
        contenders = [
            Contender("millstream, memory topic", "millstream", address, "memory", process),
            Contender("millstream, fsynced topic", "millstream", address, "fsync", process),
            Contender("elasticmq, in memory", "sqs", ELASTICMQ_ADDRESS, "load", elasticmq),
        ]
        for server in servers:
            server.send_signal(signal.SIGSTOP)
        for contender in contenders:
            load(contender, options, WARM_UP_SECONDS)
        for number in range(options.rounds):
            for contender in contenders if number % 2 == 0 else reversed(contenders):
                measure(contender, options)
    finally:
        for server in servers:
            server.kill()
            server.wait()
        for name in ("queues-millstream", "queues-elasticmq"):
            shutil.rmtree(options.scratch / name, ignore_errors=True)
    show(contenders)


def load(contender: Contender, options: argparse.Namespace, seconds: int) -> dict[str, float]:
    host, port = contender.address.split(":")
    command = [options.load, contender.protocol, host, port, contender.queue, ROUND_WARM_UP_SECONDS, seconds]
    contender.process.send_signal(signal.SIGCONT)
    done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True)
    contender.process.send_signal(signal.SIGSTOP)
    return json.loads(done.stdout)


def measure(contender: Contender, options: argparse.Namespace) -> None:
    figures = load(contender, options, options.seconds)
    contender.rates.append(figures["messages_per_second"])
    contender.p99s.append(figures["round_p99_ms"])
    print(f"{contender.name}: {figures}", file=sys.stderr, flush=True)


def show(contenders: list[Contender]) -> None:
    machine = report.machine()
    print(", ".join(f"{key}: {value}" for key, value in machine.items()), end="\n\n")
    base = statistics.median(contenders[-1].rates)
    print("| | messages/s | to ElasticMQ | aim | p99 of a round, ms |\n| --- | ---: | ---: | ---: | ---: |")
    for contender in contenders:
        rate = statistics.median(contender.rates)
        aim = f"≥ {AIMS[contender.name]}" if contender.name in AIMS else ""
        print(f"| {contender.name} | {rate:,.0f} | {rate / base:.2f} | {aim} | {statistics.median(contender.p99s):.1f} |")


if __name__ == "__main__":
    main()
