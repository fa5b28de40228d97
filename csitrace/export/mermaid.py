"""Markdown with Mermaid diagrams, as GitHub renders them: per volume who called whom, and how long each span took.

Mermaid has no quoting: what is a sign of its language is written as its number (`#59;`), or is left out where that is not read.
"""

import re
from collections.abc import Iterator

from csitrace.lifecycle.chronicle import Chronicle, Life
from csitrace.lifecycle.state import Call
from csitrace.lifecycle.views import SpanView
from csitrace.model.rpc import RPC_BY_METHOD, code_name
from csitrace.model.times import MILLISECOND, format_duration, format_rfc3339

CALLS_SHOWN = 60
SPANS_SHOWN = 40
VOLUMES_SHOWN = 20
"""More cannot be read, and GitHub refuses a diagram of more than 50,000 signs."""

TEXT_SHOWN = 160

_TAGS = {"ok": "done", "": "active"}


def mermaid(told: Chronicle) -> Iterator[bytes]:
    """The document; worst volumes first."""
    lives = sorted(told.lives, key=lambda life: -life.row.severity)
    yield f"# Volumes of {_markdown(told.title or 'a recording')}\n".encode()
    for life in lives[:VOLUMES_SHOWN]:
        yield "\n".join(_volume(life, told.now)).encode("utf-8", "replace")
    if len(lives) > VOLUMES_SHOWN:
        yield f"\n{len(lives) - VOLUMES_SHOWN} more volumes are left out: name those that you want.\n".encode()


def _volume(life: Life, now: int) -> Iterator[str]:
    word = life.row.verdict
    yield f"\n## {_markdown(life.name)}\n"
    yield f"{word.severity.name} at step {word.step_id}: {_markdown(word.sentence)}\n"
    if life.calls:
        yield "```mermaid"
        yield from sequence(life)
        yield "```\n"
    if life.spans:
        yield "```mermaid"
        yield from gantt(life, now)
        yield "```\n"


def sequence(life: Life) -> Iterator[str]:
    """A sequence diagram of the calls, the latest if there are too many."""
    shown = life.calls[-CALLS_SHOWN:]
    callers = list(dict.fromkeys(_caller(call) for call in shown))
    yield "sequenceDiagram"
    for number, name in enumerate(callers):
        yield f"  participant c{number} as {escaped(name)}"
    yield f"  participant d as {escaped(life.volume.driver or 'driver')}"
    if len(shown) < len(life.calls):
        yield f"  Note over d: {len(life.calls) - len(shown)} earlier calls are left out"
    for call in shown:
        who = f"c{callers.index(_caller(call))}"
        again = f", try {call.attempt}" if call.attempt > 1 else ""
        yield f"  {who}->>d: {format_rfc3339(call.started_at)[11:]} {escaped(call.method)}{again}"
        yield f"  d{'-->>' if call.code == 0 else '--x'}{who}: {escaped(_answer(call))}"
    word = life.row.verdict
    yield f"  Note over d: {escaped(f'{word.severity.name} at step {word.step_id}, {word.sentence}')}"


def gantt(life: Life, now: int) -> Iterator[str]:
    """A Gantt chart of the spans, the latest if there are too many; failed ones are critical, open ones active."""
    yield "gantt"
    yield f"  title {_bare(life.name)}"
    yield "  dateFormat x"
    yield "  axisFormat %H:%M:%S"
    section = None
    for number, span in enumerate(life.spans[-SPANS_SHOWN:]):
        if span.node_name != section:
            section = span.node_name
            yield f"  section {_bare(section) or 'cluster'}"
        yield f"  {_bare(_span(span))} :{_TAGS.get(span.outcome, 'crit')}, s{number}, {_begin(span)}, {_end(span, now)}"


def _begin(span: SpanView) -> int:
    return span.started_at // MILLISECOND


def _end(span: SpanView, now: int) -> int:
    return max(max(span.ended_at or now, span.started_at) // MILLISECOND, _begin(span) + 1)


def _span(span: SpanView) -> str:
    took = format_duration(span.ended_at - span.started_at) if span.ended_at is not None else "open"
    tries = f" {span.attempts} tries" if span.attempts > 1 else ""
    return f"{span.name} {took}{tries}"


def _caller(call: Call) -> str:
    rpc = RPC_BY_METHOD.get(call.method)
    caller = rpc.caller if rpc is not None and rpc.caller else "caller"
    return f"{caller} {call.node_name}".rstrip() if rpc is not None and rpc.service == "Node" else caller


def _answer(call: Call) -> str:
    if call.code is None:
        return "never answered" if call.abandoned else "not answered yet"
    took = format_duration(call.duration_ns)
    return f"{code_name(call.code)} after {took}" + (f", {call.message}" if call.message else "")


def escaped(text: str) -> str:
    """A text for a sequence diagram: letters, digits and a few signs stay, others are written as their numbers, and so is the
    word `end`, which would end a block."""
    short = text if len(text) <= TEXT_SHOWN else f"{text[: TEXT_SHOWN - 1]}…"
    signs = (
        c if c.isalnum() or c in " ._/-(),=…" else " " if not c.isprintable() else f"#{ord(c)};"
        for c in short
    )
    return re.sub(r"\bend\b", "#101;nd", "".join(signs), flags=re.IGNORECASE).strip() or "-"


def _bare(text: str) -> str:
    """A text for a Gantt chart, which reads no numbers: other signs than these become blanks."""
    return "".join(c if c.isalnum() or c in "._/-" else " " for c in text[:TEXT_SHOWN]).strip()


def _markdown(text: str) -> str:
    """A text that is nothing but text in Markdown, in one line."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return re.sub(r"([\\`*_{}\[\]()#+.!|<>~&@-])", r"\\\1", plain)
