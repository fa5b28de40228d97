"""Logs written with klog: what sidecars, and drivers that log as csi-lib-utils does, write of their CSI calls at -v=5, and what
kubelet says of the calls it made."""

import re
from collections.abc import Iterator
from contextlib import closing

from csitrace.model.events import SourceDown, Witness
from csitrace.sources.imports.calls import Calls
from csitrace.sources.imports.dating import Dating
from csitrace.sources.imports.hints import Hints
from csitrace.sources.imports.inputs import Input
from csitrace.sources.imports.kubelet import KubeletLog
from csitrace.sources.imports.loglines import LONGEST, Line, json_object, lines_of, said_in
from csitrace.sources.imports.report import Report
from csitrace.sources.imports.spool import Segment

_LOOKED_AT = 64 << 20
"""Bytes in which a log must have said whose it is."""

_GRPC = re.compile(
    r"(?:ID: (?P<id>\d+) )?(?:Req-ID: \S+ )?GRPC (?P<what>call|request|response|error): ?(?P<text>.*)",
    re.DOTALL,
)
_STRUCTURED = {f"GRPC {what}": what for what in ("call", "request", "response", "error")}
_NO_ERROR = frozenset({"", "null", "<nil>"})
_MAY_SAY = re.compile(rb"registered node|CSI driver|GRPC response.{0,400}(?:node_id|name)")
_DRIVER = re.compile(r"(?:CSI driver name|[Dd]etected CSI driver):? \"?([A-Za-z0-9][\w.-]{0,62})\"?")
_DRIVER_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,62}")
_NODE_NAME = re.compile(r"[\w.:/-]{1,253}")


def read_klog(source: Input, segment: Segment, report: Report, hints: Hints) -> None:
    """The CSI calls that a log tells of."""
    said_driver, said_node = _whose(source)
    calls = Calls(segment, report, hints.driver or said_driver, hints.node or said_node, source.name)
    kubelet = KubeletLog()
    dating = Dating(source.modified_at, hints)
    last_at = 0
    host = ""
    with closing(source.open()) as stream:
        for line in lines_of(stream, dating, report):
            last_at, host = max(last_at, line.at), host or line.host
            _take(line, calls, kubelet, report)
    calls.end()
    if calls.scope and segment.count:
        reason = f"{source.name} ends here"
        calls.tell(last_at, SourceDown(witness=Witness.DRIVER, scope=calls.scope, reason=reason))
    if calls.unnamed:
        report.fault(f"{calls.unnamed} calls of a driver that the log does not name: use --driver")
    _remark(dating, hints, report)
    if calls.told_of_node and not hints.node:
        if said_node:
            report.remarks.append(
                f"taken to be of node {said_node}, by what it says of itself; else use --node"
            )
        else:
            on = f" (journald names the machine {host})" if host else ""
            report.remarks.append(f"of which node it is, is not said{on}: use --node")


def _remark(dating: Dating, hints: Hints, report: Report) -> None:
    if dating.is_told or not dating.years:
        return
    first, last = min(dating.years), max(dating.years)
    years = f"{first}" if first == last else f"{first} to {last}"
    report.remarks.append(
        f"its lines name neither year nor zone: taken to be of {years}, {dating.why}, in {hints.zone_name}; else use "
        "--taken-at, --log-zone"
    )


def _take(line: Line, calls: Calls, kubelet: KubeletLog, report: Report) -> None:
    if (match := _GRPC.match(line.text)) is not None:
        calls.take(line.at, line.pid, match["what"], match["text"].rstrip(), match["id"] or "")
    elif (what := _STRUCTURED.get(line.text)) is not None:
        for part, text in _structured(what, line.fields):
            calls.take(line.at, line.pid, part, text, "")
    elif (operation := kubelet.operation_of(line.text)) is not None:
        calls.whole(line.at, line.pid, operation)
    elif (known := kubelet.known(line.text)) is not None:
        report.skip(known)
    else:
        report.skip("other lines")


def _structured(what: str, told: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What one structured line says, as the lines of the older form would."""
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
        yield "error", "<nil>" if error is None or error in _NO_ERROR else error


def _whose(source: Input) -> tuple[str, str]:
    """(driver, node) by what the log says of itself, which it does when its program starts."""
    driver = node = ""
    looked_at = 0
    with closing(source.open()) as stream:
        while (raw := stream.readline(LONGEST)) and looked_at < _LOOKED_AT and not (driver and node):
            looked_at += len(raw)
            if _MAY_SAY.search(raw) is not None:
                text, fields = said_in(raw.decode(errors="replace").rstrip("\r\n"))
                said_driver, said_node = _said(text, fields)
                driver, node = driver or said_driver, node or said_node
    return driver, node


def _said(text: str, fields: dict[str, str]) -> tuple[str, str]:
    """(driver, node) as one line names them: a sidecar or registrar its driver, kubelet its node, an answer either."""
    if text.startswith("GRPC response"):
        answer = json_object(fields.get("response", text.partition(": ")[2]))
        driver, node = answer.get("name"), answer.get("node_id")
    elif "uccessfully registered node" in text:
        driver, node = None, json_object(fields.get("node", "")).get("name", fields.get("node"))
    else:
        match = _DRIVER.search(text)
        driver = match[1] if match is not None else fields.get("driver", fields.get("driverName"))
        driver, node = driver if "CSI driver" in text else None, None
    return _name(driver, _DRIVER_NAME), _name(node, _NODE_NAME)


def _name(value: object, pattern: "re.Pattern[str]") -> str:
    return value if isinstance(value, str) and pattern.fullmatch(value) is not None else ""
