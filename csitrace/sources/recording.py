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
    """One recording of one or several files or directories: of traces, or else of what can be imported.

    Raises `TraceError` when none of it can be read, or when it is some of both.
    """
    if not paths:
        raise TraceError("no recording is named: name a file")
    traces = [found for path in paths if (found := _traces(path))]
    if not traces:
        from csitrace.sources.imports.importing import open_import

        return open_import(paths)
    if len(traces) < len(paths):
        other = next(path for path in paths if not _traces(path))
        raise TraceError(f"{other} is no trace, and others are: make one of it first, with import")
    from csitrace.sources.traces import open_traces

    return open_traces(list(dict.fromkeys(path for found in traces for path in found)))


def _traces(path: Path) -> list[Path]:
    """The trace that a file is, or those in a directory; none where there is anything else. A file named as a trace is read
    as one: the reader says what is wrong with it. Raises `TraceError` where it cannot be looked at."""
    from csitrace.trace.format import DATA_MAGIC_BYTES, INDEX_MAGIC_BYTES

    try:
        if path.is_dir():
            return sorted(path.glob(f"*{SUFFIX}"))
        if path.suffix == SUFFIX:
            return [path]
        with path.open("rb") as file:
            begins = file.read(len(INDEX_MAGIC_BYTES))
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from None
    return [path] if begins in (INDEX_MAGIC_BYTES, DATA_MAGIC_BYTES) else []
