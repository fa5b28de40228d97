"""klog files: what sidecars, and drivers that log as csi-lib-utils does, write of their CSI calls at -v=5, and what kubelet says
of the calls it made.

Header (klog, `formatHeader`): `Lmmdd hh:mm:ss.uuuuuu threadid file:line] message`. It has no year and no zone: the year is
that of the file's time, or of the time that a container runtime or `kubectl logs --timestamps` put before the line; the zone is
taken to be UTC.
"""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

from csitrace.model.events import SourceDown, Witness
from csitrace.model.times import DAY, SECOND, parse_rfc3339
from csitrace.sources.imports.calls import Calls
from csitrace.sources.imports.inputs import Input
from csitrace.sources.imports.kubelet import operation_of
from csitrace.sources.imports.report import Report
from csitrace.sources.imports.spool import Segment

_LONGEST = 1 << 20
_LOOKED_AT = 64 << 20
"""Bytes in which a log must have said whose it is."""

HEADER = re.compile(
    r"(?:(?P<prefix>\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d))\s+(?:std(?:out|err) [FP] )?)?"
    r"(?P<level>[IWEF])(?P<month>\d\d)(?P<day>\d\d) (?P<time>\d\d:\d\d:\d\d)\.(?P<micro>\d{6})\s+(?P<pid>\d+) "
    r"(?P<file>[^\s:\]]+):\d+\] (?P<text>.*)",
    re.DOTALL,
)
_GRPC = re.compile(
    r"(?:ID: (?P<id>\d+) )?(?:Req-ID: \S+ )?GRPC (?P<what>call|request|response|error): ?(?P<text>.*)",
    re.DOTALL,
)
_STRUCTURED = re.compile(r'"GRPC (?P<what>call|request|response|error)"(?P<fields>.*)', re.DOTALL)
_FIELD = re.compile(r' ([\w.-]+)=("(?:[^"\\]|\\.)*+"|\S+)')
_DRIVER = re.compile(
    rb'(?:GRPC response: |response=")\{\\?"(?:manifest.{0,200}?)?name\\?":\\?"([A-Za-z0-9][\w.-]{0,62})\\?"'
    rb'|(?:CSI driver name|[Dd]etected CSI driver)"?:? (?:driver(?:Name)?=)?"?([A-Za-z0-9][\w.-]{0,62})'
)
_NODE = re.compile(
    rb'[Ss]uccessfully registered node" node="([\w.-]{1,253})"'
    rb'|(?:GRPC response: |response=").{0,200}?\\?"node_id\\?":\\?"([\w.:/-]{1,253}?)\\?"'
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `at`: ns since the epoch."""

    at: int
    pid: str
    text: str


class Years:
    """Which year a line is of. `is_told`: the lines themselves say it."""

    def __init__(self, modified_at: int) -> None:
        self._end = modified_at + DAY
        self._year = datetime.fromtimestamp(modified_at // SECOND, UTC).year
        self.is_told = False

    def at(self, match: "re.Match[str]") -> int | None:
        """The time of a header, None for one that no calendar has."""
        told = parse_rfc3339(match["prefix"])
        if told is not None:
            self.is_told = True
            self._year, self._end = datetime.fromtimestamp(told // SECOND, UTC).year, told + DAY
        at = self._in(self._year, match)
        if at is not None and at > self._end:  # December's lines in a file of January
            return self._in(self._year - 1, match)
        return at

    def _in(self, year: int, match: "re.Match[str]") -> int | None:
        text = f"{year:04d}-{match['month']}-{match['day']}T{match['time']}.{match['micro']}Z"
        return parse_rfc3339(text)


def read_klog(source: Input, segment: Segment, report: Report, *, driver: str, node: str) -> None:
    """The CSI calls that a log tells of. `driver`, `node`: whose log it is, where people know better than the log."""
    said_driver, said_node = _whose(source)
    calls = Calls(segment, report, driver or said_driver, node or said_node, source.name)
    years = Years(source.modified_at)
    last_at = 0
    with closing(source.open()) as stream:
        for line in _lines(stream, years, report):
            last_at = max(last_at, line.at)
            _take(line, calls, report)
    calls.end()
    if calls.scope and segment.count:
        reason = f"{source.name} ends here"
        calls.tell(last_at, SourceDown(witness=Witness.DRIVER, scope=calls.scope, reason=reason))
    if calls.unnamed:
        report.fault(f"{calls.unnamed} calls of a driver that the log does not name: use --driver")
    if not years.is_told:
        year = datetime.fromtimestamp(source.modified_at // SECOND, UTC).year
        report.remarks.append(
            f"its lines name no year: taken to be {year} or the turn of it, by the file's time; the zone to be UTC"
        )
    if not node and said_node and calls.told_of_node:
        report.remarks.append(f"taken to be of node {said_node}, by what it says of itself; else use --node")


def _take(line: Line, calls: Calls, report: Report) -> None:
    if (match := _GRPC.match(line.text)) is not None:
        calls.take(line.at, line.pid, match["what"], match["text"].rstrip(), match["id"] or "")
    elif (match := _STRUCTURED.match(line.text)) is not None:
        for what, text in _structured(match["what"], match["fields"]):
            calls.take(line.at, line.pid, what, text, "")
    elif (operation := operation_of(line.text)) is not None:
        calls.whole(line.at, line.pid, operation)
    else:
        report.skip("other lines")


def _structured(what: str, fields: str) -> Iterator[tuple[str, str]]:
    """What one structured line says, as the lines of the older form would."""
    told = {name: _unquoted(value) for name, value in _FIELD.findall(fields)}
    if what == "call":
        yield "call", told.get("method", "")
        yield "request", told.get("request", "")
        return
    if what == "request":
        yield "request", told.get("request", "")
        return
    if "response" in told:
        yield "response", told["response"]
    error = told.get("err", told.get("error"))
    if error is not None or what == "error":
        yield "error", "<nil>" if error in (None, "null", "<nil>", "") else str(error)


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        text: Any = json.loads(value)
    except (ValueError, RecursionError):
        return value[1:-1]
    return text if isinstance(text, str) else value


def _lines(stream: BinaryIO, years: Years, report: Report) -> Iterator[Line]:
    while raw := stream.readline(_LONGEST):
        if not raw.endswith(b"\n") and len(raw) == _LONGEST:
            report.fault("a line of more than 1 MiB")
            continue
        match = HEADER.match(raw.decode(errors="replace").rstrip("\r\n"))
        at = years.at(match) if match is not None else None
        if match is None or at is None:
            report.skip("lines without klog's header")
            continue
        yield Line(at, match["pid"], match["text"])


def _whose(source: Input) -> tuple[str, str]:
    """(driver, node) by what the log says of itself, which it does when its program starts."""
    driver = node = ""
    looked_at = 0
    with closing(source.open()) as stream:
        while (line := stream.readline(_LONGEST)) and looked_at < _LOOKED_AT and not (driver and node):
            looked_at += len(line)
            if not driver and (match := _DRIVER.search(line)) is not None:
                driver = (match[1] or match[2]).decode()
            if not node and (match := _NODE.search(line)) is not None:
                node = (match[1] or match[2]).decode()
    return driver, node
