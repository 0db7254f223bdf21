"""Writing: what each client writes arrives once, in order, in the partition that it named."""

from __future__ import annotations

import base64

import pytest
from agent import AgentError
from conftest import DEFAULT_PARTITIONS, eventually
from records import numbered, record, values
from specs import SPECS, clients

MESSAGE_TOO_LARGE = 10
TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53


@clients()
@pytest.mark.parametrize("acks", ["all", "1", "0"])
def test_acknowledgements(client, acks, topic, agents):
    name = topic(partitions=3)
    written = numbered(30, partitions=3)
    places = client("produce", topic=name, records=written, acks=acks)
    if acks != "0":
        assert sorted((p["partition"], p["offset"]) for p in places) == [(p, o) for p in range(3) for o in range(10)]
    read = agents("confluent")("fetch", topic=name, start="earliest", count=30)
    for partition in range(3):
        expected = [value for value in values(written) if int(value[1:]) % 3 == partition]
        assert values([r for r in read if r["partition"] == partition]) == expected


@clients("idempotent")
def test_idempotent_producer(client, topic, agents):
    name = topic(partitions=2)
    for start in (0, 50, 100):
        client("produce", topic=name, records=numbered(50, partitions=2, start=start), idempotent=True)
    read = agents("confluent")("fetch", topic=name, start="earliest", count=150)
    for partition in range(2):
        numbers = [int(value[1:]) for value in values([r for r in read if r["partition"] == partition])]
        assert numbers == list(range(partition, 150, 2))


@pytest.mark.parametrize("name", ["confluent", "java"])
def test_a_transactional_id_is_refused_for_good(name, new_name, agents):
    """Transactions are not there yet. A client that went on trying would hang instead of saying so."""
    refused = agents(name)("begin_transactions", transactional_id=new_name("tx"))
    assert refused == {"code": TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "retriable": False, "fatal": True}


@clients()
def test_equal_keys_share_a_partition(client, topic, agents):
    name = topic(partitions=4)
    client("produce", topic=name, records=[record(f"key-{n % 10}", f"{n}") for n in range(100)])
    read = agents("confluent")("fetch", topic=name, start="earliest", count=100)
    assert len(read) == 100
    for key in {r["key"] for r in read}:
        of_key = [r for r in read if r["key"] == key]
        assert len({r["partition"] for r in of_key}) == 1
        assert values(of_key) == sorted(values(of_key), key=int)


@clients()
def test_unknown_topic_is_created(client, new_name, agents):
    """By clients that ask for it; the topic has as many partitions as the broker's default says."""
    name = new_name("auto")
    client("produce", topic=name, records=[record("k", "v", partition=0)])
    assert agents("confluent")("describe_topic", topic=name)["partitions"] == DEFAULT_PARTITIONS
    assert values(agents("confluent")("fetch", topic=name, start="earliest", count=1)) == ["v"]


# The largest record batch that a topic takes by default is 1 MiB and 12 bytes.
@clients()
def test_large_record(client, topic, agents):
    name = topic()
    value = bytes(range(256)) * 4000  # 1,024,000 bytes
    client("produce", topic=name, records=[record("k", value, partition=0)], request_bytes_max=2_000_000)
    (read,) = agents("confluent")("fetch", topic=name, start="earliest", count=1)
    assert base64.b64decode(read["value"]) == value


@clients()
def test_record_over_the_topics_limit_is_refused(client, topic):
    name = topic(max_message_bytes="100000")
    client("produce", topic=name, records=[record("k", b"x" * 90_000, partition=0)], request_bytes_max=2_000_000)
    with pytest.raises(AgentError) as refused:
        client("produce", topic=name, records=[record("k", b"x" * 110_000, partition=0)], request_bytes_max=2_000_000)
    assert refused.value.code == MESSAGE_TOO_LARGE
    offsets = client("list_offsets", topic=name, at="latest")
    assert offsets == {"0": 1}


@clients()
def test_log_append_time(client, topic, agents):
    """The broker's clock replaces the producer's where the topic says so."""
    name = topic(message_timestamp_type="LogAppendTime")
    client("produce", topic=name, records=[record("k", "v", partition=0, timestamp=1_000_000_000_000)])
    for reader in [spec.name for spec in SPECS if "append-time" in spec.can]:
        (read,) = agents(reader)("fetch", topic=name, start="earliest", count=1)
        assert read["timestamp"] > 1_600_000_000_000, f"{reader} saw the producer's time"


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd", "uncompressed"])
def test_topic_that_compresses(codec, topic, agents):
    """compression.type on the topic changes how batches are kept, never what is read."""
    name = topic(compression_type=codec)
    sent = [record(f"k{n}", f"v{n}" * 100, partition=0, timestamp=1_700_000_000_000 + n) for n in range(50)]
    agents("java")("produce", topic=name, records=sent[:25], compression="none")
    agents("confluent")("produce", topic=name, records=sent[25:], compression="gzip")
    for reader in [spec.name for spec in SPECS]:
        read = agents(reader)("fetch", topic=name, start="earliest", count=50)
        assert values(read) == values(sent), reader
        assert [r["timestamp"] for r in read] == [r["timestamp"] for r in sent], reader


def test_many_batches_in_flight(topic, agents):
    """Pipelined requests of one connection are stored in the order in which they were sent."""
    name = topic()
    sent = [record(None, f"{n:05}" + "x" * 2000, partition=0) for n in range(5000)]
    agents("java")("produce", topic=name, records=sent, idempotent=True)
    read = eventually(lambda: agents("confluent")("fetch", topic=name, start="earliest", count=5000))
    assert [value[:5] for value in values(read)] == [f"{n:05}" for n in range(5000)]
