"""The facts of a history in little memory: the latest as they are, those before them packed. Each is found by seq and by time.

A packed fact takes a tenth of the memory or less, so that a recording is kept whole, however long it is.
"""

import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import get_args

import msgspec

from csitrace.model.events import Body, TraceEvent

CHUNK = 256
"""Facts that are packed together, and unpacked again when one of them is asked for."""

_RECENT = 16
"""Chunks at the end that are not packed: what is asked for most."""

_UNPACKED = 80
"""Chunks that stay unpacked after they were asked for: who looks for an object's last change looks back some 20,000 facts."""

_LEVEL = 1  # zlib's fastest: higher ones pack a few per cent more, at several times the cost
_KNOWN = frozenset(get_args(Body))
_READER = msgspec.msgpack.Decoder(tuple[TraceEvent, ...])
_Chunk = tuple[TraceEvent, ...]


class Kept:
    """Facts as they were kept at one time, in order, unpacked as they are read, in any thread: nothing changes them."""

    def __init__(self, chunks: Sequence[bytes | _Chunk], count: int, first_seq: int) -> None:
        """`count` facts from `first_seq` on, at the end of `chunks`."""
        self._chunks, self._count, self.first_seq = chunks, count, first_seq

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[TraceEvent]:
        for chunk in self._chunks:
            for event in chunk if isinstance(chunk, tuple) else _READER.decode(zlib.decompress(chunk)):
                if event.seq >= self.first_seq:
                    yield event


class EventLog:
    """Append-only, in `seq` order; seqs may have gaps where a recording has. Not shared between threads."""

    def __init__(self) -> None:
        self._seqs = array("q")
        self._times = array("q")  # the latest `observed_at` so far: never falls, whatever clocks did
        self._chunks: deque[bytes | _Chunk] = deque()
        self._open: list[TraceEvent] = []  # the chunk that is being filled
        self._gone = 0  # chunks let go
        self._unpacked: OrderedDict[int, _Chunk] = (
            OrderedDict()
        )  # by number, those let go counted; the latest used last

    def __len__(self) -> int:
        return len(self._seqs)

    def append(self, event: TraceEvent) -> None:
        """Its seq must be greater than all before."""
        self._seqs.append(event.seq)
        self._times.append(max(event.observed_at, self._times[-1]) if self._times else event.observed_at)
        self._open.append(event)
        if len(self._open) == CHUNK:
            self._chunks.append(tuple(self._open))
            self._open = []
            if len(self._chunks) > _RECENT:
                self._chunks[-_RECENT - 1] = _packed(self._chunks[-_RECENT - 1])

    def event(self, seq: int) -> TraceEvent | None:
        """The fact `seq`, or None where it is not (or no longer) kept."""
        place = bisect_left(self._seqs, seq)
        if place == len(self._seqs) or self._seqs[place] != seq:
            return None
        return self._chunk(place // CHUNK)[place % CHUNK]

    def events(self, first: int, last: int) -> Iterator[TraceEvent]:
        """The kept facts with first <= seq <= last, in order."""
        place, end = bisect_left(self._seqs, first), bisect_right(self._seqs, last)
        while place < end:
            start = place // CHUNK * CHUNK
            yield from self._chunk(place // CHUNK)[place - start : end - start]
            place = start + CHUNK

    def kept(self, after: int) -> Kept:
        """A copy of the facts with a greater seq, made without unpacking any."""
        place = bisect_right(self._seqs, after)
        first_seq = self._seqs[place] if place < len(self._seqs) else 0
        chunks = [*self._chunks, tuple(self._open)][place // CHUNK :]
        return Kept(chunks, len(self._seqs) - place, first_seq)

    def upto(self, seq: int) -> int:
        """The seq of the last kept fact with no greater seq; 0 where there is none."""
        place = bisect_right(self._seqs, seq)
        return self._seqs[place - 1] if place else 0

    def moved(self, seq: int, count: int) -> int:
        """The seq of the fact that is `count` facts after (before) fact `seq`, or the nearest; 0 before the first one."""
        place = bisect_right(self._seqs, seq) + count
        return self._seqs[min(place, len(self._seqs)) - 1] if place > 0 and self._seqs else 0

    def seq_at(self, at: int) -> int:
        """The seq of the last fact that had come by then (ns); 0 where none had."""
        place = bisect_right(self._times, at)
        return self._seqs[place - 1] if place else 0

    def time_of(self, seq: int) -> int | None:
        """When fact `seq`, or the last one before it, had come (ns)."""
        place = bisect_right(self._seqs, seq)
        return self._times[place - 1] if place else None

    def span(self) -> tuple[int, int]:
        """When the first and the last of the kept facts had come (ns); (0, 0) where there is none."""
        return (self._times[0], self._times[-1]) if self._times else (0, 0)

    def counts(self, edges: Sequence[int]) -> list[int]:
        """How many facts came from each of these times (ns, rising) until just before the next one."""
        places = [bisect_left(self._times, edge) for edge in edges]
        return [after - before for before, after in pairwise(places)]

    def let_go(self, seq: int) -> None:
        """Forget the chunks in which no fact has a greater seq."""
        while self._chunks and self._seqs[CHUNK - 1] <= seq:
            self._chunks.popleft()
            self._unpacked.pop(self._gone, None)
            self._gone += 1
            del self._seqs[:CHUNK], self._times[:CHUNK]

    def _chunk(self, place: int) -> Sequence[TraceEvent]:
        if place == len(self._chunks):
            return self._open
        kept = self._chunks[place]
        if isinstance(kept, tuple):
            return kept
        number = self._gone + place
        unpacked = self._unpacked.pop(number, None) or _READER.decode(zlib.decompress(kept))
        self._unpacked[number] = unpacked
        if len(self._unpacked) > _UNPACKED:
            self._unpacked.popitem(last=False)
        return unpacked


def _packed(chunk: bytes | _Chunk) -> bytes | _Chunk:
    """The chunk packed; as it is where it is already, or holds what could not be read back."""
    if isinstance(chunk, bytes) or any(type(event.body) not in _KNOWN for event in chunk):
        return chunk
    return zlib.compress(msgspec.msgpack.encode(chunk), _LEVEL)
