"""Live feeds: one publisher to a thousand readers of Server-Sent Events, on sockets of one machine.

As fast as the readers follow, and at a rate of half the aim, in alternating rounds; records with values of 200 bytes on a
memory topic. The readers, one thread, share the processors with the server. Prints Markdown: medians.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import report
from queues import post, start_millstream

RATE_AIM = 200_000
P99_MS_AIM = 50
TICKS = os.sysconf("SC_CLK_TCK")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/live", description=__doc__)
    for hidden in ("--millstream", "--load", "--scratch"):
        parser.add_argument(hidden, type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--seconds", type=int, default=10, help="counted seconds of a round (default: 10)")
    parser.add_argument("--readers", type=int, default=1_000, help="readers (default: 1000)")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    directory = options.scratch / "live-millstream"
    process, address = start_millstream(options.millstream, directory)
    half = RATE_AIM // 2 // options.readers
    rounds: dict[int, list[dict[str, Any]]] = {0: [], half: []}
    try:
        settings = {"millstream.durability": "memory", "retention.ms": "60000"}
        post(address, "/v1/topics", {"name": "live", "partitions": 1, "settings": settings})
        for _ in range(options.rounds):
            for rate, figures in rounds.items():
                figures.append(measure(process.pid, address, rate, options))
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)
    show(rounds, options)


def measure(server: int, address: str, rate: int, options: argparse.Namespace) -> dict[str, Any]:
    host, port = address.split(":")
    command = [options.load, host, port, "live", options.readers, options.seconds, rate, 200]
    before = cpu_seconds(server)
    done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True)
    figures = json.loads(done.stdout)
    # Beside the counted seconds there is one to warm up.
    figures["server_cpu"] = (cpu_seconds(server) - before) / (options.seconds + 1)
    figures["server_mb"] = peak_mb(server)
    print(f"{rate or 'any'} records/s: {figures}", file=sys.stderr, flush=True)
    return figures


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mb(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024


def show(rounds: dict[int, list[dict[str, Any]]], options: argparse.Namespace) -> None:
    print(", ".join(f"{key}: {value}" for key, value in report.machine().items()), end="\n\n")
    print(f"| to {options.readers:,} readers | deliveries/s | p50, ms | p99, ms | p99.9, ms | server CPU | readers' CPU | peak, MB | aim |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for rate, figures in rounds.items():

        def median(name: str) -> float:
            return statistics.median(one[name] for one in figures)

        what = f"{rate} records/s" if rate else "as fast as they follow"
        aim = f"p99 < {P99_MS_AIM} ms" if rate else f"≥ {RATE_AIM:,}/s"
        late = " | ".join(f"{median(name):.1f}" for name in ("p50_ms", "p99_ms", "p999_ms"))
        cpu = f"{median('server_cpu'):.2f} | {median('load_cpu'):.2f}"
        print(f"| {what} | {median('deliveries_per_second'):,.0f} | {late} | {cpu} | {median('server_mb')} | {aim} |")


if __name__ == "__main__":
    main()
