"""Facts in order: one line each, and one of them in full with what it changed."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from rich.cells import cell_len

from csitrace.lifecycle.filter import Field, Filter, Kind, parse
from csitrace.model.events import ObjectAdded, ObjectDeleted, ObjectListed, ObjectModified, Stamp, TraceEvent
from csitrace.model.kubernetes import KubernetesObject, to_builtins
from csitrace.model.times import format_rfc3339
from csitrace.tui.columns import Column
from csitrace.tui.lines import Line, Tone, line, wrap
from csitrace.tui.text import moment_text
from csitrace.tui.watched import FactLog, Watched

_LOOK_BACK = 20_000
_STAMP_WORDS = {
    Stamp.OBSERVED: "seen to happen",
    Stamp.ORIGIN: "by the origin's clock",
    Stamp.SERVER: "from a field of the object",
    Stamp.INFERRED: "concluded from other facts",
}
_LONG_IDS = re.compile(r"([0-9a-f]{8})(?:(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{24,})")
"""uids and digests, as they stand in the names of PVs and VolumeAttachments."""

_OBJECT_BODIES = (ObjectListed, ObjectAdded, ObjectModified, ObjectDeleted)


def fact_columns(watched: Watched) -> tuple[Column[TraceEvent], ...]:
    """The columns of the list of facts."""

    def witness(event: TraceEvent, now: int, width: int) -> Line:
        return line((str(watched.describe(event)[0] or "-"), Tone.DIM))

    def fact(event: TraceEvent, now: int, width: int) -> Line:
        """Long ids give way first: what has changed stands behind them."""
        words = watched.describe(event)[1]
        return line(words if cell_len(words) <= width else _LONG_IDS.sub(r"\1…", words))

    return (
        Column("#", lambda event, now, width: line((str(event.seq), Tone.DIM)), 6, 6, right=True),
        Column(
            "AT", lambda event, now, width: line(moment_text(event.occurred_at, event.stamp, now)), 12, 13
        ),
        Column("WITNESS", witness, 6, 10, priority=1),
        Column("FACT", fact, 30, 50, weight=1),
    )


def fact_filter(watched: Watched) -> Callable[[str], Filter[TraceEvent]]:
    """The filter language over facts. The result raises `FilterError`."""
    fields: dict[str, Field[TraceEvent]] = {
        "witness": Field(Kind.TEXT, "who says it", lambda event: (str(watched.describe(event)[0] or ""),)),
        "type": Field(
            Kind.TEXT, "ObjectModified, RpcFinished, …", lambda event: (type(event.body).__name__,)
        ),
        "kind": Field(Kind.TEXT, "kind of the object", _kind_of),
        "seq": Field(Kind.NUMBER, "the fact's number", number=lambda event, now: event.seq),
    }

    def names(event: TraceEvent) -> tuple[str, ...]:
        return (watched.describe(event)[1],)

    return lambda text: parse(text, fields, names)


def _kind_of(event: TraceEvent) -> tuple[str, ...]:
    return (event.body.object.kind,) if isinstance(event.body, _OBJECT_BODIES) else ()


def fact_lines(watched: Watched, event: TraceEvent, now: int, width: int) -> list[Line]:
    """One fact: its words, its times, and its fields; of an object only those that are not as they were before."""
    _, words = watched.describe(event)
    lines = wrap(line((f" #{event.seq} ", Tone.DIM), (words, Tone.STRONG)), width - 1, indent=2)
    late = event.observed_at - event.occurred_at
    told = f"; told to us {late / 1e9:.1f}s later" if late >= 100_000_000 else ""
    lines.append(
        line((f"  {format_rfc3339(event.occurred_at)}, {_STAMP_WORDS[event.stamp]}{told}", Tone.DIM))
    )
    for name, old, new in changes(watched.facts, event):
        change = line(
            (f"{name}: ", Tone.DIM), (f"{old} → " if old else "", Tone.DIM), new or ("(gone)", Tone.DIM)
        )
        lines += wrap(line("  ", change), width - 1, indent=4)
    return lines


def changes(facts: FactLog, event: TraceEvent) -> list[tuple[str, str, str]]:
    """(field, before, after) for each field of the fact that has a value or lost one.

    An object is compared with the last one told of the same uid; nothing before: all its fields are new.
    """
    body = event.body
    if not isinstance(body, _OBJECT_BODIES):
        fields = msgspec.to_builtins(body)
        return [(name, "", value) for name, value in flatten(fields) if name != "type"]
    previous = _previous(facts, event.seq, body.object.uid)
    before = dict(flatten(to_builtins(previous))) if previous is not None else {}
    after = dict(flatten(to_builtins(body.object)))
    names = [*after, *(name for name in before if name not in after)]
    hidden = ("kind", "metadata.resourceVersion")
    found = [(name, before.get(name, ""), after.get(name, "")) for name in names if name not in hidden]
    return [change for change in found if change[1] != change[2]]


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of nested values as (`spec.containers[0].name`, text)."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flatten(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and not any(isinstance(inner, Mapping) for inner in value):
        yield name, ", ".join(str(inner) for inner in value)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from flatten(inner, f"{name}[{index}]")
    elif value is not None:
        yield name, str(value)


def _previous(facts: FactLog, seq: int, uid: str) -> KubernetesObject | None:
    for earlier in range(seq - 1, max(facts.first_seq, seq - _LOOK_BACK, 1) - 1, -1):
        event = facts.event(earlier)
        if event is not None and isinstance(event.body, _OBJECT_BODIES) and event.body.object.uid == uid:
            return event.body.object
    return None
