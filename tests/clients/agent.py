"""A client under test, in a process of its own: the driver's side of the agents' protocol.

Operations (arguments by name; `topic`, `group` and `member` are names):

    produce             topic, records, compression, acks, idempotent, request_bytes_max -> places of the records
    begin_transactions  transactional_id -> how that was refused: code, retriable, fatal
    fetch               topic, start ("earliest", "latest", {"offset": n}, {"time": ms}), count, seconds -> records
    join                member, group, topics, assignor, instance, reset, session_ms, start: a consumer that polls by
                        itself until it is told to leave; with `start` [[topic, partition, offset]] not as a group's
    tell                member, what: "state" (drain), "commit", "pause", "resume", "seek" or "leave"
    create_topic        topic, partitions, configs
    delete_topic        topic
    create_partitions   topic, total
    list_topics, list_groups, describe_cluster
    describe_topic      topic
    describe_configs    topic -> name to value
    alter_configs       topic, set, delete: one by one
    replace_configs     topic, configs: all of them at once
    delete_records      topic, before: partition to offset
    list_offsets        topic, at ("earliest", "latest", "max_timestamp" or milliseconds) -> partition to offset
    log_dirs            topic -> partition to bytes
    describe_group      group -> state, protocol, members
    delete_group        group
    group_offsets       group -> [topic, partition, offset]
    alter_group_offsets group, offsets
    delete_group_offsets group, topic, partitions
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any

from specs import Spec

ANSWER_SECONDS_MAX = 75


class AgentError(Exception):
    """The client answered with an error; `code` is Kafka's, or None for an error of the client's own."""

    def __init__(self, code: int | None, message: str) -> None:
        super().__init__(f"[{code}] {message}")
        self.code = code


class Agent:
    def __init__(self, spec: Spec, bootstrap: str, log: Path) -> None:
        self.name = spec.name
        self.can = spec.can
        self.log = log
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [*spec.command(), bootstrap, *spec.arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.answers: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put(None)

    def __call__(self, op: str, **args: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"op": op, "args": args}) + "\n")
        self.process.stdin.flush()
        try:
            line = self.answers.get(timeout=ANSWER_SECONDS_MAX)
        except queue.Empty:
            self.kill()
            raise TimeoutError(f"{self.name} did not answer {op} within {ANSWER_SECONDS_MAX} s; {self.told()}") from None
        if line is None:
            raise ChildProcessError(f"{self.name} ended during {op}; {self.told()}")
        answer = json.loads(line)
        if "error" in answer:
            raise AgentError(answer["error"]["code"], f"{self.name}: {op}: {answer['error']['message']}")
        return answer["ok"]

    def told(self) -> str:
        """The end of what it wrote to stderr."""
        return "its last words: " + " / ".join(self.log.read_text(errors="replace").splitlines()[-5:])

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """The crash of this client, with everything that it had joined."""
        self.process.kill()
        self.process.wait()
