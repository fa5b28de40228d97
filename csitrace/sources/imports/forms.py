"""The table of what can be read. A form is told by a file's first bytes; its name counts for nothing."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from csitrace.model.mounts import parse_mountinfo_line
from csitrace.sources.imports.audit import read_audit
from csitrace.sources.imports.dumps import Account, read_json, read_yaml
from csitrace.sources.imports.hints import Hints
from csitrace.sources.imports.inputs import Input
from csitrace.sources.imports.klog import read_klog
from csitrace.sources.imports.loglines import is_log_line, tells_its_time
from csitrace.sources.imports.mountinfo import read_mountinfo
from csitrace.sources.imports.report import Report
from csitrace.sources.imports.spool import Segment

LOOKED_AT = 1 << 16
"""Bytes of a file by which its form is told."""

_LINES = 300
_AUDIT = b'"audit.k8s.io/'
_JSON = re.compile(rb"\s*[{\[]")
_YAML = re.compile(rb"^(?:apiVersion|kind|items|metadata):(?:\s|\Z)", re.MULTILINE)
_TABLE = re.compile(rb"(?:NAMESPACE +)?LAST SEEN +TYPE +REASON +OBJECT")


@dataclass(frozen=True, slots=True)
class Form:
    """`title`: for people; `fits`: whether bytes begin as one of this form; `read`: all facts into the segment, with an account
    of what was listed where it is a dump; `is_dated`: whether such a file says its times itself, and needs no other's;
    `says_when`: whether the same bytes are the same facts, whichever file they are in."""

    title: str
    fits: Callable[[bytes], bool]
    read: Callable[[Input, Segment, Report, Hints], Account | None]
    is_dated: Callable[[bytes], bool] = lambda head: True
    says_when: bool = True


def _events_table(source: Input, segment: Segment, report: Report, hints: Hints) -> None:
    report.fault(
        "the table that kubectl get events prints has no times and no uids: take it again with -o yaml"
    )


def _is_log(head: bytes) -> bool:
    lines = _text(head)
    first = next((line for line in lines if line.strip()), "")
    return (not _is_json(head) or is_log_line(first)) and any(map(is_log_line, lines))


def _is_dated_log(head: bytes) -> bool:
    return any(map(tells_its_time, _text(head)))


FORMS: dict[str, Form] = {
    "audit": Form(
        "audit log",
        lambda head: _is_json(head) and _AUDIT in head[:4096],
        lambda source, segment, report, hints: read_audit(source, segment, report),
    ),
    "klog": Form("klog", _is_log, read_klog, _is_dated_log),
    "json": Form(
        "objects in JSON",
        lambda head: _is_json(head),
        lambda source, segment, report, hints: read_json(source, segment, report),
    ),
    "mountinfo": Form(
        "mountinfo",
        lambda head: any(parse_mountinfo_line(line) for line in _text(head)[:5]),
        read_mountinfo,
        is_dated=lambda head: False,
        says_when=False,
    ),
    "events-table": Form("table of Events", lambda head: _TABLE.match(head) is not None, _events_table),
    "yaml": Form(
        "objects in YAML",
        lambda head: _YAML.search(head) is not None,
        lambda source, segment, report, hints: read_yaml(source, segment, report),
    ),
}
"""By what `--as` calls them; in the order in which they are tried."""


def form_of(head: bytes) -> str:
    """The name of the first form that fits; "" when none does."""
    return next((name for name, form in FORMS.items() if form.fits(head)), "")


def _is_json(head: bytes) -> bool:
    return _JSON.match(head) is not None


def _text(head: bytes) -> list[str]:
    return [line.decode(errors="replace").rstrip("\r") for line in head.split(b"\n", _LINES)[:_LINES]]
