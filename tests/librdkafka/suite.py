"""Runs librdkafka's test program one test number at a time and tabulates what passed.

The program's quick mode (-Q) leaves out whole subtests, of some tests all of them: `all` runs without it.

Tests that need no broker, emulated sockets (`sockem`) or a person are never run: they say nothing about a server.
`excluded.tsv` names the others that are left out, and why; `fast.txt` the ones that the fast lane takes; `parts.txt`
the parts of tests that would otherwise end at a part that is left out.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))

from server import server_for_suite  # noqa: E402  (the path above makes it importable)

# What the tests of partitioning count on.
DEFAULT_PARTITIONS = 4
# The version that the program takes the broker for: from 4.0 on it leaves out what Kafka itself dropped there.
BROKER_VERSION = "4.2.0"
# Beyond librdkafka's own limits, which end a test long before this.
TEST_SECONDS_MAX = 1200

# Tests that end with a part that is left out: a server has passed what it can when the part fails at its first step.
EXEMPT_ENDINGS = {
    "0055_producer_latency": ("rd_kafka_init_transactions", "its transactional part"),
    "0061_consumer_lag": ("init_transactions() failed", "its transactional half"),
    # Its resource 3 is a setting of KIP-848's groups; the first failure is told, so those before it were right.
    "0081_admin do_test_IncrementalAlterConfigs": ("ConfigResource #3", "a setting of KIP-848"),
    "0109_auto_create_topics": ("kafka-acls.sh", "its ACL half"),
    "0137_barrier_batch_consume": ("rd_kafka_init_transactions", "its transactional part"),
}

# These take from one minute to ten, and are begun first, so that nothing waits for them alone.
LONGEST = ("0113", "0077", "0089", "0081", "0091", "0033", "0026", "0102", "0137")

TEST_ENTRY = re.compile(r"_TEST\((\w+),(.*?)\)[,;]?\n(?=    _TEST|#|\n)", re.DOTALL)
SCENARIO = re.compile(r'\.scenario = "([^"]+)"')
# Kafka's default: tests that start two consumers count on finding both in the group's first generation.
KAFKA_REBALANCE_DELAY = ("--group-initial-rebalance-delay-ms", "3000")
# How a broker must be set up for the program's tests, and the flags that set up a Millstream so.
SCENARIOS = {
    "default": KAFKA_REBALANCE_DELAY,
    # The tests of this scenario also ask for three replicas.
    "noautocreate": (*KAFKA_REBALANCE_DELAY, "--auto-create-topics", "false", "--any-replication-factor", "true"),
}


@dataclass(frozen=True)
class Test:
    """One entry of the program's table: several may share a number."""

    name: str
    flags: str

    @property
    def number(self) -> str:
        return self.name[:4]

    @property
    def asks_a_broker(self) -> bool:
        return not re.search("TEST_F_(LOCAL|SOCKEM|MANUAL)", self.flags)

    def belongs_to(self, scenario: str) -> bool:
        named = SCENARIO.search(self.flags)
        return scenario in (named[1].split(",") if named else ["default"])


@dataclass
class Outcome:
    name: str
    state: str
    seconds: float = 0.0
    note: str = ""
    part: str = ""

    @property
    def title(self) -> str:
        return f"{self.name} {self.part}".rstrip()


def table_of_tests(tree: Path) -> list[Test]:
    source = (tree / "tests/test.c").read_text()
    table = source[source.index("struct test tests[] = {") :]
    table = table[: table.index("{NULL}};")]
    return [Test(name, flags.strip()) for name, flags in TEST_ENTRY.findall(table)]


def read_excluded() -> dict[str, str]:
    """Test name, or number for all tests of that number, to the reason."""
    reasons = {}
    for line in (HERE / "excluded.tsv").read_text().splitlines():
        if line and not line.startswith("#"):
            name, reason = line.split("\t", 1)
            reasons[name] = reason
    return reasons


def read_fast() -> list[str]:
    lines = (HERE / "fast.txt").read_text().splitlines()
    return [line.split()[0] for line in lines if line and not line.startswith("#")]


def read_parts() -> dict[str, list[str]]:
    """Test name to the subtests that are run one by one instead of the whole test."""
    parts: dict[str, list[str]] = {}
    for line in (HERE / "parts.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, part = line.split()
            parts.setdefault(name, []).append(part)
    return parts


class Runner:
    def __init__(
        self, tree: Path, kafka_tools: Path, bootstrap: str, scenario: str, logs: Path, thorough: bool
    ) -> None:
        self.tests = tree / "tests"
        self.logs = logs
        self.switches = ["-p1", "-E", "-L", "-s", scenario]
        if not thorough:
            self.switches.append("-Q")
        logs.mkdir(parents=True, exist_ok=True)
        conf = logs / "test.conf"
        conf.write_text(f"bootstrap.servers={bootstrap}\n")
        self.environment = os.environ | {
            "BROKERS": bootstrap,
            "KAFKA_PATH": str(kafka_tools),
            "RDKAFKA_TEST_CONF": str(conf),
            "TEST_KAFKA_VERSION": BROKER_VERSION,
            "LD_LIBRARY_PATH": f"{tree}/src:{tree}/src-cpp",
        }

    def run(self, number: str, wanted: set[str], part: str = "") -> list[Outcome]:
        """Runs every test of one number, or one part of it; returns the outcomes of the `wanted` ones."""
        title = f"{number}-{part}" if part else number
        report = self.logs / f"{title}.json"
        log = self.logs / f"{title}.log"
        report.unlink(missing_ok=True)
        environment = self.environment | {"TESTS": number, "TEST_REPORT": str(report)}
        if part:
            environment["SUBTESTS"] = part
        started = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["./test-runner", *self.switches],
                cwd=self.tests,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                process.wait(TEST_SECONDS_MAX)
                ending = f"ended with {process.returncode} and no report"
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                ending = f"killed after {TEST_SECONDS_MAX} s"
        seconds = time.monotonic() - started
        try:
            # The program writes its messages into the report unescaped.
            tests = json.loads(report.read_text(errors="replace"), strict=False)["tests"]
        except (FileNotFoundError, ValueError):
            note = first_failure(log) or ending
            outcomes = [Outcome(name, "FAIL", seconds, note, part) for name in sorted(wanted)]
        else:
            outcomes = [outcome_of(tests[name], part, log) for name in sorted(wanted) if name in tests]
        return outcomes


def outcome_of(entry: dict, part: str, log: Path) -> Outcome:
    state = {"PASSED": "PASS", "SKIPPED": "SKIP"}.get(entry["state"], "FAIL")
    outcome = Outcome(entry["name"], state, entry["duration"], part=part)
    if state == "FAIL":
        outcome.note = first_failure(log)
        said, exempt = EXEMPT_ENDINGS.get(outcome.title, (None, ""))
        if said and said in outcome.note:
            outcome.state, outcome.note = "PASS", f"but for {exempt}"
    elif state == "SKIP":
        outcome.note = skip_reason(entry["name"], log)
    return outcome


def plain_lines(log: Path) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace")).splitlines()


def first_failure(log: Path) -> str:
    """The line after the program's first failure banner: what it expected and what it got."""
    lines = plain_lines(log)
    for at, line in enumerate(lines):
        if line.startswith("### Test ") and " failed at " in line:
            where = re.search(r"failed at ([^ ]+)", line)
            told = lines[at + 1].strip() if at + 1 < len(lines) else ""
            return f"{told} ({where[1] if where else '?'})"
    return ""


def skip_reason(name: str, log: Path) -> str:
    for line in plain_lines(log):
        if f"|  {name} " in line or f"| {name} " in line:
            return line.rsplit("|", 1)[-1].strip()
    return ""


def run_all(runner: Runner, numbers: dict[str, set[str]], jobs: int) -> list[Outcome]:
    parts = read_parts()
    outcomes: list[Outcome] = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        running = []
        for number, names in sorted(numbers.items(), key=lambda item: item[0] not in LONGEST):
            for name in sorted(names & parts.keys()):
                running += [pool.submit(runner.run, number, {name}, part) for part in parts[name]]
            if whole := names - parts.keys():
                running.append(pool.submit(runner.run, number, whole))
        for done in concurrent.futures.as_completed(running):
            for outcome in done.result():
                print(f"{outcome.state:4} {outcome.title:60} {outcome.seconds:6.1f} s  {outcome.note}", flush=True)
                outcomes.append(outcome)
    return outcomes


def retry_alone(runner: Runner, outcomes: list[Outcome]) -> list[Outcome]:
    """What failed beside others is tried once more by itself: most of these tests measure time."""
    settled = []
    for outcome in outcomes:
        if outcome.state == "FAIL":
            print(f"again, alone: {outcome.title}", flush=True)
            (again,) = runner.run(outcome.name[:4], {outcome.name}, outcome.part)
            if again.state == "PASS":
                again.note = f"at the second try; first: {outcome.note}"
            outcome = again
        settled.append(outcome)
    return settled


def markdown(outcomes: list[Outcome], excluded: dict[str, str]) -> str:
    rows = ["| test | result | seconds | remark |", "| --- | --- | --- | --- |"]
    for outcome in sorted(outcomes, key=lambda o: o.title):
        rows.append(f"| {outcome.title} | {outcome.state.lower()} | {outcome.seconds:.1f} | {cell(outcome.note)} |")
    rows += ["", "| not run | why |", "| --- | --- |"]
    rows += [f"| {name} | {cell(reason)} |" for name, reason in sorted(excluded.items())]
    return "\n".join(rows) + "\n"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/librdkafka/run", description=__doc__)
    parser.add_argument("lane", choices=("fast", "all"), help="fast: fast.txt with -Q; all: everything, without -Q")
    parser.add_argument("--tree", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--kafka-tools", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", help="a running broker (default: a Millstream for each scenario)")
    parser.add_argument("--scenario", choices=SCENARIOS, help="how that broker is set up (default: all scenarios)")
    parser.add_argument("--tests", help="numbers, separated by commas, instead of the lane's")
    parser.add_argument("--jobs", type=int, default=3, help="tests at a time (default: 3; most of them wait)")
    parser.add_argument("--out", type=Path, help="directory of logs and table (default: in the cache)")
    return parser.parse_args()


def selected(options: argparse.Namespace, excluded: dict[str, str], scenario: str) -> dict[str, set[str]]:
    """The names of the tests to run, by number."""
    only = options.tests.split(",") if options.tests else read_fast() if options.lane == "fast" else None
    numbers: dict[str, set[str]] = {}
    for test in table_of_tests(options.tree):
        wanted = test.number in only if only is not None else not {test.name, test.number} & excluded.keys()
        if wanted and test.asks_a_broker and test.belongs_to(scenario):
            numbers.setdefault(test.number, set()).add(test.name)
    return numbers


def main() -> int:
    options = arguments()
    excluded = read_excluded()
    out = options.out or options.tree.parent / "results"
    outcomes: list[Outcome] = []
    for scenario in [options.scenario] if options.scenario else SCENARIOS:
        numbers = selected(options, excluded, scenario)
        if not numbers:
            continue
        with server_for_suite(options.bootstrap, DEFAULT_PARTITIONS, SCENARIOS[scenario]) as bootstrap:
            runner = Runner(options.tree, options.kafka_tools, bootstrap, scenario, out / scenario, options.lane == "all")
            outcomes += retry_alone(runner, run_all(runner, numbers, options.jobs))
    (out / "table.md").write_text(markdown(outcomes, excluded))
    count = {state: sum(o.state == state for o in outcomes) for state in ("PASS", "FAIL", "SKIP")}
    print(f"{count['PASS']} passed, {count['FAIL']} failed, {count['SKIP']} skipped; table and logs in {out}")
    return 1 if count["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
