"""Bodies on the wire and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csitrace.feed import feed_pb2 as pb
from csitrace.feed.conversion import FeedBody, FeedEvent, Origin, decode, decode_origin, encode, encode_origin
from csitrace.model.events import MountAppeared, RpcStarted
from csitrace.model.mounts import Mount
from tests.unit.feed.strategies import bodies, names

ORIGIN = Origin("run-1", "probe.example.com", "node-1", 5)


@given(body=bodies, sequence=st.integers(1, 2**63), occurred_at=st.integers(0, 2**62))
def test_every_body_survives_the_wire(body: FeedBody, sequence: int, occurred_at: int) -> None:
    """What is decoded from an encoded event's bytes equals the event, whoever published it."""
    event = FeedEvent(sequence, occurred_at, body)
    received = pb.Event.FromString(encode(event, ORIGIN).SerializeToString())
    assert decode(received, ORIGIN) == event


@given(instance=names, driver=names, node_name=st.just("") | names, started_at=st.integers(0, 2**62))
def test_an_origin_survives_the_wire(instance: str, driver: str, node_name: str, started_at: int) -> None:
    """Who publishes is told whole."""
    origin = Origin(instance, driver, node_name, started_at)
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
