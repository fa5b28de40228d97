"""What was recorded, in whatever form, as the events it holds: a trace, or anything that can be imported."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from csitrace.errors import TraceError
from csitrace.model.events import TraceEvent

SUFFIX = ".csitrace"


@dataclass(frozen=True, slots=True)
class Recording:
    """Events in `seq` order, read as they are asked for; `seq` counts from 1 without gaps. `title`: what people call it;
    `notes`: one line for each thing that could not be read, and where; it grows while events are read."""

    title: str
    events: Iterable[TraceEvent]
    notes: list[str] = field(default_factory=list)


def open_recording(paths: Sequence[Path]) -> Recording:
    """One recording of one or several files or directories. Raises `TraceError` when none of it can be read."""
    from csitrace.sources.traces import open_traces

    return open_traces(_files(paths))


def _files(paths: Sequence[Path]) -> list[Path]:
    """The files, and the traces in the directories. Raises `TraceError` for a directory without any."""
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            found[path] = None
            continue
        inside = sorted(path.glob(f"*{SUFFIX}"))
        if not inside:
            raise TraceError(f"{path}: no *{SUFFIX} in it: name a recording")
        found.update(dict.fromkeys(inside))
    if not found:
        raise TraceError("no recording is named: name a file")
    return list(found)
