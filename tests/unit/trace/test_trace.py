"""The trace file: what is written is read, and whatever happens to the bytes costs no more than it must."""

import contextlib
import io
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from csitrace.errors import TraceError
from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.state import State
from csitrace.model.events import Marked, MountAppeared, RecordingGap, TraceEvent, Unrecognised
from csitrace.model.mounts import Mount
from csitrace.trace import format as trace_format
from csitrace.trace.format import Header, Index, pack_index
from csitrace.trace.reader import TraceReader
from csitrace.trace.writer import TraceWriter, new_header
from tests.story import Story, straight_road, way_back_road
from tests.unit.trace.strategies import EVENTS

DAMAGED = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])


def road() -> list[TraceEvent]:
    told = Story()
    straight_road(told)
    return way_back_road(told).events


ROAD = road()
BLOCK = 7


def written(
    directory: Path, events: Sequence[TraceEvent], block: int = BLOCK, name: str = "x.csitrace"
) -> bytes:
    """The bytes of a file with these events, some to a block."""
    path = directory / name
    path.unlink(missing_ok=True)
    writer = TraceWriter(path, new_header("told", 5, events[0].seq if events else 1, "told"))
    for start in range(0, len(events), block):
        writer.write(events[start : start + block])
        writer.flush()
    writer.close()
    return path.read_bytes()


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("trace"), ROAD)


def read(content: bytes) -> tuple[list[TraceEvent], list[str]]:
    reader = TraceReader.of(content)
    return list(reader.events()), reader.notes


@given(events=EVENTS)
@settings(max_examples=100)
def test_any_events_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, events: list[TraceEvent]
) -> None:
    """Every body, every text, every number: what is read equals what was written."""
    assert read(written(tmp_path_factory.mktemp("any"), events)) == (events, [])


def test_public_tools_read_it(trace: bytes) -> None:
    """Any zstd decompresses the whole file to JSON lines; the header is the first."""
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(trace), read_across_frames=True) as stream:
        lines = stream.read().splitlines()
    assert lines[0].startswith(b'{"format":"csitrace","version":[1,0]')
    assert len(lines) == 1 + len(ROAD)


@given(data=st.data())
@DAMAGED
def test_a_file_cut_off_anywhere_has_what_was_before(trace: bytes, data: st.DataObject) -> None:
    """Its whole blocks are there and nothing else, and it says that its end is torn off."""
    cut = data.draw(st.integers(0, len(trace) - 1))
    try:
        events, notes = read(trace[:cut])
    except TraceError:
        assert cut < 400  # within the header: there is no recording yet
        return
    assert events == ROAD[: len(events)]
    assert len(events) % BLOCK == 0
    whole = read(trace[:cut] + b"")[0]
    assert whole == events
    assert notes or events == ROAD or len(read(trace[: cut + 1])[0]) >= len(events)


@given(data=st.data())
@DAMAGED
def test_a_changed_byte_costs_its_block_at_the_most(trace: bytes, data: st.DataObject) -> None:
    """All other events are there, unchanged; what is missing is told in the events and in the notes."""
    place, bit = data.draw(st.integers(0, len(trace) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(trace)
    changed[place] ^= 1 << bit
    events, notes = read(bytes(changed))
    facts = [event for event in events if event.seq]
    assert all(ROAD[event.seq - 1] == event for event in facts)
    assert len(ROAD) - len(facts) <= BLOCK
    missing = [event.body for event in events if not event.seq]
    if len(facts) < len(ROAD):
        assert notes
    if len(facts) < len(ROAD) and facts[-1].seq == len(ROAD):
        assert [body.lost for body in missing if isinstance(body, RecordingGap)] == [len(ROAD) - len(facts)]


def test_an_index_of_a_wrong_length_hides_no_block(trace: bytes) -> None:
    """Also where that length leads to the very beginning of a later index: its own block, and those between, are read."""
    magic = struct.pack("<I", trace_format.INDEX_MAGIC)
    begins = [at for at in range(len(trace)) if trace.startswith(magic, at)]
    for here, there in zip(begins, begins[2:], strict=False):
        changed = bytearray(trace)
        struct.pack_into("<I", changed, here + 4, there - here - 8)
        events, _ = read(bytes(changed))
        assert events == ROAD


@given(content=st.binary(max_size=400), whole=st.booleans())
@settings(max_examples=300)
def test_on_any_bytes_there_is_one_error(trace: bytes, content: bytes, whole: bool) -> None:
    """Random bytes alone or among whole blocks: events, notes, or `TraceError`."""
    for bytes_ in (content, trace[:600] + content + (trace[600:] if whole else b"")):
        with contextlib.suppress(TraceError):
            read(bytes_)


def test_it_is_read_without_its_indexes(trace: bytes) -> None:
    """Compressed anew by a public tool, as one frame or several, it is the same recording; seeking works, too."""
    plain = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(trace), read_across_frames=True).read()
    lines = plain.splitlines(keepends=True)
    frames = [zstandard.compress(b"".join(lines[at : at + 9])) for at in range(0, len(lines), 9)]
    for content in (zstandard.compress(plain), b"".join(frames)):
        reader = TraceReader.of(content)
        assert list(reader.events()) == ROAD
        assert list(reader.events(30)) == ROAD[29:]
        assert not reader.notes


def test_seeking_reads_from_a_seq_or_a_time_on(trace: bytes) -> None:
    """Nothing before it, everything from it on, wherever it is; beyond the end there is nothing."""
    reader = TraceReader.of(trace)
    for event in ROAD:
        assert list(reader.events(event.seq)) == ROAD[event.seq - 1 :]
        assert list(reader.events(since=event.observed_at)) == ROAD[event.seq - 1 :]
    assert not list(reader.events(len(ROAD) + 1))
    extent = reader.extent()
    assert extent is not None
    assert (extent.count, extent.first_seq, extent.last_seq) == (len(ROAD), 1, len(ROAD))
    assert (extent.first_at, extent.last_at) == (ROAD[0].observed_at, ROAD[-1].observed_at)


def block(
    raw: bytes, *, flags: int = 0, major: int = 1, size: int | None = None, claimed: int | None = None
) -> bytes:
    data = zstandard.ZstdCompressor(write_checksum=True).compress(raw)
    index = Index(
        flags=flags, count=1, size=size if size is not None else len(data), raw=claimed if claimed is not None else len(raw),
        first_seq=1, last_seq=1, first_at=1, last_at=1, major=major,
    )  # fmt: skip
    return pack_index(index) + data


def header(version: tuple[int, int] = (1, 0), major: int = 1) -> bytes:
    told = Header(format="csitrace", version=version)
    return block(
        trace_format.header_encoder.encode(told) + b"\n", flags=trace_format.HEADER_BLOCK, major=major
    )


def test_what_a_later_version_adds_is_skipped_and_counted() -> None:
    """Unknown kinds of facts and of objects are carried as they are and counted; unknown fields are dropped."""
    lines = (
        b'{"seq":1,"observed_at":5,"occurred_at":5,"body":{"type":"QuotaSpent","ns":"shop"}}',
        b'{"seq":2,"observed_at":6,"occurred_at":6,"body":{"type":"ObjectAdded","object":{"kind":"Snapshot"}}}',
        b'{"seq":3,"observed_at":7,"occurred_at":7,"why":"new","body":{"type":"Marked","text":"m","colour":"red"}}',
        b"no event at all",
    )
    events, notes = read(header((1, 9)) + block(b"\n".join(lines)))
    assert events[0].body == Unrecognised(told={"type": "QuotaSpent", "ns": "shop"})
    assert events[2].body == Marked(text="m")
    state = State()
    for event in events:
        state = fold(state, event)
    assert (state.events_skipped, state.seq, state.at) == (2, 3, 7)
    assert notes == ["recording: 1 lines are no events"]


@pytest.mark.parametrize("newer", [header((2, 0)), header((2, 0), 2), header() + block(b"x", major=2)])
def test_a_newer_major_version_is_refused(newer: bytes) -> None:
    """By header or index; the text says what to do."""
    with pytest.raises(TraceError, match="use a newer csitrace"):
        read(newer)


def test_what_is_no_recording_is_refused_in_one_line(tmp_path: Path) -> None:
    """Empty, text, a directory, a FIFO, nothing at all, somebody else's zstd."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "text").write_text("apiVersion: v1\n")
    (tmp_path / "empty").touch()
    (tmp_path / "other").write_bytes(zstandard.compress(b"some text\n"))
    for name in (".", "fifo", "text", "empty", "other", "missing"):
        with pytest.raises(TraceError) as caught:
            TraceReader.open(tmp_path / name)
        assert str(tmp_path) in str(caught.value)


def test_bombs_do_not_go_off() -> None:
    """Frames that would grow beyond measure, ask for a huge window, or lie about their size are let be; the rest is read."""
    zeros = zstandard.compress(bytes(200 << 20))
    newlines = zstandard.compress(b"\n" * (200 << 20))
    window = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=27)
    ).compressobj()
    wide = window.compress(os.urandom(1000) * 200_000) + window.flush()
    nested = (
        b'{"seq":1,"observed_at":5,"occurred_at":5,"body":{"type":"X","a":'
        + b"[" * 100_000
        + b"]" * 100_000
        + b"}}"
    )
    fine = block(b'{"seq":1,"observed_at":5,"occurred_at":5,"body":{"type":"Marked","text":"m"}}\n')
    huge_foreign = struct.pack("<II", 0x184D2A50, 0xFFFFFFF0)
    for bomb in (
        zeros, newlines, wide, huge_foreign, block(b"x", claimed=1 << 31), block(bytes(9 << 20)), block(b"xyz", claimed=2),
        block(nested),
    ):  # fmt: skip
        events, notes = read(header() + bomb + fine)
        assert [event.body for event in events if event.seq] == [Marked(text="m")]
        assert notes or bomb == newlines


def test_a_seq_that_jumps_is_told_as_missing() -> None:
    """Also where the blocks are all whole: what a recorder let go is not hidden."""
    line = b'{"seq":%d,"observed_at":5,"occurred_at":5,"body":{"type":"Marked","text":"m"}}\n'
    events, _ = read(header() + block(line % 1 + line % 5))
    assert [event.body.lost for event in events if isinstance(event.body, RecordingGap)] == [3]


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    """Mode 0600 whatever the umask; one that exists is refused, then replaced by a new one when asked; links are not followed."""
    before = os.umask(0)
    try:
        content = written(tmp_path, ROAD)
    finally:
        os.umask(before)
    path = tmp_path / "x.csitrace"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(TraceError, match="--overwrite"):
        TraceWriter(path, new_header("", 1, 1))
    path.chmod(0o644)
    other = tmp_path / "other"
    os.link(path, other)
    TraceWriter(path, new_header("", 1, 1), overwrite=True).close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert other.read_bytes() == content
    link = tmp_path / "link"
    link.symlink_to(other)
    with pytest.raises(TraceError, match="no regular file"):
        TraceWriter(link, new_header("", 1, 1), overwrite=True)
    with pytest.raises(TraceError, match="cannot make"):
        TraceWriter(tmp_path / "no" / "x", new_header("", 1, 1))


def test_a_name_that_is_no_text_does_not_stop_the_writing(tmp_path: Path) -> None:
    """The kernel's paths may hold any bytes: what is no UTF-8 in them is lost, the fact is not."""
    mount = Mount(mount_id=1, parent_id=1, major=0, minor=1, root="/", mount_point="/a\udcff")
    event = replace(ROAD[0], body=MountAppeared(node_name="n", mount=mount))
    events, notes = read(written(tmp_path, [event]))
    assert events[0].body == MountAppeared(node_name="n", mount=replace(mount, mount_point="/a?"))
    assert not notes
