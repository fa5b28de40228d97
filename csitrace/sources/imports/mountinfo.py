"""A copy of a node's /proc/<pid>/mountinfo: what was mounted there when it was taken."""

import re
from contextlib import closing
from pathlib import Path

from csitrace.lifecycle.paths import parse_path
from csitrace.model.events import ListCompleted, MountAppeared, SourceUp, Witness
from csitrace.model.mounts import parse_mountinfo_line
from csitrace.model.times import format_rfc3339
from csitrace.sources.imports.hints import Hints
from csitrace.sources.imports.inputs import Input
from csitrace.sources.imports.report import Report
from csitrace.sources.imports.spool import Segment, Told
from csitrace.sources.mountinfo.interest import Interest

_LONGEST = 1 << 16
_KUBELET = Interest(("/var/lib/kubelet",))
_WORD = re.compile(r"(?:^|[-_.])(?:proc[-_.])?(?:self[-_.])?mountinfo(?:[-_.]|$)|\.(?:txt|log)$")
_NO_NODES = frozenset({"", ".", "..", "/", "tmp", "proc", "self", "home", "root", "var"})


def read_mountinfo(source: Input, segment: Segment, report: Report, hints: Hints) -> None:
    """The mounts below kubelet's root, of the node that is said, else the one that the file or its directory is named after."""
    node_name = hints.node or node_of_path(source)
    if not node_name:
        report.fault("of which node is not said: name the file after it, or use --node")
        return
    if not hints.node:
        report.remarks.append(f"taken to be of node {node_name}, by its name")
    at, count = source.modified_at if hints.taken_at is None else hints.taken_at, 0
    by = "by the file's time: else use --taken-at" if hints.taken_at is None else "by --taken-at"
    report.remarks.append(f"taken to be of {format_rfc3339(at)}, {by}")
    segment.add(
        Told(at, SourceUp(witness=Witness.KERNEL, scope=node_name, detail=f"mountinfo {source.name}"))
    )
    with closing(source.open()) as stream:
        while line := stream.readline(_LONGEST):
            mount = parse_mountinfo_line(line.decode(errors="replace").rstrip("\r\n"))
            if mount is None:
                report.skip("lines that are no mounts")
            elif _KUBELET.mount(mount) or parse_path(mount.mount_point) is not None:
                segment.add(Told(at, MountAppeared(node_name=node_name, mount=mount)))
                count += 1
            else:
                report.skip("mounts of other things")
    report.count("mounts", count)
    segment.add(Told(at, ListCompleted(witness=Witness.KERNEL, scope=node_name, count=count)))


def node_of_path(source: Input) -> str:
    """`n1` of `n1.mountinfo`, `mountinfo-n1.txt` or `n1/mountinfo`; "" where nothing tells."""
    path = Path(source.name)
    name = _WORD.sub("", path.name)
    if not name:
        name = next((part for part in reversed(path.parts[:-1]) if not part.isdecimal()), "")
    return "" if name in _NO_NODES else name
