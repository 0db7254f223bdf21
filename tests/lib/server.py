"""The real Millstream binary as a test sees it: started on a data directory, killed, started again.

Nothing here knows more of the server than its command line and the address it logs.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LISTENING = re.compile(r"kafka listening.*?(127(?:\.\d+){3}:\d+)")
HTTP_LISTENING = re.compile(r"http listening on (127(?:\.\d+){3}:\d+)")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
ANY_PORT = "127.0.0.1:0"
START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 30


def binary() -> Path:
    """The server to test: MILLSTREAM_BIN, else the newer of the two that cargo builds."""
    if named := os.environ.get("MILLSTREAM_BIN"):
        return Path(named)
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    built = [path for path in (target / "release/millstream", target / "debug/millstream") if path.exists()]
    if not built:
        raise FileNotFoundError(f"no millstream in {target}: run `make build` or set MILLSTREAM_BIN")
    return max(built, key=lambda path: path.stat().st_mtime)


class Server:
    """One server process at a time, on one data directory and, once it has chosen one, one port."""

    def __init__(
        self,
        directory: Path,
        default_partitions: int = 4,
        flags: tuple[str, ...] = (),
        address: str = ANY_PORT,
    ) -> None:
        self.directory = directory
        self.default_partitions = default_partitions
        self.flags = flags
        self.bootstrap = address
        self.http: str | None = None
        self.process: subprocess.Popen[str] | None = None
        self.log = directory / "server.log"

    def start(self) -> str:
        """Starts it and returns HOST:PORT. A restart keeps the port, as clients that reconnect expect."""
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [
            str(binary()),
            "serve",
            "--data-dir",
            str(self.directory / "data"),
            "--kafka-addr",
            self.bootstrap,
            "--http-addr",
            self.http or ANY_PORT,
            "--default-partitions",
            str(self.default_partitions),
            *self.flags,
        ]
        # The server takes settings from its environment too, and refuses those that it does not know.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MILLSTREAM_")}
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        listening = threading.Event()
        threading.Thread(target=self._follow_log, args=(self.process, listening), daemon=True).start()
        if not listening.wait(START_SECONDS_MAX):
            self.kill()
            raise TimeoutError(f"the server named no address within {START_SECONDS_MAX} s: {self.log_tail()}")
        if self.process.poll() is not None:
            raise RuntimeError(f"the server ended with {self.process.returncode}: {self.log_tail()}")
        return self.bootstrap

    def _follow_log(self, process: subprocess.Popen[str], listening: threading.Event) -> None:
        assert process.stderr is not None
        with self.log.open("a") as log:
            for line in process.stderr:
                log.write(line)
                log.flush()
                if found := HTTP_LISTENING.search(ANSI.sub("", line)):
                    self.http = found[1]
                if not listening.is_set() and (found := LISTENING.search(ANSI.sub("", line))):
                    self.bootstrap = found[1]
                    listening.set()
        # A server that ended before it listened: whoever waits is told at once.
        listening.set()

    def kill(self) -> None:
        """kill -9: what a crash of the process leaves behind."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and the wait for the end of an orderly shutdown."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise TimeoutError(f"the server did not end within {STOP_SECONDS_MAX} s of {how.name}") from None
        finally:
            self.process = None

    def log_tail(self, lines: int = 20) -> str:
        # The log's last line may still be on its way from the pipe.
        time.sleep(0.05)
        return "\n".join(self.log.read_text().splitlines()[-lines:]) if self.log.exists() else "(no log)"


@contextlib.contextmanager
def server_for_suite(
    bootstrap: str | None, default_partitions: int, flags: tuple[str, ...] = (), address: str = ANY_PORT
) -> Iterator[str]:
    """The address of a broker to test: the one given, the one MILLSTREAM_TEST_BOOTSTRAP names, or a fresh server."""
    if given := bootstrap or os.environ.get("MILLSTREAM_TEST_BOOTSTRAP"):
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="millstream-test-") as directory:
        server = Server(Path(directory), default_partitions, flags, address)
        server.start()
        try:
            yield server.bootstrap
        finally:
            server.stop()
