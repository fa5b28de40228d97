"""The messages of the control socket: what one side encodes, the other decodes, whatever the stream does to it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driver_ref.fs.channel import (
    BUCKET_COUNT,
    ERRNO_NUMBERS,
    FAULTABLE_OPS,
    MAX_LINE_BYTES,
    ChannelError,
    Counters,
    Error,
    Fault,
    Hello,
    LineBuffer,
    Message,
    Ok,
    OpCount,
    SetFaults,
    SetSize,
    SlowOp,
    Stop,
    decode_from_daemon,
    decode_to_daemon,
    encode,
)
from driver_ref.fs.operations import _METHODS

NATURAL = st.integers(0, 2**62)
ERRNO = st.sampled_from(sorted(ERRNO_NUMBERS))
OP = st.sampled_from(FAULTABLE_OPS)
OP_COUNT = st.builds(
    OpCount,
    NATURAL,
    st.dictionaries(ERRNO, NATURAL, max_size=3),
    NATURAL,
    NATURAL,
    st.lists(NATURAL, min_size=BUCKET_COUNT, max_size=BUCKET_COUNT),
)
FROM_DAEMON = st.one_of(
    st.builds(Hello, NATURAL, NATURAL, st.text(), NATURAL, NATURAL, NATURAL),
    st.builds(
        Counters, NATURAL, st.dictionaries(OP, OP_COUNT, max_size=2), NATURAL, NATURAL, NATURAL, NATURAL
    ),
    st.builds(SlowOp, OP, NATURAL, NATURAL, st.none() | ERRNO, st.none() | NATURAL, NATURAL),
    st.just(Ok()),
    st.builds(Error, st.text()),
)
FAULT = st.builds(
    Fault,
    st.just("*") | OP,
    st.none() | ERRNO,
    st.integers(0, 10**6),
    st.booleans(),
    st.none() | st.integers(1, 10**6),
)
TO_DAEMON = st.one_of(
    st.builds(SetFaults, st.lists(FAULT, max_size=3)),
    st.builds(SetSize, st.integers(1, 2**62)),
    st.just(Stop()),
)


@given(st.lists(FROM_DAEMON, max_size=5), st.integers(1, 50))
def test_any_messages_in_any_pieces_arrive_whole(messages: list[Message], piece: int) -> None:
    """A stream of messages cut anywhere gives the same messages in the same order."""
    stream = b"".join(map(encode, messages))
    lines = LineBuffer()
    arrived = [
        decode_from_daemon(line)
        for start in range(0, len(stream), piece)
        for line in lines.feed(stream[start : start + piece])
    ]
    assert arrived == messages


@given(TO_DAEMON)
def test_commands_round_trip(command: SetFaults | SetSize | Stop) -> None:
    """Every valid command decodes to itself."""
    assert decode_to_daemon(encode(command).rstrip()) == command


@given(st.binary())
def test_any_bytes_are_a_message_or_a_channel_error(line: bytes) -> None:
    """No input makes the decoders raise anything else."""
    for decode in (decode_from_daemon, decode_to_daemon):
        with contextlib.suppress(ChannelError):
            assert isinstance(decode(line), Message)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (b'{"type":"set_faults","faults":[{"op":"READ"}]}', "needs errno, delay_ms or hang"),
        (b'{"type":"set_faults","faults":[{"op":"READ","errno":"EBAD_NAME"}]}', "EBAD_NAME"),
        (b'{"type":"set_faults","faults":[{"op":"FORGET","hang":true}]}', "FORGET"),
        (b'{"type":"set_faults","faults":[{"op":"READ","delay_ms":-1}]}', "delay_ms is -1"),
        (b'{"type":"set_faults","faults":[{"op":"READ","hang":true,"count":0}]}', "count is 0"),
        (b'{"type":"set_faults","faults":[{"op":"READ","hang":true,"errorno":"EIO"}]}', "errorno"),
        (b'{"type":"set_size","bytes":-5}', "bytes is -5"),
        (b'{"type":"reboot"}', "reboot"),
        (b"[" * 100_000, "not a command"),
    ],
)
def test_a_refusal_says_what_is_wrong(line: bytes, wrong: str) -> None:
    """The text names the value or the field that is not right."""
    with pytest.raises(ChannelError, match=wrong):
        decode_to_daemon(line)


def test_an_endless_line_is_refused() -> None:
    """A line may not grow beyond the limit; one that just fits is delivered."""
    lines = LineBuffer()
    assert list(lines.feed(b"x" * MAX_LINE_BYTES)) == []
    assert list(lines.feed(b"\n")) == [b"x" * MAX_LINE_BYTES]
    with pytest.raises(ChannelError):
        list(lines.feed(b"x" * (MAX_LINE_BYTES + 1)))


def test_what_can_be_made_to_fail_is_what_is_served() -> None:
    """The operations a fault may name are exactly those that have a handler."""
    assert set(FAULTABLE_OPS) == set(_METHODS)
