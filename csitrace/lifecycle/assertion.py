"""What a recording is to fulfil, in the words of the filter language: `max(attach, class:fast) < 10s`, `no anomaly`.

    assertion = "no" "finding" ("error" | "warning") ["ever"] | "no" "anomaly"
              | function "(" span ["," filter] ")" operator value
    function = "max" | "min" | "mean" | "p50" | "p90" | "p95" | "p99" | "count"
    operator = "<" | "<=" | ">" | ">=" | "=" | "=="

An error is a volume that is stuck, a warning one that is slow or stuck: at the end, or with `ever` at any moment. A
span counts from its first try to its success; one that is still open counts as long as it has lasted. Of no span at all nothing
but `count` holds.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from csitrace.errors import FilterError
from csitrace.lifecycle.chronicle import Chronicle, Life
from csitrace.lifecycle.filter import (
    COMPARE,
    Filter,
    parse_volume_filter,
    read_duration,
    read_number,
    tokenize,
)
from csitrace.lifecycle.statistics import quantile
from csitrace.lifecycle.views import Severity, SpanView, VolumeRow
from csitrace.model.rpc import RPC_BY_METHOD
from csitrace.model.times import format_duration

SPANS = tuple(dict.fromkeys(rpc.span for rpc in RPC_BY_METHOD.values() if rpc.span))
"""The spans that may be asked about."""

_LEVELS = {"error": Severity.STUCK, "warning": Severity.SLOW}
_COMPARISON = re.compile(r"\s*(?P<operator><=|>=|==|<|>|=)\s*(?P<value>\S+)\s*")


@dataclass(frozen=True, slots=True)
class Assertion:
    """One that was understood. `check` gives a line for each violation: none where it holds."""

    text: str
    check: Callable[[Chronicle], list[str]]


def parse_assertion(text: str, only: str = "") -> Assertion:
    """The assertion that `text` spells, of the volumes that pass the filter `only`. Raises `FilterError`, whose `position` is the
    offset of the offending word."""
    passes = parse_volume_filter(only)
    tokens = tokenize(text)
    if not tokens:
        raise FilterError("an assertion is missing here, e.g. max(attach) < 10s, or no anomaly", 0)
    words = [token.group().lower() for token in tokens]
    if words[0] == "no":
        return Assertion(text, _absence(words, tokens, passes))
    return Assertion(text, _measure(text, tokens, passes))


def _absence(
    words: Sequence[str], tokens: Sequence[re.Match[str]], passes: Filter[VolumeRow]
) -> Callable[[Chronicle], list[str]]:
    match words[1:]:
        case ["anomaly"]:
            return lambda log: _anomalies(log, passes)
        case ["finding", ("error" | "warning") as level]:
            return lambda log: _findings(log, _LEVELS[level], passes)
        case ["finding", ("error" | "warning") as level, "ever"]:
            return lambda log: _findings_ever(log, _LEVELS[level], passes)
    at = tokens[1].start() if len(tokens) > 1 else tokens[0].end()
    raise FilterError("'no' is followed by anomaly, finding error, or finding warning; 'ever' may end it", at)


def _anomalies(told: Chronicle, passes: Filter[VolumeRow]) -> list[str]:
    rows = {life.key: life.row for life in told.lives}
    found = []
    for fact in told.facts:
        row = next((rows[key] for key in fact.keys if key in rows), None)
        if fact.kind == "anomaly" and (not passes or (row is not None and passes.matches(row, told.now))):
            name = f"{row.display_name}: " if row is not None else ""
            found.append(f"{name}{fact.text} [{fact.seq}]")
    return found


def _findings(told: Chronicle, level: Severity, passes: Filter[VolumeRow]) -> list[str]:
    return [
        f"{life.name}: {life.row.verdict.sentence} [{life.row.changed_seq}]"
        for life in told.lives
        if life.row.severity >= level and passes.matches(life.row, told.now)
    ]


def _findings_ever(told: Chronicle, level: Severity, passes: Filter[VolumeRow]) -> list[str]:
    """Of each volume its worst moment."""
    found = []
    for life in told.lives:
        worst = max(life.findings, key=lambda finding: finding.verdict.severity, default=None)
        if worst is not None and worst.verdict.severity >= level and passes.matches(life.row, told.now):
            found.append(f"{life.name}: {worst.verdict.sentence} [{worst.seq}]")
    return found


def _measure(
    text: str, tokens: Sequence[re.Match[str]], passes: Filter[VolumeRow]
) -> Callable[[Chronicle], list[str]]:
    name = tokens[0].group().lower()
    if name != "count" and name not in _FUNCTIONS:
        known = ", ".join((*_FUNCTIONS, "count"))
        raise FilterError(
            f"no function {tokens[0].group()!r}; there are {known}, and 'no'", tokens[0].start()
        )
    if len(tokens) < 2 or tokens[1].group() != "(":
        raise FilterError(f"'{name}' needs a span in brackets after it", tokens[0].end())
    end = _closing(tokens)
    inside = text[tokens[1].end() : end]
    span_name, comma, restriction = inside.partition(",")
    span_at = tokens[1].end() + len(span_name) - len(span_name.lstrip())
    if span_name.strip() not in SPANS:
        raise FilterError(f"no span {span_name.strip()!r}; there are {' '.join(SPANS)}", span_at)
    within = _restriction(restriction, tokens[1].end() + len(span_name) + len(comma))
    compare, wanted, told = _comparison(text, end + 1, name)

    def chosen(recording: Chronicle) -> list[_Lived]:
        return [
            _Lived(life, span, recording.now)
            for life in recording.lives
            if passes.matches(life.row, recording.now) and within.matches(life.row, recording.now)
            for span in life.spans
            if span.name == span_name.strip()
        ]

    if name == "count":
        return lambda recording: _count(chosen(recording), recording, compare, wanted)
    return lambda recording: _compared(name, chosen(recording), recording, compare, wanted, told)


def _closing(tokens: Sequence[re.Match[str]]) -> int:
    depth = 0
    for token in tokens[1:]:
        depth += {"(": 1, ")": -1}.get(token["bracket"] or "", 0)
        if depth == 0:
            return token.start()
    raise FilterError("this bracket is never closed", tokens[1].start())


def _restriction(text: str, offset: int) -> Filter[VolumeRow]:
    try:
        return parse_volume_filter(text)
    except FilterError as error:
        raise FilterError(str(error), error.position + offset) from None


def _comparison(text: str, at: int, name: str) -> tuple[Callable[[float, float], bool], float, str]:
    kind = "a number" if name == "count" else "a duration such as 500ms, 10s or 2m"
    found = _COMPARISON.fullmatch(text, at)
    if found is None:
        raise FilterError(f"a comparison is missing here: <, <=, >, >= or = with {kind}", at)
    value = (read_number if name == "count" else read_duration)(found["value"])
    if value is None:
        raise FilterError(f"'{name}' is compared with {kind}, not {found['value']!r}", found.start("value"))
    return COMPARE["=" if found["operator"] == "==" else found["operator"]], value, found["operator"]


@dataclass(frozen=True, slots=True)
class _Lived:
    """One span of one volume, in a recording that ends at `now`."""

    life: Life
    span: SpanView
    now: int

    @property
    def lasted(self) -> int:
        """Its length (ns); of one that is open, until the end."""
        ended_at = self.span.ended_at if self.span.ended_at is not None else self.now
        return max(ended_at - self.span.started_at, 0)

    @property
    def seq(self) -> int:
        """The fact that told last of it: the last of its calls', or where none is known the volume's last one."""
        calls = (
            call
            for call in self.life.calls
            if call.started_at in self.span.retry_marks and RPC_BY_METHOD[call.method].span == self.span.name
        )
        return max((call.finished_seq or call.seq for call in calls), default=self.life.volume.changed_seq)

    @property
    def line(self) -> str:
        span = self.span
        where = f" on {span.node_name}" if span.node_name else ""
        tries = f", {span.attempts} tries" if span.attempts > 1 else ""
        end = ", still open" if span.ended_at is None else "" if span.outcome == "ok" else f", {span.outcome}"
        took = format_duration(self.lasted)
        return f"{self.life.name}: {span.name}{where} took {took}{tries}{end} [{self.seq}]"


def _count(
    found: Sequence[_Lived], recording: Chronicle, compare: Callable[[float, float], bool], wanted: float
) -> list[str]:
    done = [lived for lived in found if lived.span.outcome == "ok"]
    if compare(len(done), wanted):
        return []
    seq = max((lived.seq for lived in found), default=recording.events)
    still = sum(lived.span.ended_at is None for lived in found)
    vain = len(found) - len(done) - still
    more = "".join(f", {many} {what}" for many, what in ((vain, "in vain"), (still, "still open")) if many)
    return [f"there are {len(done)}{more} [{seq}]"]


def _compared(
    name: str,
    found: Sequence[_Lived],
    recording: Chronicle,
    compare: Callable[[float, float], bool],
    wanted: float,
    operator: str,
) -> list[str]:
    if not found:
        return [f"there is no such span [{recording.events}]"]
    found = sorted(found, key=lambda lived: lived.lasted)
    if (name, operator[0]) in (("max", "<"), ("min", ">")):  # each of them has to fulfil it
        return [lived.line for lived in found if not compare(lived.lasted, wanted)]
    value = _FUNCTIONS[name]([lived.lasted for lived in found])
    if compare(value, wanted):
        return []
    named = found[0] if name == "min" else found[-1]
    return [f"{name} is {format_duration(int(value))} of {len(found)}; {named.line}"]


def _percentile(percent: int) -> Callable[[Sequence[int]], float]:
    return lambda values: quantile(values, Fraction(percent, 100)) or 0


_FUNCTIONS: dict[str, Callable[[Sequence[int]], float]] = {
    "max": lambda values: values[-1],
    "min": lambda values: values[0],
    "mean": lambda values: sum(values) / len(values),
    **{f"p{percent}": _percentile(percent) for percent in (50, 90, 95, 99)},
}
"""Of lengths in ascending order, at least one."""
