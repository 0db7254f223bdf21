"""Topics that empty themselves, with everything as it is by default: what is finished gives its disk back."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from conftest import eventually
from http_api import Api
from server import Server

# The promise.
SECONDS_MAX = 60
SHARE = 0.9

RECORD_BYTES = 8 << 10
# Of one publish, and so of one batch.
TOGETHER = 100
RECORDS = 25_000
STRAGGLERS = 5


def disk_bytes(directory: Path) -> int:
    """What the files below take of the disk. Some may go meanwhile."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_finished_gives_its_disk_back_within_a_minute(own_server: Server) -> None:
    data = own_server.directory / "data"
    with Api(own_server.http) as api:
        api.create_topic("jobs", **{"millstream.retention": "consumed", "retention.bytes": 4 << 30})
        api.create_queue("work", "jobs", **{"from": "earliest"})
        empty = disk_bytes(data / "packs")
        for _ in range(RECORDS // TOGETHER):
            api.publish("jobs", *(os.urandom(RECORD_BYTES // 2).hex() for _ in range(TOGETHER)))
        written = RECORDS * RECORD_BYTES
        # Everything is in packs: what the journal takes is its own, whatever is in it.
        eventually(lambda: disk_bytes(data / "packs") - empty >= written, 120, why=lambda: disk_bytes(data / "packs"))
        before = disk_bytes(data)

        # These stay at the front, unfinished, for as long as the test may take.
        stragglers = api.receive("work", max=STRAGGLERS, visibility_ms=600_000)
        assert [message["offset"] for message in stragglers] == list(range(STRAGGLERS))
        done = 0
        while done < RECORDS - STRAGGLERS:
            messages = api.receive("work", max=1_000, wait_ms=5_000)
            assert messages, f"{done} were done"
            api.ack("work", *messages)
            done += len(messages)
        finished_at, finished = time.monotonic(), done * RECORD_BYTES
        eventually(
            lambda: before - disk_bytes(data) >= SHARE * finished,
            SECONDS_MAX,
            why=lambda: f"{before - disk_bytes(data)} bytes of {finished} came back",
        )
        print(f"after {time.monotonic() - finished_at:.1f} s: {(before - disk_bytes(data)) / finished:.1%}")
        assert api.open("work") == STRAGGLERS
        kept = api.read("jobs", 0, offset=0, max=STRAGGLERS)["records"]
        assert [record["value"] for record in kept] == [message["value"] for message in stragglers]
