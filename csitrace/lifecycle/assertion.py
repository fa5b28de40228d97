"""What a recording is to fulfil, in the words of the filter language: `max(attach, class:fast) < 10s`, `no anomaly`.

    assertion = "no" "finding" ("error" | "warning") ["ever"] | "no" "anomaly"
              | function "(" span ["," filter] ")" operator value
    function = "max" | "min" | "mean" | "p50" | "p90" | "p95" | "p99" | "count"
    operator = "<" | "<=" | ">" | ">=" | "=" | "=="

An error is a volume that is stuck, a warning one that is slow or stuck: at the end, or with `ever` whenever a fact changed it. A
span counts from its first try to its success; one that is still open counts as long as it has lasted. Of no span at all nothing
but `count` holds.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from csitrace.errors import FilterError
from csitrace.lifecycle.filter import (
    COMPARE,
    Filter,
    parse_volume_filter,
    read_duration,
    read_number,
    tokenize,
)
from csitrace.lifecycle.spanlog import LoggedSpan, SpanLog
from csitrace.lifecycle.views import Severity, VolumeRow
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
    check: Callable[[SpanLog], list[str]]


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
) -> Callable[[SpanLog], list[str]]:
    match words[1:]:
        case ["anomaly"]:
            return lambda log: _anomalies(log, passes)
        case ["finding", ("error" | "warning") as level]:
            return lambda log: _findings(log, _LEVELS[level], passes)
        case ["finding", ("error" | "warning") as level, "ever"]:
            return lambda log: _findings_ever(log, _LEVELS[level], passes)
    at = tokens[1].start() if len(tokens) > 1 else tokens[0].end()
    raise FilterError("'no' is followed by anomaly, finding error, or finding warning; 'ever' may end it", at)


def _anomalies(log: SpanLog, passes: Filter[VolumeRow]) -> list[str]:
    return [
        f"{row.display_name if row is not None else anomaly.subject}: {anomaly.text} [{anomaly.seq}]"
        for anomaly, row in log.anomalies
        if not passes or (row is not None and passes.matches(row, anomaly.at))
    ]


def _findings(log: SpanLog, level: Severity, passes: Filter[VolumeRow]) -> list[str]:
    return [
        f"{row.display_name}: {row.verdict.sentence} [{row.changed_seq}]"
        for row in log.rows()
        if row.severity >= level and passes.matches(row, log.at)
    ]


def _findings_ever(log: SpanLog, level: Severity, passes: Filter[VolumeRow]) -> list[str]:
    """At the end, too: time alone makes a volume late."""
    ended = {row.key: row for row in log.rows() if row.severity >= level}
    found = {key: (worst.row, worst.seq) for key, worst in log.worst.items() if worst.severity >= level}
    found |= {key: (row, row.changed_seq) for key, row in ended.items() if key not in found}
    return [
        f"{row.display_name}: {row.verdict.sentence} [{seq}]"
        for row, seq in found.values()
        if passes.matches(row, log.at)
    ]


def _measure(
    text: str, tokens: Sequence[re.Match[str]], passes: Filter[VolumeRow]
) -> Callable[[SpanLog], list[str]]:
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

    def chosen(log: SpanLog) -> list[LoggedSpan]:
        return [
            logged
            for logged in log.spans
            if logged.span.name == span_name.strip()
            and passes.matches(logged.row, log.at)
            and within.matches(logged.row, log.at)
        ]

    if name == "count":
        return lambda log: _count(chosen(log), log, compare, wanted)
    return lambda log: _compared(name, chosen(log), log, compare, wanted, told)


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


def _count(
    found: Sequence[LoggedSpan], log: SpanLog, compare: Callable[[float, float], bool], wanted: float
) -> list[str]:
    done = [logged for logged in found if logged.span.ended_at is not None]
    if compare(len(done), wanted):
        return []
    seq = max((logged.seq for logged in found), default=log.state.seq)
    open_ = f", {len(found) - len(done)} still open" if len(found) > len(done) else ""
    return [f"there are {len(done)}{open_} [{seq}]"]


def _compared(
    name: str,
    found: Sequence[LoggedSpan],
    log: SpanLog,
    compare: Callable[[float, float], bool],
    wanted: float,
    operator: str,
) -> list[str]:
    if not found:
        return [f"there is no such span [{log.state.seq}]"]
    found = sorted(found, key=lambda logged: logged.lasted(log.at))
    if (name, operator[0]) in (("max", "<"), ("min", ">")):  # each of them has to fulfil it
        return [_line(logged, log) for logged in found if not compare(logged.lasted(log.at), wanted)]
    value = _FUNCTIONS[name]([logged.lasted(log.at) for logged in found])
    if compare(value, wanted):
        return []
    named = found[0] if name == "min" else found[-1]
    return [f"{name} is {format_duration(int(value))} of {len(found)}; {_line(named, log)}"]


def _line(logged: LoggedSpan, log: SpanLog) -> str:
    span = logged.span
    where = f" on {span.node_name}" if span.node_name else ""
    tries = f", {span.attempts} tries" if span.attempts > 1 else ""
    still = ", still open" if span.ended_at is None else ""
    took = format_duration(logged.lasted(log.at))
    return f"{logged.row.display_name}: {span.name}{where} took {took}{tries}{still} [{logged.seq}]"


def percentile(values: Sequence[float], percent: int) -> float:
    """The nearest rank of values in ascending order: one of them, never an average."""
    return values[max(0, -(-len(values) * percent // 100) - 1)]


_FUNCTIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "max": lambda values: values[-1],
    "min": lambda values: values[0],
    "mean": lambda values: sum(values) / len(values),
    "p50": lambda values: percentile(values, 50),
    "p90": lambda values: percentile(values, 90),
    "p95": lambda values: percentile(values, 95),
    "p99": lambda values: percentile(values, 99),
}
"""Of lengths in ascending order, at least one."""
