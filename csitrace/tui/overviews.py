"""What the screens on drivers and nodes share: findings, the table of one driver on many nodes or many drivers on one."""

from collections.abc import Iterable

from csitrace.lifecycle.onnode import Finding, OnNode
from csitrace.lifecycle.views import Severity
from csitrace.tui.columns import Column
from csitrace.tui.lines import Line, Span, Tone, fit, line, shorten_middle, wrap
from csitrace.tui.rows import FINDING_TONES
from csitrace.tui.signs import SEVERITY

LABEL = 11
YES: Span = ("●", Tone.GOOD)
NO: Span = ("–", Tone.DIM)
UNKNOWN: Span = ("?", Tone.UNKNOWN)


def finding_line(severity: Severity, text: str, more: int = 0) -> Line:
    """The first finding, and how many more there are."""
    rest = (f"  (+{more})", Tone.DIM) if more else ("", Tone.DIM)
    return line((text, FINDING_TONES.get(severity, Tone.PLAIN)), rest)


def labelled(label: str, parts: Iterable[Line], width: int) -> list[Line]:
    """Lines under one label in the left column; longer ones are wrapped."""
    lines: list[Line] = []
    for part in parts:
        left = fit(line((f" {label}", Tone.DIM)) if not lines else line(), LABEL)
        lines += wrap(line(left, part), width - 1, indent=LABEL)
    return lines


def finding_lines(findings: tuple[Finding, ...], width: int) -> list[Line]:
    """Every finding with its sign, the worst first; of one that repeats, once."""
    distinct = dict.fromkeys(findings)
    parts = [
        line(SEVERITY[severity], " ", (text, FINDING_TONES.get(severity, Tone.PLAIN)))
        for severity, text in distinct
    ]
    return labelled("WHY", parts, width)


def ratio_line(here: OnNode | None) -> Line:
    """`3/25`: volumes against the limit; without a limit the number alone."""
    if here is None:
        return line(("-", Tone.DIM))
    limit = f"/{here.limit}" if here.limit else ""
    return line((f"{here.counted}{limit}", Tone.UNKNOWN if here.is_full else Tone.PLAIN))


def _sign(here: OnNode, now: int, width: int) -> Line:
    return line(SEVERITY[max((severity for severity, _ in here.findings), default=Severity.OK)])


def _ready(here: OnNode, now: int, width: int) -> Line:
    if not here.node_exists:
        return line(UNKNOWN)
    return line(YES if here.node_ready else ("✗", Tone.BAD))


def _registered(here: OnNode, now: int, width: int) -> Line:
    if here.registered is None:
        return line(UNKNOWN)
    return (
        line(YES, f" {shorten_middle(here.node_id, width - 2)}")
        if here.registered
        else line(NO, (" no", Tone.DIM))
    )


def _pod(here: OnNode, now: int, width: int) -> Line:
    if not here.pods:
        return line(("-", Tone.DIM))
    pod = here.pods[0]
    return line(
        (shorten_middle(pod.name.partition("/")[2], width), Tone.UNKNOWN if pod.trouble else Tone.PLAIN)
    )


def _mounts(here: OnNode, now: int, width: int) -> Line:
    return line(UNKNOWN if here.mounts is None else f"{here.mounts}")


def _feed(here: OnNode, now: int, width: int) -> Line:
    return line(NO if here.feed is None else YES if here.feed else UNKNOWN)


def _finding(here: OnNode, now: int, width: int) -> Line:
    if not here.findings:
        return line()
    severity, text = max(here.findings, key=lambda finding: finding[0])
    return finding_line(severity, text, len(here.findings) - 1)


_HERE: tuple[Column[OnNode], ...] = (
    Column("REGISTERED", _registered, 10, 14),
    Column("POD", _pod, 8, 16, priority=2, weight=1),
    Column("VOLUMES", lambda here, now, width: ratio_line(here), 7, 7, right=True),
    Column("MOUNTS", _mounts, 6, 6, right=True),
    Column("FEED", _feed, 4, 4),
    Column("FINDING", _finding, 10, 24, weight=3),
)

NODES_OF_DRIVER: tuple[Column[OnNode], ...] = (
    Column("", _sign, 1, 1),
    Column("NODE", lambda here, now, width: line(shorten_middle(here.node_name, width)), 10, 14, weight=1),
    Column("READY", _ready, 5, 5),
    *_HERE,
)

DRIVERS_OF_NODE: tuple[Column[OnNode], ...] = (
    Column("", _sign, 1, 1),
    Column("DRIVER", lambda here, now, width: line(shorten_middle(here.driver, width)), 16, 20, weight=1),
    *_HERE,
)
