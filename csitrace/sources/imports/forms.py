"""The table of what can be read. A form is told by a file's first bytes; its name counts for nothing."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from csitrace.model.mounts import parse_mountinfo_line
from csitrace.sources.imports.audit import read_audit
from csitrace.sources.imports.dumps import Account, read_json, read_yaml
from csitrace.sources.imports.inputs import Input
from csitrace.sources.imports.klog import HEADER, read_klog
from csitrace.sources.imports.mountinfo import read_mountinfo
from csitrace.sources.imports.report import Report
from csitrace.sources.imports.spool import Segment

LOOKED_AT = 1 << 16
"""Bytes of a file by which its form is told."""

_LINES = 60
_AUDIT = b'"audit.k8s.io/'
_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*[{\[]")
_YAML = re.compile(rb"^(?:\xef\xbb\xbf)?(?:apiVersion|kind|items|metadata):(?:\s|\Z)", re.MULTILINE)
_TABLE = re.compile(rb"(?:NAMESPACE +)?LAST SEEN +TYPE +REASON +OBJECT")


@dataclass(frozen=True, slots=True)
class Hints:
    """What people know better than a file: whose log it is, and of which node a log or mount table is."""

    driver: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """`title`: for people; `fits`: whether bytes begin as one of this form; `read`: all facts into the segment, with an account
    of what was listed where it is a dump."""

    title: str
    fits: Callable[[bytes], bool]
    read: Callable[[Input, Segment, Report, Hints], Account | None]


def _klog(source: Input, segment: Segment, report: Report, hints: Hints) -> None:
    read_klog(source, segment, report, driver=hints.driver, node=hints.node)


def _mountinfo(source: Input, segment: Segment, report: Report, hints: Hints) -> None:
    read_mountinfo(source, segment, report, node=hints.node)


def _events_table(source: Input, segment: Segment, report: Report, hints: Hints) -> None:
    report.fault(
        "the table that kubectl get events prints has no times and no uids: take it again with -o yaml"
    )


FORMS: dict[str, Form] = {
    "audit": Form(
        "audit log",
        lambda head: _is_json(head) and _AUDIT in head[:4096],
        lambda source, segment, report, hints: read_audit(source, segment, report),
    ),
    "json": Form(
        "objects in JSON",
        lambda head: _is_json(head),
        lambda source, segment, report, hints: read_json(source, segment, report),
    ),
    "klog": Form("klog", lambda head: any(HEADER.match(line) for line in _text(head)), _klog),
    "mountinfo": Form(
        "mountinfo", lambda head: any(parse_mountinfo_line(line) for line in _text(head)[:5]), _mountinfo
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
    return [line.decode(errors="replace") for line in head.split(b"\n")[:_LINES]]
