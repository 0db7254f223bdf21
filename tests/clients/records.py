"""Records as tests write and compare them."""

from __future__ import annotations

import base64
from typing import Any

Record = dict[str, Any]


def text(value: bytes | str | None) -> str | None:
    if isinstance(value, str):
        value = value.encode()
    return None if value is None else base64.b64encode(value).decode()


def record(
    key: bytes | str | None,
    value: bytes | str | None,
    partition: int | None = None,
    timestamp: int | None = None,
    headers: list[tuple[str, bytes | None]] | None = None,
) -> Record:
    made: Record = {"key": text(key), "value": text(value), "headers": [[n, text(v)] for n, v in headers or []]}
    if partition is not None:
        made["partition"] = partition
    if timestamp is not None:
        made["timestamp"] = timestamp
    return made


def numbered(count: int, partitions: int = 1, start: int = 0) -> list[Record]:
    """Records `start`, `start + 1`, ... dealt to the partitions in turn."""
    return [record(f"k{n}", f"v{n}", partition=n % partitions) for n in range(start, start + count)]


def values(records: list[Record]) -> list[str | None]:
    return [None if r["value"] is None else base64.b64decode(r["value"]).decode(errors="replace") for r in records]


def in_order(records: list[Record]) -> list[Record]:
    return sorted(records, key=lambda r: (r["topic"], r["partition"], r["offset"]))


def content(records: list[Record]) -> list[tuple[Any, ...]]:
    """What a reader must see of each record, in the order of partition and offset."""
    return [
        (r["partition"], r["timestamp"], r["key"], r["value"], tuple(map(tuple, r["headers"])))
        for r in in_order(records)
    ]
