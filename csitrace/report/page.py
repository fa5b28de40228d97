"""The page of one volume as text, 80 columns wide: the verdict, who holds it, the steps with their times, and the evidence."""

import textwrap
from collections.abc import Iterable, Sequence

from csitrace.lifecycle.explanation import Explanation
from csitrace.lifecycle.state import EventFact, StepStatus
from csitrace.lifecycle.views import Evidence, Severity, StepView, VolumeRow
from csitrace.model.events import Stamp
from csitrace.model.times import DAY, format_duration, format_rfc3339, parse_rfc3339
from csitrace.report.lines import LEVELS, one_line
from csitrace.report.paint import AT_LATEST, SEVERITY_SIGNS, STAMP_SIGNS, STATUS_SIGNS, painted

WIDTH = 80
_LABEL = 10
_TITLE, _WHEN, _WORDS = 6, 37, 53
"""Where the columns of the steps begin: number and sign, title, time, words."""

_LINES_OF_STEP = 3
"""What is longer stands in full in the verdict, or in the evidence."""

_WELL = {
    Severity.OK: "well",
    Severity.WAITING: "waiting as asked",
    Severity.MOVING: "moving",
    Severity.UNKNOWN: "not known",
    Severity.SLOW: "slow",
    Severity.STUCK: "stuck",
    Severity.GONE: "gone",
}


def page(told: Explanation, *, coloured: bool = False) -> str:
    """Everything that is known of one volume, in the order in which somebody asks."""
    return "\n".join([*_head(told, coloured), *_roads(told, coloured), *_evidence(told), *_events(told)])


def counted(rows: Iterable[VolumeRow]) -> str:
    """`12 more: 10 well, 2 moving`: those that have no page; "" for none."""
    levels = [row.severity for row in rows]
    parts = [
        f"{levels.count(level)} {word}"
        for level, word in sorted(_WELL.items(), reverse=True)
        if level in levels
    ]
    return f"{len(levels)} more: {', '.join(parts)}" if parts else ""


def moment(at: int | None, stamp: Stamp, now: int, *, at_latest: bool = False) -> str:
    """A time of day (UTC), with the date where that is another than today's; as fine as it is known."""
    if at is None:
        return STAMP_SIGNS[stamp] if stamp is Stamp.INFERRED else ""
    text = format_rfc3339(at)
    day = f"{text[5:10]} " if at // DAY != now // DAY else ""
    clock = text[11:19] if stamp is Stamp.SERVER or day else text[11:23]
    return f"{AT_LATEST if at_latest else STAMP_SIGNS[stamp]}{day}{clock}"


def _head(told: Explanation, coloured: bool) -> list[str]:
    row, verdict = told.row, told.row.verdict
    sign = painted(SEVERITY_SIGNS[row.severity], coloured)
    where = f"{row.step_id} {row.step_title}" if row.severity is not Severity.GONE else ""
    lines = [_behind(sign, f"{row.display_name}   {LEVELS[row.severity]}   {where}".rstrip())]
    lines += _labelled("", verdict.sentence)
    since = _since(told)
    if verdict.holder:
        lines += _labelled("held by", f"{verdict.holder}{since}")
    elif since:
        lines += _labelled("since", since.removeprefix(", since "))
    if verdict.command:
        lines += _labelled("run next", verdict.command)
    names = [name for name in (row.driver, told.volume.volume_id, row.pv_name) if name]
    lines += _labelled("driver" if names == [row.driver] else "volume", "  ".join(names))
    if row.storage_class:
        lines += _labelled("class", row.storage_class)
    if told.use is not None:
        on = f" on {told.use.node_name}" if told.use.node_name else ""
        others = sum(use.ended_at is None for use in told.volume.uses) - 1
        more = f" (the least far of {others + 1})" if others > 0 else ""
        lines += _labelled("pod", f"{told.use.pod.name}{on}{more}")
    lines += _labelled("as of", format_rfc3339(told.now))
    return lines


def _behind(sign: str, text: str) -> str:
    """A heading behind its sign; what names hold is cleaned, the sign's colour is ours."""
    return f"{sign} {one_line(text)}"


def _since(told: Explanation) -> str:
    row, step = told.row, told.held_since
    if row.since is None:
        return ""
    for_ = format_duration(max(0, told.now - row.since))
    if step is None:
        return f", since {moment(row.since, Stamp.OBSERVED, told.now)}, for {for_}"
    when = moment(row.since, step.stamp, told.now, at_latest=step.at_latest)
    source = f" ({step.source})" if step.source else ""
    return f", since {when}{source}, for {'at least ' if step.at_latest else ''}{for_}"


def _roads(told: Explanation, coloured: bool) -> list[str]:
    lines: list[str] = []
    for title, steps in (
        ("STEPS", told.steps),
        ("WAY BACK", told.way_back),
        ("EXPANSION", told.expansion),
    ):
        if steps:
            lines += ["", title, *(text for step in steps for text in _step(step, told.now, coloured))]
    return lines


def _step(step: StepView, now: int, coloured: bool) -> list[str]:
    words = textwrap.wrap(
        one_line(_words(step)),
        WIDTH - _WORDS,
        break_long_words=False,
        break_on_hyphens=False,
        max_lines=_LINES_OF_STEP,
        placeholder=" …",
    ) or [""]
    number, when = f"{step.step_id:>3}", moment(step.at, step.stamp, now, at_latest=step.at_latest)
    sign = painted(STATUS_SIGNS[step.status], coloured)
    first = f"{number} {sign} {step.title:<{_WHEN - _TITLE - 1}} {when:<{_WORDS - _WHEN - 1}} {words[0]}"
    return [first.rstrip(), *(" " * _WORDS + text for text in words[1:])]


def _words(step: StepView) -> str:
    """Of a step that is done, where its time comes from; of any other, what is said of it or waited for."""
    if step.status is StepStatus.DONE:
        return step.source or step.note
    for testimony in step.testimonies.values():
        if testimony.status is step.status and testimony.text and step.status is not StepStatus.PENDING:
            return testimony.text
    return step.note


def _evidence(told: Explanation) -> list[str]:
    found = told.row.verdict.evidence
    return ["", "EVIDENCE", *(text for item in found for text in _fact(item, told.now))] if found else []


def _fact(item: Evidence, now: int) -> list[str]:
    when = moment(item.at, item.stamp, now)
    number = f" [{item.seq}]" if item.seq else ""
    return _labelled(item.witness.value, f"{f'{when} ' if when else ''}{item.text}{number}", _LABEL + 4)


def _events(told: Explanation) -> list[str]:
    return (
        ["", "EVENTS", *(text for fact in told.events for text in _event(fact, told.now))]
        if told.events
        else []
    )


def _event(fact: EventFact, now: int) -> list[str]:
    event = fact.event
    times = f" {event.times_seen}x" if event.times_seen > 1 else ""
    who = f" by {event.component}" if event.component else ""
    about = f"{event.involved_object.kind} {event.involved_object.name}"
    text = f"{event.reason}{times}{who} on {about}: {event.message.strip()}"
    return _labelled(_span(event.first_time, fact.at, now), text, 22)


def _span(first: str, last: int, now: int) -> str:
    began = parse_rfc3339(first)
    end = moment(last, Stamp.SERVER, now).removeprefix(STAMP_SIGNS[Stamp.SERVER])
    if began is None or began == last:
        return end
    return f"{moment(began, Stamp.SERVER, now).removeprefix(STAMP_SIGNS[Stamp.SERVER])} to {end}"


def _labelled(label: str, text: str, indent: int = _LABEL + 2) -> list[str]:
    """`text` beside its label, wrapped below itself."""
    wrapped = textwrap.wrap(one_line(text), WIDTH - indent, break_long_words=False, break_on_hyphens=False)
    pad = f"  {label}".ljust(indent)
    if label and len(pad) > indent:
        return [pad, *(" " * indent + part for part in wrapped)]
    return [(pad if not number else " " * indent) + part for number, part in enumerate(wrapped or [""])]


def pages(told: Sequence[Explanation], others: Sequence[VolumeRow], *, coloured: bool = False) -> str:
    """One page after the other, and a line that counts the rest."""
    rest = counted(others)
    return "\n\n".join([*(page(each, coloured=coloured) for each in told), *([rest] if rest else [])])
