"""Spans: the named intervals of a volume's life, from its calls, or where no driver is heard from what the cluster showed."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from csitrace.lifecycle.fuse import trouble
from csitrace.lifecycle.state import Call, FuseState, Mark, Volume
from csitrace.lifecycle.views import SpanView
from csitrace.model.events import Stamp, Witness
from csitrace.model.rpc import RPC_BY_METHOD, code_name

_CLAIMED = (("provision", "5", "7"), ("attach", "11", "14"))
"""Spans that Kubernetes' own objects bound: from the mark of one step to the mark of another."""

_UNDOES = {"delete": "provision", "detach": "attach", "unstage": "stage", "unpublish": "publish"}
"""Spans after which what the other one tries is over, whether it ever succeeded or not."""

_OBSERVED_BY_KERNEL = (("stage", "15", "16a"), ("publish", "16a", "16b"))


def spans(volume: Volume) -> tuple[SpanView, ...]:
    """The volume's spans, by start. One span covers all tries of an operation up to its success; what never succeeded is over
    with the volume."""
    found = [span for span, _ in called(volume.calls)]
    told = {span.name for span in found}
    found += [span for span, _ in shown(volume) if span.name not in told]
    return tuple(sorted((over(span, volume) for span in found), key=lambda span: span.started_at))


def over(span: SpanView, volume: Volume) -> SpanView:
    """The span, which is over at the latest when its volume is."""
    if span.ended_at is not None or volume.gone_at is None:
        return span
    return replace(span, ended_at=max(volume.gone_at, span.started_at), outcome=span.outcome or "abandoned")


def hangs(connections: Iterable[FuseState], now: int) -> tuple[SpanView, ...]:
    """What a FUSE daemon leaves unanswered now: an open span for each connection, from when requests began to wait."""
    return tuple(
        SpanView("FUSE hang", connection.waiting_since, None, "", 1, connection.node_name)
        for connection in connections
        if connection.waiting_since is not None and not connection.ended and trouble(connection, now)
    )


def called(calls: Iterable[Call]) -> Iterator[tuple[SpanView, tuple[Call, ...]]]:
    """The spans that a volume's calls, oldest first, make; each with the calls it covers, of which the driver may have counted
    more than were heard. What was never done is over when it is undone: then its outcome is the last error."""
    open_spans: dict[tuple[str, str, str], tuple[SpanView, tuple[Call, ...]]] = {}
    for call in calls:
        rpc = RPC_BY_METHOD.get(call.method)
        if rpc is None or not rpc.span:
            continue
        place = call.node_name if rpc.service == "Node" else call.node_id
        identity = (rpc.span, place, call.target_path)
        span, tries = open_spans.pop(identity, (None, ()))
        tries = (*tries, call)
        span = (
            SpanView(rpc.span, call.started_at, None, "", call.attempt, place, (call.started_at,))
            if span is None
            else replace(
                span,
                attempts=max(span.attempts + 1, call.attempt),
                retry_marks=(*span.retry_marks, call.started_at),
            )
        )
        if call.code == 0:
            yield replace(span, ended_at=call.finished_at, outcome="ok"), tries
            undone = open_spans.pop((_UNDOES.get(rpc.span, ""), place, call.target_path), None)
            if undone is not None:
                vain, its_tries = undone
                yield replace(vain, ended_at=call.finished_at, outcome=vain.outcome or "abandoned"), its_tries
            continue
        outcome = "abandoned" if call.abandoned else "" if call.code is None else code_name(call.code)
        open_spans[identity] = replace(span, outcome=outcome), tries
    yield from open_spans.values()


def shown(volume: Volume) -> Iterator[tuple[SpanView, tuple[Mark, ...]]]:
    """The spans that Kubernetes' objects and the kernel's mounts show; each with the marks that bound it."""
    growing = volume.expansion
    if growing is not None and growing.at is not None:
        end = growing.marks.get(("e6", Witness.KUBERNETES))
        asked = Mark(growing.at, Stamp.OBSERVED, growing.seq)
        yield _between("expand", growing.at, end, ""), _both(asked, end)
    for use in volume.uses:
        for name, first, last in _CLAIMED:
            start, end = (use.marks.get((step, Witness.KUBERNETES)) for step in (first, last))
            if start is not None and start.at is not None:
                yield _between(name, start.at, end, use.node_name), _both(start, end)
        for name, first, last in _OBSERVED_BY_KERNEL:
            start = use.marks.get((first, Witness.KERNEL)) or use.marks.get((first, Witness.KUBERNETES))
            end = use.marks.get((last, Witness.KERNEL))
            if start is not None and start.at is not None and end is not None and start.at <= (end.at or 0):
                yield _between(name, start.at, end, use.node_name), (start, end)


def _both(start: Mark, end: Mark | None) -> tuple[Mark, ...]:
    return (start,) if end is None else (start, end)


def _between(name: str, started_at: int, end: Mark | None, node_name: str) -> SpanView:
    if end is None:
        return SpanView(name, started_at, None, "", 1, node_name, (started_at,))
    return SpanView(
        name, started_at, max(end.at or started_at, started_at), "ok", 1, node_name, (started_at,)
    )
