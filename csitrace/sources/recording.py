"""What was recorded, in whatever form, as the events it holds: a trace, or anything that can be imported."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from csitrace.model.events import TraceEvent


@dataclass(frozen=True, slots=True)
class Recording:
    """Events in `seq` order, read as they are asked for. `title`: what people call it; `notes`: one line for each thing that could
    not be read, and where; it grows while events are read."""

    title: str
    events: Iterable[TraceEvent]
    notes: list[str] = field(default_factory=list)


def open_recording(paths: Sequence[Path]) -> Recording:
    """One recording of one or several files or directories. Raises `TraceError` when none of it can be read."""
    raise NotImplementedError(paths)
