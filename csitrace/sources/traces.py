"""Trace files as one recording: the parts of one, one after the other; several of different clocks, merged.

Within a file `seq` is the order. Between the files of different recordings there is none but that of the clocks of those who
recorded them, and the notes say so.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from csitrace.errors import TraceError
from csitrace.model.events import RecallCompleted, RecordingGap, TraceEvent, VolumeRecalled
from csitrace.model.times import SECOND, format_duration, format_rfc3339
from csitrace.sources.recording import Recording
from csitrace.trace.format import MAX_TIME
from csitrace.trace.reader import TraceReader

CLOCKS_DIFFER_NS = 2 * SECOND
"""Facts of different recordings that are closer than this are not said to be in an order. Clocks that are kept in step differ by
less; of clocks that are not, nobody can tell."""


@dataclass(frozen=True, slots=True)
class Series:
    """The parts of one recording, in their order. `begins`, `ends`: when its first and last fact were observed."""

    parts: tuple[TraceReader, ...]
    begins: int
    ends: int

    @property
    def name(self) -> str:
        return self.parts[0].name + (f" and {len(self.parts) - 1} more" if len(self.parts) > 1 else "")

    @property
    def title(self) -> str:
        header = self.parts[0].header
        return (header.title if header is not None else "") or self.parts[0].name


def open_traces(paths: Sequence[Path]) -> Recording:
    """The traces as one recording. Raises `TraceError` when one of them is none."""
    notes: list[str] = []
    series = _series([TraceReader.open(path, notes) for path in paths])
    groups = _overlapping(series)
    for group in groups:
        if len(group) > 1:
            notes.append(_unordered(group))
    titles = list(dict.fromkeys(each.title for each in series))
    title = titles[0] if len(titles) == 1 else f"{len(series)} recordings: {', '.join(titles)}"
    return Recording(title, _Events(groups, title), notes)


class _Events:
    """The events of all, as often as they are asked for. `TraceError` where there is none: what is to hold of a recording may not
    hold because nothing could be read of it."""

    def __init__(self, groups: Sequence[Sequence[Series]], title: str) -> None:
        self._groups, self._title = groups, title

    def __iter__(self) -> Iterator[TraceEvent]:
        seq = 0
        for seq, event in enumerate(self._events(), 1):
            yield event if event.seq == seq else replace(event, seq=seq)
        if not seq:
            raise TraceError(f"{self._title}: there is no fact in it, or none that could be read")

    def _events(self) -> Iterator[TraceEvent]:
        before: Series | None = None
        for group in self._groups:
            told = merged([part_events(series.parts) for series in group])
            if before is not None:
                yield from _anew(told, f"nothing was recorded from {format_rfc3339(before.ends)} on")
            else:
                yield from told
            before = max(group, key=lambda series: series.ends)


def part_events(parts: Sequence[TraceReader]) -> Iterator[TraceEvent]:
    """The events of one recording. What a part tells anew of the time before it is left out where the part before is there."""
    expected = 0
    for part in parts:
        first = part.header.first_seq if part.header is not None else 0
        follows = bool(expected) and first == expected
        events = part.events()
        if follows:
            events = _new(events)
        elif expected:
            events = _anew(
                events, f"the part before {part.name} is missing", max(first - expected, 0) or None
            )
        for event in events:
            yield event
            expected = event.seq + 1 if event.seq else expected


def merged(recordings: Sequence[Iterator[TraceEvent]]) -> Iterator[TraceEvent]:
    """The events of recordings of the same time, by `observed_at`; of each in its own order.

    What one of them knew before it began, or after it lost facts, does not undo what another knows.
    """
    if len(recordings) == 1:
        yield from recordings[0]
        return
    timed = [_timed(events, number) for number, events in enumerate(recordings)]
    for _, number, event in heapq.merge(*timed, key=lambda each: each[:2]):
        if isinstance(event.body, RecordingGap) and event.body.retold:
            yield replace(event, body=replace(event.body, retold=False))
        elif number == 0 or not isinstance(event.body, VolumeRecalled | RecallCompleted):
            yield event


def _timed(events: Iterator[TraceEvent], number: int) -> Iterator[tuple[int, int, TraceEvent]]:
    latest = 0
    for event in events:
        latest = max(latest, event.observed_at)
        yield latest, number, event


def _new(events: Iterator[TraceEvent]) -> Iterator[TraceEvent]:
    """Without what was known before the first fact."""
    begun = False
    for event in events:
        begun = begun or bool(event.seq) or isinstance(event.body, RecordingGap)
        if begun:
            yield event


def _anew(events: Iterator[TraceEvent], reason: str, lost: int | None = None) -> Iterator[TraceEvent]:
    """The events of a recording that does not go on where the one before ended: nothing of what was known counts any more."""
    for number, event in enumerate(events):
        if number == 0:
            at = event.observed_at
            body = RecordingGap(reason=reason, lost=lost, retold=True)
            yield TraceEvent(seq=0, observed_at=at, occurred_at=at, body=body)
        yield event


def _series(readers: Iterable[TraceReader]) -> list[Series]:
    """The readers by the recording they are a part of, in the order in which these begin."""
    by_recording: dict[str, list[TraceReader]] = {}
    for reader in readers:
        header = reader.header
        named = header.recording if header is not None and header.recording else f"file {reader.name}"
        by_recording.setdefault(named, []).append(reader)
    found = []
    for parts in by_recording.values():
        parts.sort(key=lambda part: part.header.part if part.header is not None else 0)
        extents = [extent for part in parts if (extent := part.extent()) is not None]
        begins = min((extent.first_at for extent in extents), default=0)
        ends = max((extent.last_at for extent in extents), default=MAX_TIME if not extents else 0)
        found.append(Series(tuple(parts), begins, ends))
    return sorted(found, key=lambda series: (series.begins, series.name))


def _overlapping(series: Iterable[Series]) -> list[list[Series]]:
    """Those that were recorded at the same time together, the others alone."""
    groups: list[list[Series]] = []
    ends = -1
    for each in series:
        if groups and each.begins <= ends + CLOCKS_DIFFER_NS:
            groups[-1].append(each)
        else:
            groups.append([each])
        ends = max(ends, each.ends)
    return groups


def _unordered(group: Sequence[Series]) -> str:
    names = ", ".join(series.name for series in group)
    return (
        f"{names}: recorded by different clocks, put together by their times: which of two facts in different "
        f"files came first is not known where they are less than {format_duration(CLOCKS_DIFFER_NS)} apart"
    )
