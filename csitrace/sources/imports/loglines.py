"""The lines of logs, in the wrappings in which they are found: klog's text, and its JSON (`--logging-format=json`).

* klog, `formatHeader`: `Lmmdd hh:mm:ss.uuuuuu threadid file:line] message`; a structured message is `"message" key="value" …`,
  and a value of several lines stands between `<` and ` >`, indented by a tab.
* component-base's JSON: `ts` in milliseconds (of others in seconds, or RFC 3339), `msg`, and the keys beside them.
* Before it may stand what `kubectl logs --prefix` or `--timestamps`, a container runtime (CRI: time, stream, P or F for a part of
  a line or its end; Docker: JSON with `log` and `time`) or journald puts there.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import msgspec

from csitrace.feed.redaction import MAX_TEXT
from csitrace.model.times import MILLISECOND, SECOND, parse_rfc3339
from csitrace.sources.imports.dating import Dating
from csitrace.sources.imports.report import Report

LONGEST = 1 << 20
_MILLISECONDS_FROM = 10**11
"""A `ts` above it counts milliseconds: as seconds it would be in the year 5138."""

_END = 1 << 62
_GOES_ON = 64

_PREFIX = re.compile(
    r"(?:\[pod/\S+\] )?"
    r"(?:(?:(?P<told>\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:?\d\d))|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?)\s+"
    r"(?:(?P<stream>std(?:out|err)) (?P<part>[FP]) |(?P<host>[\w.-]+) [\w.@/-]+(?:\[\d+\])?: )?)?"
)
_HEADER = re.compile(
    r"(?P<level>[IWEF])(?P<month>\d\d)(?P<day>\d\d) (?P<minute>\d\d:\d\d):(?P<second>\d\d)\.(?P<micro>\d{6})\s+(?P<pid>\d+) "
    r"[^\s:\]]+:\d+\] (?P<text>.*)",
    re.DOTALL,
)
_MESSAGE = re.compile(r'("(?:[^"\\]|\\.)*+")(?= |\Z)', re.DOTALL)
_FIELD = re.compile(r' ([\w.-]+)=("(?:[^"\\]|\\.)*+(?:"|\Z)|<\n(?:\t[^\n]*\n?)*+(?: >)?|\S+)', re.DOTALL)
_MESSAGES = ("msg", "message")


@dataclass(slots=True)
class Line:
    """One line. `at`: ns since the epoch; `fields`: what a structured one has beside its message; `host`: the machine that
    journald names."""

    at: int
    pid: str
    text: str
    level: str = ""
    host: str = ""
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Bare:
    """What is left of a line without what was put before it."""

    text: str
    told_at: int | None
    host: str = ""
    stream: str = ""
    is_part: bool = False


def lines_of(stream: BinaryIO, dating: Dating, report: Report) -> Iterator[Line]:
    """The lines of a log, in its order; what is none is counted."""
    last: Line | None = None
    goes_on = 0
    for bare in _whole(stream, report):
        line = _read(bare, dating)
        if line is not None:
            if last is not None:
                yield _structured(last)
            last, goes_on = line, 0
        elif last is not None and goes_on < _GOES_ON and _may_go_on(last):
            goes_on += 1
            last.text += "\n" + bare.text
            report.skip("lines that go on from the one before")
        else:
            report.skip("lines without a header of klog")
    if last is not None:
        yield _structured(last)


def is_log_line(raw: str) -> bool:
    """Whether a line is one of a log that can be read here."""
    bare = _bare(raw)
    return _HEADER.match(bare.text) is not None or _json_of(bare.text) is not None


def tells_its_time(raw: str) -> bool:
    """Whether a line of a log says its year and zone."""
    bare = _bare(raw)
    return bare.told_at is not None or _json_of(bare.text) is not None


def said_in(raw: str) -> tuple[str, dict[str, str]]:
    """(message, keys) of a line, whenever it is of."""
    bare = _bare(raw)
    if (header := _HEADER.match(bare.text)) is not None:
        line = _structured(Line(0, "", header["text"]))
        return line.text, line.fields
    told = _json_of(bare.text)
    return ("", {}) if told is None else (told[1], told[2])


def _whole(stream: BinaryIO, report: Report) -> Iterator[_Bare]:
    """Lines, put together where a container runtime has cut them."""
    parts: dict[str, list[str]] = {}
    size = 0
    while raw := stream.readline(LONGEST):
        if not raw.endswith(b"\n") and len(raw) == LONGEST:
            report.fault("a line of more than 1 MiB")
            continue
        bare = _bare(raw.decode(errors="replace").rstrip("\r\n"))
        if bare.is_part:
            size += len(bare.text)
            if size > LONGEST:
                report.fault("a line of more than 1 MiB")
                parts, size = {}, 0
                continue
            parts.setdefault(bare.stream, []).append(bare.text)
            continue
        if bare.stream in parts:
            text = "".join(parts.pop(bare.stream)) + bare.text
            size = sum(len(part) for texts in parts.values() for part in texts)
            bare = _Bare(text, bare.told_at, bare.host, bare.stream)
        yield bare
    if parts:
        report.skip("lines whose end is missing", len(parts))


def _bare(raw: str) -> _Bare:
    before = _PREFIX.match(raw)
    if before is None:  # it also fits on nothing
        return _Bare(raw, None)
    text, told_at = raw[before.end() :], parse_rfc3339(before["told"])
    if text.startswith('{"log":') and (docker := json_object(text)):
        log, time = docker.get("log"), docker.get("time")
        if isinstance(log, str) and isinstance(time, str):
            part = not log.endswith("\n")
            return _Bare(log.rstrip("\r\n"), parse_rfc3339(time), "", str(docker.get("stream")), part)
    return _Bare(text, told_at, before["host"] or "", before["stream"] or "", before["part"] == "P")


def _read(bare: _Bare, dating: Dating) -> Line | None:
    header = _HEADER.match(bare.text)
    if header is not None:
        at = dating.at(header, bare.told_at)
        return None if at is None else Line(at, header["pid"], header["text"], header["level"], bare.host)
    told = _json_of(bare.text)
    if told is None:
        return None
    dating.is_told = True
    at, text, fields = told
    return Line(at, "0", text, "E" if "err" in fields and "v" not in fields else "I", bare.host, fields)


def _json_of(text: str) -> tuple[int, str, dict[str, str]] | None:
    """(time, message, all keys) of a line of JSON; None for what is no line of a log."""
    if not text.startswith("{") or not (values := json_object(text)):
        return None
    message = next((values[key] for key in _MESSAGES if isinstance(values.get(key), str)), None)
    at = _time_of(values.get("ts"))
    if message is None or at is None:
        return None
    return at, message, {key: _text_of(value) for key, value in values.items()}


def json_object(text: str) -> dict[str, Any]:
    """The object that a text is in JSON; an empty one for all else."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}


def _time_of(ts: Any) -> int | None:
    if isinstance(ts, str):
        at = parse_rfc3339(ts)
    elif isinstance(ts, int | float) and not isinstance(ts, bool) and 0 <= ts < _END:
        at = int(ts * (MILLISECOND if ts > _MILLISECONDS_FROM else SECOND))
    else:
        at = None
    return at if at is not None and 0 <= at < _END else None


def _text_of(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def _may_go_on(line: Line) -> bool:
    """An error of several lines, or a structured value of such."""
    return len(line.text) < 4 * MAX_TEXT and (line.level in "EWF" or "=<" in line.text[-MAX_TEXT:])


def _structured(line: Line) -> Line:
    """The line, with its keys apart where klog wrote it so."""
    message = _MESSAGE.match(line.text) if line.text.startswith('"') else None
    if message is not None:
        rest = line.text[message.end() :]
        line.fields = {name: unquoted(value) for name, value in _FIELD.findall(rest)}
        line.text = unquoted(message[1])
    return line


def unquoted(value: str) -> str:
    """What Go's %q or klog's block stands for; the text itself where it is neither."""
    if value.startswith("<\n"):
        return value[2:].removesuffix(" >").replace("\n\t", "\n").removeprefix("\t").rstrip("\n")
    if not value.startswith('"'):
        return value
    try:
        text: Any = json.loads(value, strict=False)
    except (ValueError, RecursionError):
        return value[1:-1]
    return text if isinstance(text, str) else value
