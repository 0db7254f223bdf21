"""confluent-kafka (librdkafka) as an agent; see protocol.py."""

from __future__ import annotations

import sys
import time
from functools import cache
from typing import Any

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)
from protocol import BrokerError, Member, decode, headers_in, record_out, serve

SECONDS_MAX = 30
BOOTSTRAP = sys.argv[1]
QUIET = {"bootstrap.servers": BOOTSTRAP, "log_level": 3}
START = {"earliest": -2, "latest": -1}

members: dict[str, GroupMember] = {}


def code_of(failure: BaseException) -> int | None:
    if isinstance(failure, KafkaException) and isinstance(failure.args[0], KafkaError):
        return failure.args[0].code()
    return None


def raise_error(error: KafkaError) -> None:
    raise BrokerError(error.code(), error.str())


def record_of(message: Message) -> dict[str, Any]:
    return record_out(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        message.headers(),
    )


def begin_transactions(transactional_id: str) -> dict[str, Any]:
    producer = Producer(QUIET | {"transactional.id": transactional_id})
    try:
        producer.init_transactions(SECONDS_MAX)
    except KafkaException as failure:
        error = failure.args[0]
        return {"code": error.code(), "retriable": error.retriable(), "fatal": error.fatal()}
    return {"code": 0}


def produce(
    topic: str,
    records: list[dict[str, Any]],
    compression: str = "none",
    acks: str = "all",
    idempotent: bool = False,
    request_bytes_max: int | None = None,
) -> list[dict[str, int]]:
    settings: dict[str, Any] = QUIET | {
        "compression.type": compression,
        "acks": acks,
        "enable.idempotence": idempotent,
        "linger.ms": 5,
        "delivery.timeout.ms": SECONDS_MAX * 1000,
    }
    if request_bytes_max:
        settings["message.max.bytes"] = request_bytes_max
    producer = Producer(settings)
    delivered: list[dict[str, int] | None] = [None] * len(records)
    failed: list[KafkaError] = []

    def report(at: int) -> Any:
        def delivery(error: KafkaError | None, message: Message) -> None:
            if error:
                failed.append(error)
            else:
                delivered[at] = {"partition": message.partition(), "offset": message.offset()}

        return delivery

    for at, record in enumerate(records):
        producer.produce(
            topic,
            value=decode(record.get("value")),
            key=decode(record.get("key")),
            headers=headers_in(record),
            partition=record.get("partition", -1),
            timestamp=record.get("timestamp", 0),
            on_delivery=report(at),
        )
    producer.flush(SECONDS_MAX)
    if failed:
        raise_error(failed[0])
    return [place for place in delivered if place is not None]


def partitions_of(topic: str) -> list[int]:
    metadata = admin().list_topics(topic, SECONDS_MAX).topics[topic]
    if metadata.error:
        raise_error(metadata.error)
    if not metadata.partitions:
        raise BrokerError(3, f"{topic} has no partitions yet")
    return sorted(metadata.partitions)


def fetch(topic: str, start: str | dict[str, int], count: int, seconds: float = 20) -> list[dict[str, Any]]:
    consumer = Consumer(QUIET | {"group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "error"})
    places = [TopicPartition(topic, partition) for partition in partitions_of(topic)]
    if isinstance(start, str):
        offsets = [START[start]] * len(places)
    elif "offset" in start:
        offsets = [start["offset"]] * len(places)
    else:
        for place in places:
            place.offset = start["time"]
        offsets = [found.offset for found in consumer.offsets_for_times(places, SECONDS_MAX)]
    consumer.assign([TopicPartition(topic, place.partition, offset) for place, offset in zip(places, offsets)])
    records: list[dict[str, Any]] = []
    deadline = time.monotonic() + seconds
    try:
        while len(records) < count and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is None:
                continue
            if error := message.error():
                raise_error(error)
            records.append(record_of(message))
    finally:
        consumer.close()
    return records


class GroupMember(Member):
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
        settings = QUIET | {
            "group.id": group,
            "auto.offset.reset": "error" if reset == "none" else reset,
            "enable.auto.commit": False,
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": 500,
            "partition.assignment.strategy": assignor or "range",
            "fetch.wait.max.ms": 100,
            "reconnect.backoff.max.ms": 500,
        }
        if instance:
            settings["group.instance.id"] = instance
        self.consumer = Consumer(settings)
        if start is None:
            self.consumer.subscribe(topics, on_assign=self.on_assign, on_revoke=self.on_revoke, on_lost=self.on_revoke)
        else:
            self.consumer.assign([TopicPartition(*place) for place in start])
            self.assigned = {(topic, partition) for topic, partition, _ in start}
        self.thread.start()

    def on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        with self.lock:
            self.assigned |= {(p.topic, p.partition) for p in partitions}
            self.assignments += 1

    def on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        with self.lock:
            self.assigned -= {(p.topic, p.partition) for p in partitions}
            self.revoked += len(partitions)

    def poll(self) -> list[dict[str, Any]]:
        message = self.consumer.poll(0.05)
        if message is None:
            return []
        if error := message.error():
            raise_error(error)
        return [record_of(message)]

    def commit(self) -> None:
        positions = [p for p in self.consumer.position(self.consumer.assignment()) if p.offset >= 0]
        if positions:
            self.consumer.commit(offsets=positions, asynchronous=False)

    def pause(self) -> None:
        self.consumer.pause(self.consumer.assignment())

    def resume(self) -> None:
        self.consumer.resume(self.consumer.assignment())

    def seek(self, topic: str, partition: int, offset: int) -> None:
        self.consumer.seek(TopicPartition(topic, partition, offset))

    def close_consumer(self) -> None:
        self.consumer.close()


def join(member: str, **how: Any) -> None:
    members[member] = GroupMember(**how)


def tell(member: str, what: str, **how: Any) -> Any:
    wanted = members[member]
    if what == "leave":
        return members.pop(member).leave()
    if what == "state":
        return wanted.state(**how)
    return wanted.between_polls(lambda: getattr(wanted, what)(**how))


@cache
def admin() -> AdminClient:
    return AdminClient(QUIET)


def result_of(futures: dict[Any, Any]) -> Any:
    (future,) = futures.values()
    return future.result(SECONDS_MAX)


def topic_resource(topic: str) -> ConfigResource:
    return ConfigResource(ConfigResource.Type.TOPIC, topic)


def create_topic(topic: str, partitions: int = 1, configs: dict[str, str] | None = None) -> None:
    result_of(admin().create_topics([NewTopic(topic, partitions, -1, config=configs or {})]))


def delete_topic(topic: str) -> None:
    result_of(admin().delete_topics([topic]))


def create_partitions(topic: str, total: int) -> None:
    result_of(admin().create_partitions([NewPartitions(topic, total)]))


def list_topics() -> list[str]:
    return sorted(admin().list_topics(timeout=SECONDS_MAX).topics)


def describe_configs(topic: str) -> dict[str, str]:
    entries = result_of(admin().describe_configs([topic_resource(topic)]))
    return {name: entry.value for name, entry in entries.items()}


def alter_configs(topic: str, set: dict[str, str], delete: list[str] | None = None) -> None:
    entries = [ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in set.items()]
    entries += [ConfigEntry(k, None, incremental_operation=AlterConfigOpType.DELETE) for k in delete or []]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    result_of(admin().incremental_alter_configs([resource]))


def replace_configs(topic: str, configs: dict[str, str]) -> None:
    result_of(admin().alter_configs([ConfigResource(ConfigResource.Type.TOPIC, topic, set_config=configs)]))


def delete_records(topic: str, before: dict[str, int]) -> None:
    places = [TopicPartition(topic, int(partition), offset) for partition, offset in before.items()]
    for future in admin().delete_records(places).values():
        future.result(SECONDS_MAX)


def list_offsets(topic: str, at: str | int) -> dict[str, int]:
    specs = {"earliest": OffsetSpec.earliest, "latest": OffsetSpec.latest, "max_timestamp": OffsetSpec.max_timestamp}
    spec = specs[at]() if isinstance(at, str) else OffsetSpec.for_timestamp(at)
    futures = admin().list_offsets({TopicPartition(topic, p): spec for p in partitions_of(topic)})
    return {str(place.partition): future.result(SECONDS_MAX).offset for place, future in futures.items()}


def list_groups() -> list[str]:
    return [group.group_id for group in admin().list_consumer_groups().result(SECONDS_MAX).valid]


def describe_group(group: str) -> dict[str, Any]:
    described = result_of(admin().describe_consumer_groups([group]))
    return {
        "state": described.state.name.title().replace("_", ""),
        "protocol": described.partition_assignor,
        "members": [
            {
                "client_id": member.client_id,
                "instance": member.group_instance_id,
                "assignment": [[p.topic, p.partition] for p in member.assignment.topic_partitions],
            }
            for member in described.members
        ],
    }


def delete_group(group: str) -> None:
    result_of(admin().delete_consumer_groups([group]))


def group_offsets(group: str) -> list[list[Any]]:
    found = result_of(admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
    return [[p.topic, p.partition, p.offset] for p in found.topic_partitions]


def alter_group_offsets(group: str, offsets: list[list[Any]]) -> None:
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(*place) for place in offsets])
    for place in result_of(admin().alter_consumer_group_offsets([wanted])).topic_partitions:
        if place.error:
            raise_error(place.error)


def describe_cluster() -> dict[str, Any]:
    cluster = admin().describe_cluster().result(SECONDS_MAX)
    return {
        "id": cluster.cluster_id,
        "controller": cluster.controller.id,
        "brokers": [{"id": node.id, "host": node.host, "port": node.port} for node in cluster.nodes],
    }


def describe_topic(topic: str) -> dict[str, Any]:
    described = result_of(admin().describe_topics(TopicCollection([topic])))
    return {"partitions": len(described.partitions), "id": str(described.topic_id)}


serve(
    {
        operation.__name__: operation
        for operation in (
            produce, begin_transactions, fetch, join, tell, create_topic, delete_topic, create_partitions, list_topics, describe_topic,
            describe_configs, alter_configs, replace_configs, delete_records, list_offsets, list_groups,
            describe_group, delete_group, group_offsets, alter_group_offsets, describe_cluster,
        )
    },
    code_of,
)  # fmt: skip
