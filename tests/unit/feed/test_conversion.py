"""Bodies on the wire and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csitrace.feed import feed_pb2 as pb
from csitrace.feed.conversion import (
    Agent,
    FeedBody,
    FeedEvent,
    Origin,
    decode,
    decode_origin,
    encode,
    encode_origin,
)
from csitrace.model.events import MountAppeared, RpcStarted, SourceUp, Stamp, Witness
from csitrace.model.mounts import Mount
from tests.unit.feed.strategies import bodies, names

ORIGIN = Origin("run-1", "probe.example.com", "node-1", 5)


@given(
    body=bodies,
    sequence=st.integers(1, 2**63),
    occurred_at=st.integers(0, 2**62),
    stamp=st.sampled_from([Stamp.ORIGIN, Stamp.OBSERVED, Stamp.INFERRED]),
)
def test_every_body_survives_the_wire(body: FeedBody, sequence: int, occurred_at: int, stamp: Stamp) -> None:
    """What is decoded from an encoded event's bytes equals the event, whoever published it and whoever's time it has."""
    event = FeedEvent(sequence, occurred_at, body, stamp=stamp)
    received = pb.Event.FromString(encode(event, ORIGIN).SerializeToString())
    assert decode(received, ORIGIN) == event


@given(
    instance=names,
    driver=names,
    node_name=st.just("") | names,
    started_at=st.integers(0, 2**62),
    agent=st.none() | st.builds(Agent, version=names, node_name=names),
)
def test_an_origin_survives_the_wire(
    instance: str, driver: str, node_name: str, started_at: int, agent: Agent | None
) -> None:
    """Who publishes is told whole."""
    origin = Origin(instance, driver, node_name, started_at, agent)
    assert decode_origin(pb.Origin.FromString(encode_origin(origin).SerializeToString())) == origin


def test_the_names_of_the_origin_are_not_repeated() -> None:
    """An event of the origin itself carries neither driver, instance nor node, and is read with them."""
    body = RpcStarted(
        driver=ORIGIN.driver, instance=ORIGIN.instance, node_name=ORIGIN.node_name, call_id=1, method="/m"
    )
    wire = encode(FeedEvent(1, 2, body), ORIGIN)
    assert (wire.rpc_started.driver, wire.rpc_started.instance, wire.rpc_started.node_name) == ("", "", "")
    decoded = decode(wire, ORIGIN)
    assert decoded is not None
    assert decoded.body == body


def test_a_path_that_is_no_utf8_is_made_readable() -> None:
    """Linux paths are bytes: one that protobuf's text cannot hold is told with escapes, not refused."""
    path = b"/mnt/\xff".decode(errors="surrogateescape")
    body = MountAppeared(
        node_name="n", mount=Mount(mount_id=1, parent_id=0, major=0, minor=1, root="/", mount_point=path)
    )
    decoded = decode(encode(FeedEvent(1, 2, body), ORIGIN), ORIGIN)
    assert decoded is not None
    assert isinstance(decoded.body, MountAppeared)
    assert decoded.body.mount.mount_point == "/mnt/\\udcff"


def test_an_event_of_a_later_version_is_passed_over() -> None:
    """An event whose body this version does not know decodes to None."""
    later = pb.Event(sequence=3).SerializeToString() + b"\xfa\x06\x02\x08\x01"  # field 111, a message
    assert decode(pb.Event.FromString(later), ORIGIN) is None


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"x"', '{"a":1}{', "\ud7ff"])
def test_a_payload_that_is_no_object_is_empty(text: str) -> None:
    """Another language's driver may err in its JSON; the call is told all the same."""
    decoded = decode(pb.Event(sequence=1, rpc_started=pb.RpcStarted(request_json=text)), ORIGIN)
    assert decoded is not None
    assert isinstance(decoded.body, RpcStarted)
    assert decoded.body.request == {}


def test_an_agents_events_are_passed_over_by_readers_that_do_not_know_them() -> None:
    """The new fields' numbers are beyond those of csitrace.feed.v1 as it was: an old reader finds an event without a body."""
    event = FeedEvent(3, 4, SourceUp(witness=Witness.KERNEL, scope="n"), stamp=Stamp.OBSERVED)
    wire = encode(event, ORIGIN)
    known_before = {field.number for field, _ in wire.ListFields() if field.number <= 9}
    assert known_before == {1, 2}
    assert wire.SerializeToString() == b"\x08\x03\x10\x04\x52\x05\x08\x03\x12\x01n\x70\x01"


def test_a_witness_of_a_later_version_is_read() -> None:
    """What is not known is taken for a driver, and does not fail."""
    wire = pb.Event(sequence=1, source_up=pb.SourceUp(witness=17, scope="x"))  # type: ignore[arg-type]
    decoded = decode(pb.Event.FromString(wire.SerializeToString()), ORIGIN)
    assert decoded is not None
    assert decoded.body == SourceUp(witness=Witness.DRIVER, scope="x")
