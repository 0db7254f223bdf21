"""Millstream beside Apache Kafka on one machine: the same clients, alternating rounds, medians, ratios.

Both servers run for the whole time, on directories of their own; only one is asked at a time, and the next run waits
until the last one's server is idle. Prints Markdown; writes every round to result.json in the scratch directory.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import alone
import report
from brokers import Broker, Kafka, Millstream
from cases import CASES, FULL, QUICK, Sizes, warm_up
from clients import ClientFailed, Clients


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    for hidden in ("--millstream", "--journal", "--kafka", "--rdkafka", "--scratch"):
        parser.add_argument(hidden, type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works, measures nothing")
    parser.add_argument("--rounds", type=int, help="rounds (default: 3)")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--without-kafka", action="store_true", help="Millstream alone")
    parser.add_argument("--minutes", type=float, default=25, help="after this time each case has one round only (default: 25)")
    return parser.parse_args()


def compare(
    brokers: list[Broker], clients: Clients, sizes: Sizes, rounds: int, only: str, seconds_max: float
) -> report.Results:
    cases = [case for case in CASES if only in case.name]
    results: report.Results = {}
    started = time.monotonic()
    for broker in brokers:
        say(f"{broker.name}: warm-up")
        warm_up(broker, clients, sizes)
    for case in cases:
        for number in range(rounds):
            if number and time.monotonic() - started > seconds_max:
                say(f"{case.name}: time is up after round {number}")
                break
            # Who comes second finds the disk and the host as the first one left them: take turns.
            for broker in brokers if number % 2 == 0 else reversed(brokers):
                try:
                    figures = case.run(broker, clients, sizes)
                except ClientFailed as failure:
                    say(f"{broker.name}: {case.name}: {failure}")
                    continue
                say(f"{broker.name}, round {number + 1}: {case.name}: {figures}")
                results.setdefault(case.name, {}).setdefault(broker.name, []).append(figures)
    return results


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    options = arguments()
    sizes = QUICK if options.quick else FULL
    clients = Clients(options.rdkafka, options.kafka, options.millstream)
    millstream = Millstream(options.scratch / "millstream", options.millstream)
    brokers: list[Broker] = [millstream]
    if not options.without_kafka:
        brokers.append(Kafka(options.scratch / "kafka", options.kafka))

    figures: dict[str, float] = {}
    aims: alone.Aims = {}
    try:
        if not options.only:
            seconds = alone.JOURNAL_SECONDS["quick" if options.quick else "full"]
            for measure in (
                lambda: alone.journal(options.journal, options.scratch, seconds),
                lambda: alone.start_and_idle(millstream),
                lambda: alone.recovery(millstream, clients, sizes),
            ):
                found, wanted = measure()
                say(f"millstream alone: {found}")
                figures |= found
                aims |= wanted
        for broker in brokers:
            broker.wipe()
            broker.start()
        results = compare(
            brokers, clients, sizes, options.rounds or sizes.rounds, options.only, options.minutes * 60
        )
    finally:
        for broker in brokers:
            broker.stop()
            broker.wipe()

    machine = report.machine()
    report.write(options.scratch / "result.json", machine=machine, alone=figures, rounds=results)
    print(", ".join(f"{key}: {value}" for key, value in machine.items()), end="\n\n")
    print(report.table(results), end="\n\n")
    print(report.alone_table(figures, aims))


if __name__ == "__main__":
    main()
