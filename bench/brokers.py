"""The two servers that are compared, and what the kernel says of their processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
LISTENING = re.compile(r"kafka listening on (127\.0\.0\.1:\d+)")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
START_SECONDS_MAX = 120
# A server that uses less than this share of a core is taken for idle.
IDLE_SHARE = 0.03
IDLE_SECONDS_MAX = 20


@dataclass(frozen=True)
class Usage:
    cpu_seconds: float
    resident_bytes_peak: int


class Broker:
    """A server process. Subclasses start it."""

    name: str
    # Settings of a topic, for the two promises that both servers can make.
    promises: dict[str, list[str]]

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = ""
        self.pid = 0

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def wipe(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def resident_bytes(self, peak: bool = False) -> int:
        key = "VmHWM" if peak else "VmRSS"
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) * 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def settle(self) -> None:
        """Waits until it has done what it does behind its answers."""
        deadline = time.monotonic() + IDLE_SECONDS_MAX
        before = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(1)
            now = self.cpu_seconds()
            if now - before < IDLE_SHARE:
                return
            before = now

    def answers(self) -> bool:
        """Whether an ApiVersions request is answered: a connection alone does not prove that anyone serves it."""
        host, port = self.address.split(":")
        request = struct.pack(">hhih", 18, 0, 1, -1)
        try:
            with socket.create_connection((host, int(port)), 1) as connection:
                connection.sendall(struct.pack(">i", len(request)) + request)
                return len(connection.recv(8)) == 8
        except OSError:
            return False


class Millstream(Broker):
    name = "millstream"
    promises = {"fsync": ["millstream.durability=fsync"], "page cache": ["millstream.durability=os"]}

    def __init__(self, directory: Path, binary: Path) -> None:
        super().__init__(directory)
        self.binary = binary
        self.process: subprocess.Popen[bytes] | None = None
        self.start_seconds = 0.0

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        log = self.directory / "server.log"
        log.unlink(missing_ok=True)
        command = [str(self.binary), "serve", "--data-dir", str(self.directory / "data"), "--kafka-addr", "127.0.0.1:0"]
        command += ["--http-addr", "off"]
        started = time.monotonic()
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
            )
        self.pid = self.process.pid
        while time.monotonic() < started + START_SECONDS_MAX:
            if found := LISTENING.search(ANSI.sub("", log.read_text())):
                self.address = found[1]
                if self.answers():
                    self.start_seconds = time.monotonic() - started
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.001)
        raise RuntimeError(f"millstream did not start: {log.read_text()[-2000:]}")

    def stop(self) -> None:
        self.end(signal.SIGTERM)

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, how: signal.Signals) -> None:
        if self.process:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None


class Kafka(Broker):
    name = "kafka"
    promises = {"fsync": ["flush.messages=1"], "page cache": []}

    def __init__(self, directory: Path, tooling: Path) -> None:
        super().__init__(directory)
        self.node = tooling / "node"

    def start(self) -> None:
        started = subprocess.run(
            [self.node, "start", self.directory, "--set", "offsets.topic.num.partitions=50"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = started.stdout.split()[-1]
        self.pid = int((self.directory / "pid").read_text())

    def stop(self) -> None:
        if self.directory.exists():
            subprocess.run([self.node, "stop", self.directory], check=True)
