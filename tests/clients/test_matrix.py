"""Written by each client with each codec, read by every other: the same bytes, headers and timestamps."""

from __future__ import annotations

from typing import Any

import pytest
from records import Record, content, record
from specs import CODECS, SPECS, clients

PARTITIONS = 3
T = 1_700_000_000_000


def samples(null_headers: bool) -> list[Record]:
    made = [
        record("plain", "value", headers=[("h", b"1")]),
        record(None, "no key"),
        record("no value", None),
        record("", "", headers=[("empty", b"")]),
        record(b"\x00\xff\xfe", bytes(range(256)), headers=[("bytes", bytes(range(256)))]),
        record("clé-ключ-鍵", "värde 値 🌾", headers=[("naïve-заголовок", "ü".encode())]),
        record("twice", "v", headers=[("dup", b"first"), ("dup", b"second"), ("dup", b"first"), ("other", b"3")]),
        record("long", "compress me " * 2000),
    ]
    if null_headers:
        made.append(record("null header", "v", headers=[("null", None), ("null", None), ("h", b"after")]))
    for at, one in enumerate(made):
        one |= {"partition": at % PARTITIONS, "timestamp": T + at * 1000}
    return made


@clients()
@pytest.mark.parametrize("codec", CODECS)
def test_every_reader_sees_what_was_written(client, codec, topic, agents):
    if codec == "zstd" and client.name == "sarama-0.11":
        pytest.skip("zstd is younger than the version of Kafka that this client is set to")
    name = topic(partitions=PARTITIONS)
    written = samples("null-header" in client.can)
    client("produce", topic=name, records=written, compression=codec)
    sent = content([one | {"topic": name, "offset": at} for at, one in enumerate(written)])
    for reader in SPECS:
        read = agents(reader.name)("fetch", topic=name, start="earliest", count=len(written))
        expected = sent if "empties" in reader.can else list(map(without_empties, sent))
        assert content(read) == expected, f"written by {client.name}, read by {reader.name}"
        assert [r["offset"] for r in read if r["partition"] == 0] == [0, 1, 2], reader.name


def without_empties(seen: Any) -> Any:
    """As a client sees it that takes what is empty for null."""
    if isinstance(seen, tuple):
        return tuple(map(without_empties, seen)) or seen
    return None if seen == "" else seen
