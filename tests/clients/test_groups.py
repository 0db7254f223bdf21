"""Consumer groups: who reads what, when members come, go, crash, pause and commit."""

from __future__ import annotations

import pytest
from agent import Agent
from conftest import eventually
from records import numbered, values
from specs import SPECS, clients

FENCED_INSTANCE_ID = 82


def state_of(member: tuple[Agent, str]) -> dict:
    client, name = member
    return client("tell", member=name, what="state")


def assigned(member: tuple[Agent, str]) -> set[tuple[str, int]]:
    return {tuple(place) for place in state_of(member)["assigned"]}


def shared_fairly(topic: str, partitions: int, *members: tuple[Agent, str]) -> bool:
    """Every partition belongs to exactly one member, and every member has some."""
    held = [assigned(member) for member in members]
    everything = {(topic, partition) for partition in range(partitions)}
    return set.union(*held) == everything and sum(map(len, held)) == partitions and all(held)


@clients("assigned")
def test_partitions_are_shared_and_given_back(client, topic, group, agents):
    name = topic(partitions=4)
    first, second = (client, "first"), (agents.another(client.name), "second")
    client("join", member="first", group=group, topics=[name])
    eventually(lambda: len(assigned(first)) == 4, why=lambda: state_of(first))
    second[0]("join", member="second", group=group, topics=[name])
    eventually(lambda: shared_fairly(name, 4, first, second), 30, why=lambda: (state_of(first), state_of(second)))

    agents("confluent")("produce", topic=name, records=numbered(40, partitions=4))
    everything = sorted(f"v{n}" for n in range(40))

    def received() -> list[str]:
        return sorted(values(state_of(first)["received"]) + values(state_of(second)["received"]))

    eventually(lambda: received() == everything, why=received)

    second[0]("tell", member="second", what="leave")
    eventually(lambda: len(assigned(first)) == 4, 30, why=lambda: state_of(first))
    client("tell", member="first", what="leave")


@clients("assigned")
def test_crashed_members_partitions_move(client, topic, group, agents):
    name = topic(partitions=4)
    first, second = (client, "first"), (agents.another(client.name), "second")
    client("join", member="first", group=group, topics=[name], session_ms=6000)
    second[0]("join", member="second", group=group, topics=[name], session_ms=6000)
    eventually(lambda: shared_fairly(name, 4, first, second), 30, why=lambda: (state_of(first), state_of(second)))
    second[0].kill()
    # The session ends after 6 s without a heartbeat, and the first member hears of it with its next one.
    eventually(lambda: len(assigned(first)) == 4, 30, why=lambda: state_of(first))
    agents("confluent")("produce", topic=name, records=numbered(8, partitions=4))
    eventually(lambda: sorted(values(state_of(first)["received"])) == [f"v{n}" for n in range(8)])
    client("tell", member="first", what="leave")


@clients()
def test_committed_place_is_resumed(client, topic, group, agents):
    name = topic(partitions=2)
    writer = agents("confluent")
    writer("produce", topic=name, records=numbered(10, partitions=2))
    client("join", member="m", group=group, topics=[name])
    eventually(lambda: len(state_of((client, "m"))["received"]) == 10, 30)
    client("tell", member="m", what="commit")
    client("tell", member="m", what="leave")
    if "group_offsets" in client.can:
        assert sorted(client("group_offsets", group=group)) == [[name, 0, 5], [name, 1, 5]]

    writer("produce", topic=name, records=numbered(6, partitions=2, start=10))
    client("join", member="m", group=group, topics=[name])
    eventually(lambda: len(state_of((client, "m"))["received"]) >= 6, 30)
    received = sorted(values(state_of((client, "m"))["received"]))
    client("tell", member="m", what="leave")
    assert received == sorted(f"v{n}" for n in range(10, 16))


@clients("assigned")
def test_uncommitted_records_come_again(client, topic, group, agents):
    name = topic()
    agents("confluent")("produce", topic=name, records=numbered(10))
    for _ in range(2):
        client("join", member="m", group=group, topics=[name])
        eventually(lambda: len(state_of((client, "m"))["received"]) == 10, 30)
        client("tell", member="m", what="leave")


@clients("static")
def test_static_member_returns_without_a_rebalance(client, topic, group, agents):
    name = topic(partitions=4)
    stays, returns = (client, "stays"), (agents.another(client.name), "returns")
    client("join", member="stays", group=group, topics=[name], instance="one", session_ms=30000)
    eventually(lambda: len(assigned(stays)) == 4, 30)
    returns[0]("join", member="returns", group=group, topics=[name], instance="two", session_ms=30000)
    eventually(lambda: shared_fairly(name, 4, stays, returns), 30, why=lambda: (state_of(stays), state_of(returns)))
    before = state_of(stays)
    held = assigned(returns)

    returns[0].kill()
    again = (agents.another(client.name), "returns")
    again[0]("join", member="returns", group=group, topics=[name], instance="two", session_ms=30000)
    eventually(lambda: assigned(again) == held, 20, why=lambda: (held, state_of(again)))
    after = state_of(stays)
    assert (after["assigned"], after["assignments"]) == (before["assigned"], before["assignments"])

    for client_of, member in (stays, again):
        client_of("tell", member=member, what="leave")


@clients("static", "fenced")
def test_second_member_of_the_same_instance_fences_the_first(client, topic, group, agents):
    name = topic(partitions=2)
    first, second = (agents.another(client.name), "m"), (agents.another(client.name), "m")
    first[0]("join", member="m", group=group, topics=[name], instance="one")
    eventually(lambda: len(assigned(first)) == 2, 30)
    second[0]("join", member="m", group=group, topics=[name], instance="one")
    eventually(lambda: len(assigned(second)) == 2, 30, why=lambda: state_of(second))

    def fenced() -> bool:
        told = " ".join(error["message"] for error in state_of(first)["errors"]).lower()
        codes = {error["code"] for error in state_of(first)["errors"]}
        return FENCED_INSTANCE_ID in codes or "fenced" in told

    eventually(fenced, why=lambda: state_of(first))
    second[0]("tell", member="m", what="leave")


@clients("cooperative-sticky", "assigned")
def test_cooperative_member_keeps_what_it_need_not_give(client, topic, group, agents):
    name = topic(partitions=4)
    first, second = (client, "first"), (agents.another(client.name), "second")
    client("join", member="first", group=group, topics=[name], assignor="cooperative-sticky")
    eventually(lambda: len(assigned(first)) == 4, 30)
    kept_before = state_of(first)["revoked"]
    second[0]("join", member="second", group=group, topics=[name], assignor="cooperative-sticky")
    eventually(lambda: shared_fairly(name, 4, first, second), 30, why=lambda: (state_of(first), state_of(second)))
    assert state_of(first)["revoked"] - kept_before == 2, "only the partitions that moved were revoked"
    for client_of, member in (first, second):
        client_of("tell", member=member, what="leave")


@pytest.mark.parametrize("assignor", ["range", "roundrobin", "sticky"])
@clients("range", "roundrobin", "sticky")
def test_assignors(client, assignor, topic, group, agents):
    name = topic(partitions=4)
    first, second = (client, "first"), (agents.another(client.name), "second")
    for client_of, member in (first, second):
        client_of("join", member=member, group=group, topics=[name], assignor=assignor)
    eventually(lambda: shared_fairly(name, 4, first, second), 30, why=lambda: (state_of(first), state_of(second)))
    eventually(lambda: agents("java")("describe_group", group=group)["protocol"] == assignor)
    for client_of, member in (first, second):
        client_of("tell", member=member, what="leave")


@clients("pause", "assigned")
def test_paused_member_keeps_its_place(client, topic, group, agents):
    name = topic()
    writer = agents("confluent" if client.name != "confluent" else "java")
    client("join", member="m", group=group, topics=[name])
    me = (client, "m")
    writer("produce", topic=name, records=numbered(3))
    eventually(lambda: len(state_of(me)["received"]) == 3, 30)
    client("tell", member="m", what="pause")
    before = state_of(me)["assignments"]
    writer("produce", topic=name, records=numbered(3, start=3))
    with pytest.raises(AssertionError):
        eventually(lambda: len(state_of(me)["received"]) > 3, seconds=2)
    client("tell", member="m", what="resume")
    eventually(lambda: values(state_of(me)["received"]) == [f"v{n}" for n in range(6)], why=lambda: state_of(me))
    assert state_of(me)["assignments"] == before
    client("tell", member="m", what="leave")


@clients("seek", "assigned")
def test_seek_replays(client, topic, group, agents):
    name = topic()
    agents("confluent")("produce", topic=name, records=numbered(20))
    client("join", member="m", group=group, topics=[name])
    me = (client, "m")
    eventually(lambda: len(state_of(me)["received"]) == 20, 30)
    client("tell", member="m", what="seek", topic=name, partition=0, offset=15)
    eventually(lambda: len(state_of(me)["received"]) == 25, why=lambda: state_of(me)["received"])
    replayed = values(state_of(me)["received"])[20:]
    client("tell", member="m", what="leave")
    assert replayed == [f"v{n}" for n in range(15, 20)]


@clients("alter_group_offsets", "assigned")
def test_two_groups_read_the_same_topic(client, topic, new_name, agents):
    name = topic(partitions=2)
    agents("confluent")("produce", topic=name, records=numbered(20, partitions=2))
    for member in ("one", "two"):
        client("join", member=member, group=new_name("group"), topics=[name])
    for member in ("one", "two"):
        eventually(
            lambda: len(state_of((client, member))["received"]) == 20, 30, why=lambda: state_of((client, member))
        )
        client("tell", member=member, what="leave")


def test_different_clients_share_a_group(topic, group, agents):
    """Five clients that all know the range assignor are one group."""
    name = topic(partitions=10)
    members = [
        (agents.another(spec.name), f"member-{spec.name}") for spec in SPECS if {"range", "assigned"} <= spec.can
    ]
    assert len(members) >= 5
    for client, member in members:
        client("join", member=member, group=group, topics=[name], assignor="range", session_ms=20000)
    eventually(lambda: shared_fairly(name, 10, *members), 60, why=lambda: [state_of(m) for m in members])
    agents("confluent")("produce", topic=name, records=numbered(100, partitions=10))

    def received() -> list[str]:
        return sorted(value for member in members for value in values(state_of(member)["received"]))

    eventually(lambda: received() == sorted(f"v{n}" for n in range(100)), 30, why=received)
    for client, member in members:
        client("tell", member=member, what="leave")

