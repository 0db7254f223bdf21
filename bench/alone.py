"""What only Millstream promises: a quick start, little memory when idle, a quick recovery, a disk put to full use."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

from brokers import Millstream
from cases import Sizes
from clients import Clients

START_MS = "start on an empty directory to first answer, ms"
IDLE_MB = "idle memory, MB"
RECOVERY_SECONDS = "kill -9 after {} GB to first answer, s"
RECOVERED = "of it there afterwards, share"

JOURNAL_SHARE = "journal alone, {} KiB batches, {} KB a group, of the device's rate"
DEVICE_RATE = "device, {} KB writes with fdatasync, writes/s"

STARTS = 5
# A row of the journal's own benchmark: batch bytes, then with many batches under way the size of a group, the journal's
# rate and the device's.
JOURNAL_ROW = re.compile(r"^ *(\d+) \|[^|]*\| +(\d+) +(\d+) +(\d+) +\d+%", re.MULTILINE)
JOURNAL_SECONDS = {"full": 0.5, "quick": 0.05}

Aims = dict[str, tuple[str, float]]


def journal(program: Path, scratch: Path, seconds: float) -> tuple[dict[str, float], Aims]:
    """The journal beside the bare device with the same writes and syncs, by the store's own benchmark."""
    directory = scratch / "journal"
    shutil.rmtree(directory, ignore_errors=True)
    done = subprocess.run([program, directory, str(seconds)], check=True, capture_output=True, text=True)
    shutil.rmtree(directory)
    figures: dict[str, float] = {}
    aims: Aims = {}
    for batch_bytes, group_bytes, journal_rate, device_rate in JOURNAL_ROW.findall(done.stdout):
        # The batch is what fits into a power of two.
        size = (1 << (int(batch_bytes) - 1).bit_length()) // 1024
        group = int(group_bytes) // 1000
        share = JOURNAL_SHARE.format(size, group)
        figures[DEVICE_RATE.format(group)] = float(device_rate)
        figures[share] = float(journal_rate) / float(device_rate)
        aims[share] = ("≥", 0.85)
    return figures, aims


def start_and_idle(broker: Millstream) -> tuple[dict[str, float], Aims]:
    """The median of several starts, each on a directory that is not there yet."""
    starts = []
    for _ in range(STARTS):
        broker.wipe()
        broker.start()
        starts.append(broker.start_seconds * 1000)
        time.sleep(1)
        idle = broker.resident_bytes() / 1e6
        broker.stop()
    broker.wipe()
    figures = {START_MS: sorted(starts)[STARTS // 2], IDLE_MB: idle}
    return figures, {START_MS: ("≤", 50.0), IDLE_MB: ("≤", 40.0)}


def recovery(broker: Millstream, clients: Clients, sizes: Sizes) -> tuple[dict[str, float], Aims]:
    """Durably written, killed, started: how long until it answers, and what share of it is there."""
    broker.start()
    clients.create_topic(broker.address, "recovery", 1, broker.promises["fsync"])
    clients.produce_large_batches(broker.address, "recovery", sizes.recovery)
    broker.kill()
    broker.start()
    there = clients.end_offsets(broker.address, "recovery") / sizes.recovery
    name = RECOVERY_SECONDS.format(f"{sizes.recovery * 1024 / 1e9:.2g}")
    figures = {name: broker.start_seconds, RECOVERED: there}
    broker.stop()
    broker.wipe()
    return figures, {name: ("≤", 2.0), RECOVERED: ("≥", 1.0)}
