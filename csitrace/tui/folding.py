"""A list of facts in which runs of FUSE counts are one line: a volume at work tells them every second."""

from collections.abc import Sequence
from typing import overload

from msgspec.structs import replace

from csitrace.model.events import FuseCounted, TraceEvent
from csitrace.model.fuse import OpCount

LONGEST = 300
"""How many counts one line may stand for, so that drawing a line stays cheap."""


class Folded(Sequence[TraceEvent]):
    """The facts, read lazily. The line of a run has the number and time of its first fact, and the counts of all."""

    def __init__(self, facts: Sequence[TraceEvent]) -> None:
        self._runs: list[list[TraceEvent]] = []
        open_runs: dict[
            tuple[str, int], list[TraceEvent]
        ] = {}  # by node and connection, since the last other fact
        for fact in facts:
            if not isinstance(fact.body, FuseCounted):
                open_runs.clear()
                self._runs.append([fact])
                continue
            connection = (fact.body.node_name, fact.body.connection)
            run = open_runs.get(connection)
            if run is None or len(run) == LONGEST:
                run = open_runs[connection] = []
                self._runs.append(run)
            run.append(fact)

    def __len__(self) -> int:
        return len(self._runs)

    @overload
    def __getitem__(self, index: int) -> TraceEvent: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TraceEvent]: ...
    def __getitem__(self, index: int | slice) -> TraceEvent | Sequence[TraceEvent]:
        if isinstance(index, slice):
            return [_joined(run) for run in self._runs[index]]
        return _joined(self._runs[index])

    def holds(self, seq: int) -> int:
        """The number of the line that stands for a fact: its own, or that of its run."""
        for run in reversed(self._runs):
            if run[0].seq <= seq <= run[-1].seq and any(fact.seq == seq for fact in run):
                return run[0].seq
        return seq


def _joined(run: list[TraceEvent]) -> TraceEvent:
    first = run[0]
    if len(run) == 1 or not isinstance(first.body, FuseCounted):
        return first
    ops: dict[str, OpCount] = {}
    interval = 0
    for fact in run:
        if isinstance(fact.body, FuseCounted):
            interval += fact.body.interval_ns
            for name, count in fact.body.ops.items():
                ops[name] = ops.get(name, OpCount()) + count
    return replace(first, body=replace(first.body, interval_ns=interval, ops=ops))
