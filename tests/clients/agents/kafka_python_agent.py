"""kafka-python as an agent; see protocol.py."""

from __future__ import annotations

import re
import sys
import time
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition, errors
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata
from protocol import BrokerError, Member, decode, headers_in, record_out, serve

SECONDS_MAX = 30
BOOTSTRAP = sys.argv[1]
ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
}

members: dict[str, GroupMember] = {}


def code_of(failure: BaseException) -> int | None:
    # A failure of the client itself has a negative number or none.
    code = getattr(failure, "errno", None)
    return code if isinstance(code, int) and code > 0 else None


def raise_for(error: type[KafkaError] | str | int, what: str) -> None:
    """Raises for an error in the forms in which this client's admin calls tell one: its class, code, name or text."""
    if isinstance(error, str) and (text := re.match(r"\[Error (\d+)\]", error)):
        error = int(text[1])
    if isinstance(error, str):
        error = errors.NoError if error == "OK" else getattr(errors, error)
    if isinstance(error, int):
        error = errors.for_code(error)
    if error.errno != 0:
        raise BrokerError(error.errno, f"{what}: {error.__name__}")


def record_of(message: Any) -> dict[str, Any]:
    return record_out(
        message.topic,
        message.partition,
        message.offset,
        message.timestamp,
        message.key,
        message.value,
        message.headers,
    )


def produce(
    topic: str,
    records: list[dict[str, Any]],
    compression: str = "none",
    acks: str = "all",
    idempotent: bool = False,
    request_bytes_max: int | None = None,
) -> list[dict[str, int]]:
    settings: dict[str, Any] = {"max_request_size": request_bytes_max} if request_bytes_max else {}
    producer = KafkaProducer(
        bootstrap_servers=BOOTSTRAP,
        compression_type=None if compression == "none" else compression,
        acks="all" if acks == "all" else int(acks),
        enable_idempotence=idempotent,
        linger_ms=5,
        **settings,
    )
    try:
        futures = [
            producer.send(
                topic,
                value=decode(record.get("value")),
                key=decode(record.get("key")),
                headers=headers_in(record),
                partition=record.get("partition"),
                timestamp_ms=record.get("timestamp"),
            )
            for record in records
        ]
        producer.flush(SECONDS_MAX)
        places = [future.get(SECONDS_MAX) for future in futures]
    finally:
        producer.close(5)
    return [{"partition": place.partition, "offset": place.offset} for place in places]


def places_of(consumer: KafkaConsumer, topic: str) -> list[TopicPartition]:
    deadline = time.monotonic() + 10
    while not (partitions := consumer.partitions_for_topic(topic)):
        if time.monotonic() > deadline:
            raise BrokerError(3, f"no partitions of {topic}")
    return [TopicPartition(topic, partition) for partition in sorted(partitions)]


def fetch(topic: str, start: str | dict[str, int], count: int, seconds: float = 20) -> list[dict[str, Any]]:
    consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP, enable_auto_commit=False, auto_offset_reset="none")
    try:
        places = places_of(consumer, topic)
        consumer.assign(places)
        if start == "earliest":
            consumer.seek_to_beginning(*places)
        elif start == "latest":
            consumer.seek_to_end(*places)
        elif "offset" in start:
            for place in places:
                consumer.seek(place, start["offset"])
        else:
            found = consumer.offsets_for_times({place: start["time"] for place in places})
            for place in places:
                if found[place] is None:
                    consumer.seek_to_end(place)
                else:
                    consumer.seek(place, found[place].offset)
        records: list[dict[str, Any]] = []
        deadline = time.monotonic() + seconds
        while len(records) < count and time.monotonic() < deadline:
            for batch in consumer.poll(200, max_records=count - len(records)).values():
                records += map(record_of, batch)
        return records
    finally:
        consumer.close(autocommit=False)


class GroupMember(Member, ConsumerRebalanceListener):
    def __init__(
        self,
        group: str,
        topics: list[str],
        assignor: str | None = None,
        instance: str | None = None,
        reset: str = "earliest",
        session_ms: int = 6000,
        start: list[list[Any]] | None = None,
    ) -> None:
        super().__init__(code_of)
        self.consumer = KafkaConsumer(
            bootstrap_servers=BOOTSTRAP,
            group_id=group,
            group_instance_id=instance,
            auto_offset_reset=reset,
            enable_auto_commit=False,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=500,
            partition_assignment_strategy=[ASSIGNORS[assignor or "range"]],
            fetch_max_wait_ms=100,
            reconnect_backoff_max_ms=500,
        )
        if start is None:
            # A leader that has not heard of a new topic yet assigns nothing, and hears of it five minutes later.
            for topic in topics:
                places_of(self.consumer, topic)
            self.consumer.subscribe(topics, listener=self)
        else:
            self.consumer.assign([TopicPartition(topic, partition) for topic, partition, _ in start])
            for topic, partition, offset in start:
                self.consumer.seek(TopicPartition(topic, partition), offset)
            self.assigned = {(topic, partition) for topic, partition, _ in start}
        self.thread.start()

    def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        with self.lock:
            self.assigned |= {(p.topic, p.partition) for p in assigned}
            self.assignments += 1

    def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        with self.lock:
            self.assigned -= {(p.topic, p.partition) for p in revoked}
            self.revoked += len(revoked)

    def poll(self) -> list[dict[str, Any]]:
        # A poll that ends while a JoinGroup is under way may lose its answer, and then nobody joins again.
        return [record_of(message) for batch in self.consumer.poll(1000).values() for message in batch]

    def commit(self) -> None:
        self.consumer.commit()

    def pause(self) -> None:
        self.consumer.pause(*self.consumer.assignment())

    def resume(self) -> None:
        self.consumer.resume(*self.consumer.assignment())

    def seek(self, topic: str, partition: int, offset: int) -> None:
        self.consumer.seek(TopicPartition(topic, partition), offset)

    def close_consumer(self) -> None:
        self.consumer.close(autocommit=False)


def join(member: str, **how: Any) -> None:
    members[member] = GroupMember(**how)


def tell(member: str, what: str, **how: Any) -> Any:
    wanted = members[member]
    if what == "leave":
        return members.pop(member).leave()
    if what == "state":
        return wanted.state(**how)
    return wanted.between_polls(lambda: getattr(wanted, what)(**how))


def with_admin(call: Any) -> Any:
    client = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    try:
        return call(client)
    finally:
        client.close()


def create_topic(topic: str, partitions: int = 1, configs: dict[str, str] | None = None) -> None:
    wanted = {topic: {"num_partitions": partitions, "replication_factor": 1, "configs": configs or {}}}
    with_admin(lambda client: client.create_topics(wanted))


def delete_topic(topic: str) -> None:
    with_admin(lambda client: client.delete_topics([topic]))


def create_partitions(topic: str, total: int) -> None:
    with_admin(lambda client: client.create_partitions({topic: total}))


def list_topics() -> list[str]:
    return with_admin(lambda client: client.list_topics())


def describe_topic(topic: str) -> dict[str, Any]:
    (described,) = with_admin(lambda client: client.describe_topics([topic]))
    raise_for(described["error_code"], topic)
    return {"partitions": len(described["partitions"]), "id": str(described.get("topic_id"))}


def describe_configs(topic: str) -> dict[str, str]:
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    described = with_admin(lambda client: client.describe_configs([resource], config_filter="all"))
    return {name: entry["value"] for name, entry in described["topic"][topic].items()}


def change_configs(topic: str, configs: dict[str, Any], incremental: bool) -> None:
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs)
    result = with_admin(
        lambda client: client.alter_configs([resource], raise_on_unknown=False, incremental=incremental)
    )
    raise_for(result["topic"][topic], topic)


def alter_configs(topic: str, set: dict[str, str], delete: list[str] | None = None) -> None:
    change_configs(topic, set | {name: ("DELETE", None) for name in delete or []}, incremental=True)


def delete_records(topic: str, before: dict[str, int]) -> None:
    wanted = {TopicPartition(topic, int(partition)): offset for partition, offset in before.items()}
    with_admin(lambda client: client.delete_records(wanted))


def list_offsets(topic: str, at: str | int) -> dict[str, int]:
    specs = {"earliest": OffsetSpec.EARLIEST, "latest": OffsetSpec.LATEST, "max_timestamp": OffsetSpec.MAX_TIMESTAMP}
    spec = specs[at] if isinstance(at, str) else at
    places = [TopicPartition(topic, partition) for partition in range(describe_topic(topic)["partitions"])]
    found = with_admin(lambda client: client.list_partition_offsets({place: spec for place in places}))
    return {str(place.partition): answer.offset for place, answer in found.items()}


def list_groups() -> list[str]:
    return [group["group_id"] for group in with_admin(lambda client: client.list_groups())]


def describe_group(group: str) -> dict[str, Any]:
    described = with_admin(lambda client: client.describe_groups([group]))[group]
    if described["error"]:
        raise_for(described["error"], group)
    return {
        "state": described["group_state"],
        "protocol": described["protocol_data"],
        "members": [
            {
                "client_id": member["client_id"],
                "instance": member.get("group_instance_id"),
                "assignment": assignment_of(member["member_assignment"]),
            }
            for member in described["members"]
        ],
    }


def assignment_of(assignment: Any) -> list[list[Any]]:
    if not assignment:
        return []
    return [
        [entry["topic"], partition] for entry in assignment["assigned_partitions"] for partition in entry["partitions"]
    ]


def delete_group(group: str) -> None:
    raise_for(with_admin(lambda client: client.delete_groups([group]))[group], group)


def group_offsets(group: str) -> list[list[Any]]:
    found = with_admin(lambda client: client.list_group_offsets([group]))[group]
    return [[place.topic, place.partition, offset.offset] for place, offset in found.items()]


def alter_group_offsets(group: str, offsets: list[list[Any]]) -> None:
    wanted = {TopicPartition(topic, partition): OffsetAndMetadata(at, "", -1) for topic, partition, at in offsets}
    for error in with_admin(lambda client: client.alter_group_offsets(group, wanted)).values():
        raise_for(error, group)


def delete_group_offsets(group: str, topic: str, partitions: list[int]) -> None:
    wanted = [TopicPartition(topic, partition) for partition in partitions]
    for error in with_admin(lambda client: client.delete_group_offsets(group, wanted)).values():
        raise_for(error, group)


def log_dirs(topic: str) -> dict[str, int]:
    (broker,) = with_admin(lambda client: client.describe_log_dirs([topic]))
    sizes = {}
    for directory in broker["log_dirs"]:
        for entry in directory["topics"]:
            if entry["name"] == topic:
                sizes |= {str(p["partition_index"]): p["partition_size"] for p in entry["partitions"]}
    return sizes


def describe_cluster() -> dict[str, Any]:
    cluster = with_admin(lambda client: client.describe_cluster())
    return {
        "id": cluster["cluster_id"],
        "controller": cluster["controller_id"],
        "brokers": [{"id": b["broker_id"], "host": b["host"], "port": b["port"]} for b in cluster["brokers"]],
    }


serve(
    {
        operation.__name__: operation
        for operation in (
            produce, fetch, join, tell, create_topic, delete_topic, create_partitions, list_topics, describe_topic,
            describe_configs, alter_configs, delete_records, list_offsets, list_groups, describe_group, delete_group,
            group_offsets, alter_group_offsets, delete_group_offsets, log_dirs, describe_cluster,
        )
    },
    code_of,
)  # fmt: skip
