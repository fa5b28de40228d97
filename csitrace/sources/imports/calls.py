"""CSI calls put together from log lines, which tell beginning and end apart, and rarely which end belongs to which beginning.

One call at a time is certain. Of several abreast, an answer is told apart by the id that some drivers put before it, or by its
shape (only CreateVolume answers with a volume); what is left is dropped and counted, rather than guessed.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

from csitrace.feed.redaction import MAX_TEXT, PLAIN_TEXT
from csitrace.model.events import Body, RpcFinished, RpcStarted, SourceUp, Stamp, Witness
from csitrace.model.rpc import RPC_BY_METHOD, Code, code_of, short_method
from csitrace.sources.imports.kubelet import Operation
from csitrace.sources.imports.loglines import json_object
from csitrace.sources.imports.report import Report
from csitrace.sources.imports.spool import Segment, Told

_HELD = 20_000
"""Facts that may wait for the end of a call before them."""

_SERIES = 50_000

_SHAPES: dict[str, frozenset[str]] = {
    "volume": frozenset({"CreateVolume", "ControllerGetVolume"}),
    "publish_context": frozenset({"ControllerPublishVolume"}),
    "node_expansion_required": frozenset({"ControllerExpandVolume"}),
    "node_id": frozenset({"NodeGetInfo"}),
    "usage": frozenset({"NodeGetVolumeStats"}),
    "entries": frozenset({"ListVolumes", "ListSnapshots"}),
    "available_capacity": frozenset({"GetCapacity"}),
    "capabilities": frozenset({"GetPluginCapabilities", "ControllerGetCapabilities", "NodeGetCapabilities"}),
    "name": frozenset({"GetPluginInfo"}),
    "ready": frozenset({"Probe"}),
    "snapshot": frozenset({"CreateSnapshot"}),
}
"""A field of an answer, and the calls that may answer with it."""

_NEVER_EMPTY = frozenset({"CreateVolume", "NodeGetInfo", "GetPluginInfo", "CreateSnapshot"})


@dataclass
class _Call:
    """One call. `unclear`: it cannot be told which answer is its own."""

    at: int
    method: str
    key: str
    call_id: int
    instance: str
    request: dict[str, Any]
    finished_at: int | None = None
    code: int = 0
    message: str = ""
    response: dict[str, Any] | None = None
    unclear: bool = False
    settled: bool = False

    @property
    def short(self) -> str:
        return short_method(self.method)


class Calls:
    """The calls of one log. `scope`: how its driver is named among the sources, once it has told a call."""

    def __init__(self, segment: Segment, report: Report, driver: str, node: str, name: str) -> None:
        self._segment = segment
        self._report = report
        self._driver = driver
        self._node = node
        self._name = name
        self._pid = ""
        self._next_id = 0
        self._in_flight: list[_Call] = []
        self._asked: _Call | None = None  # whose request comes next
        self._answered: _Call | None = None  # by the line before: an error that follows is its own
        self._says_errors = False  # each answer is followed by its error, which may be none
        self._held: deque[tuple[int, Body | _Call, bool]] = deque()
        self._attempts: dict[tuple[str, str, str], int] = {}
        self.scope = ""
        self.unnamed = 0
        self.told_of_node = False

    def take(self, at: int, pid: str, what: str, text: str, key: str) -> None:
        """One line: `what` is call, request, response or error; `key`: the call's id, where the log gives calls ids."""
        if pid != self._pid:
            self._restarted(at, pid)
        if what == "call":
            self._call(at, text, key)
        elif what == "request":
            if self._asked is not None and self._asked.key == key:
                self._asked.request = json_object(text)
            self._asked = None
        elif what == "response":
            self._response(at, text, key)
        else:
            self._error(at, text, key)
        self._release()

    def whole(self, at: int, pid: str, operation: Operation) -> None:
        """A call of which only the end is told, by its caller."""
        self._next_id += 1
        call = _Call(at, operation.method, "", self._next_id, f"{self._name}:{pid}", {})
        call.request = {"volume_id": operation.volume_id, "target_path": operation.target_path}
        call.finished_at, call.code, call.message = at, operation.code, operation.message
        self._emit_start(call, operation.driver, Stamp.INFERRED)
        self._emit_end(call, operation.driver)
        self._report.count("ends of calls")

    def tell(self, at: int, body: Body) -> None:
        """A fact beside the calls."""
        self._segment.add(Told(at, body))

    def end(self) -> None:
        """The log is over: what is in flight stays so, and an answer whose error would have come next is none yet."""
        if self._answered is not None and self._says_errors:
            self._answered.settled, self._answered = True, None
        self._settle()
        for call in self._in_flight:
            call.settled = True
        self._in_flight = []
        self._release()

    def _restarted(self, at: int, pid: str) -> None:
        self._settle()
        for call in self._in_flight:  # its process is gone: it was never answered
            call.settled = True
        self._in_flight, self._asked = [], None
        self._pid = pid
        if self._driver:
            self.scope = f"{self._driver}@{self._node}"
            up = SourceUp(
                witness=Witness.DRIVER,
                scope=self.scope,
                detail=f"log {self._name}",
                instance=f"{self._name}:{pid}",
            )
            self._held.append((at, up, False))

    def _call(self, at: int, method: str, key: str) -> None:
        self._settle()
        self._next_id += 1
        call = _Call(at, method.strip(), key, self._next_id, f"{self._name}:{self._pid}", {})
        self._in_flight.append(call)
        self._asked = call
        self._held.append((at, call, True))

    def _response(self, at: int, text: str, key: str) -> None:
        self._settle()
        response = json_object(text)
        call = self._match(key, response)
        if call is not None:
            self._finish(call, at)
            call.response = response

    def _error(self, at: int, text: str, key: str) -> None:
        none = text.strip() in ("<nil>", "")
        if none:
            self._says_errors = True
        last = self._answered
        if last is not None and last.key == key and (none or self._says_errors or not self._in_flight):
            if not none:
                self._fail(last, text)
                self._says_errors = True
            self._settle()
            return
        self._settle()
        call = self._match(key, None)
        if call is not None:
            self._finish(call, at)
            if not none:
                self._fail(call, text)
            self._settle()

    def _match(self, key: str, response: dict[str, Any] | None) -> _Call | None:
        """The call in flight that this answers; None where none does, or one of several."""
        candidates = [call for call in self._in_flight if call.key == key]
        if response is not None and len(candidates) > 1:
            candidates = [call for call in candidates if _fits(call.short, response)] or candidates
        if not candidates:
            self._report.skip("answers to calls before the log begins")
            return None
        if len(candidates) > 1:
            for call in candidates:
                call.unclear = True
        self._in_flight.remove(candidates[0])
        return candidates[0]

    def _finish(self, call: _Call, at: int) -> None:
        call.finished_at = at
        self._answered = call

    def _fail(self, call: _Call, text: str) -> None:
        code = code_of(text)
        call.code = int(code if code is not None else Code.UNKNOWN)
        call.message = (text.partition(" desc = ")[2] if code is not None else text)[:MAX_TEXT].rstrip()
        call.response = None

    def _settle(self) -> None:
        """Nothing more will be said of the last answer. The end of a call comes where it was told."""
        call, self._answered = self._answered, None
        if call is not None:
            call.settled = True
            self._held.append((call.finished_at or call.at, call, False))

    def _release(self) -> None:
        """Hand on what no longer waits for anything; the oldest calls when too much waits."""
        while self._held:
            at, fact, is_start = self._held[0]
            if isinstance(fact, _Call) and not fact.settled:
                if len(self._held) < _HELD:
                    return
                fact.settled = True  # still in flight, as far as told
            self._held.popleft()
            if not isinstance(fact, _Call):
                self._segment.add(Told(at, fact))
            elif is_start:
                self._start(fact)
            elif not fact.unclear and fact.short in RPC_BY_METHOD and self._driver:
                self._emit_end(fact, self._driver)

    def _start(self, call: _Call) -> None:
        if call.short not in RPC_BY_METHOD:
            self._report.skip("calls that are not CSI's")
        elif not self._driver:
            self.unnamed += 1
        elif call.unclear:
            self._report.skip("calls abreast whose answers cannot be told apart")
        else:
            self._emit_start(call, self._driver, Stamp.ORIGIN)
            self._report.count("calls")

    def _emit_start(self, call: _Call, driver: str, stamp: Stamp) -> None:
        request = {name: value for name in PLAIN_TEXT if (value := _text(call.request, name))}
        volume_id = request.get("volume_id") or request.get("source_volume_id", "")
        name = request.get("name", "") if call.short == "CreateVolume" else ""
        body = RpcStarted(
            driver=driver,
            instance=call.instance,
            call_id=call.call_id,
            method=call.method,
            node_name=self._node_of(call),
            volume_id=volume_id,
            volume_name=name,
            node_id=request.get("node_id", ""),
            staging_target_path=request.get("staging_target_path", ""),
            target_path=request.get("target_path", ""),
            attempt=self._attempt(call, volume_id or name),
            request=request,
        )
        self._segment.add(Told(call.at, body, call.at, stamp))

    def _emit_end(self, call: _Call, driver: str) -> None:
        at = call.finished_at if call.finished_at is not None else call.at
        name = _text(call.request, "name") if call.short == "CreateVolume" else ""
        asked_for = _text(call.request, "volume_id") or _text(call.request, "source_volume_id")
        made = (call.response or {}).get("volume")
        subject = (call.method, asked_for or name, _text(call.request, "target_path"))
        attempt = self._attempts.get(subject, 1)
        if call.code == 0:
            self._attempts.pop(subject, None)
        body = RpcFinished(
            driver=driver,
            instance=call.instance,
            call_id=call.call_id,
            method=call.method,
            code=call.code,
            message=call.message,
            duration_ns=max(0, at - call.at),
            node_name=self._node_of(call),
            volume_id=asked_for or (_text(made, "volume_id") if isinstance(made, dict) else ""),
            volume_name=name,
            attempt=attempt,
        )
        self._segment.add(Told(at, body, at, Stamp.ORIGIN))

    def _node_of(self, call: _Call) -> str:
        if not call.short.startswith("Node"):
            return ""
        self.told_of_node = True
        return self._node

    def _attempt(self, call: _Call, subject: str) -> int:
        key = (call.method, subject, _text(call.request, "target_path"))
        if len(self._attempts) >= _SERIES and key not in self._attempts:
            self._attempts.clear()
        self._attempts[key] = self._attempts.get(key, 0) + 1
        return self._attempts[key]


def _fits(method: str, response: dict[str, Any]) -> bool:
    shapes = [methods for name, methods in _SHAPES.items() if name in response]
    return any(method in methods for methods in shapes) if shapes else method not in _NEVER_EMPTY


def _text(message: Any, field: str) -> str:
    value = message.get(field) if isinstance(message, dict) else None
    return value[:MAX_TEXT] if isinstance(value, str) else ""
