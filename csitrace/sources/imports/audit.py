"""Audit logs of API servers (audit.k8s.io/v1, JSON lines): who changed what, when; at level RequestResponse also to what.

Facts: Kubernetes documentation, "Auditing"; API reference, audit.k8s.io/v1 Event. An answer to a DELETE is a Status once the
object is gone, or the object, which stays as long as it has finalizers or a grace period.
"""

from contextlib import closing
from typing import Any

import msgspec

from csitrace.model.events import Body, Marked, ObjectAdded, ObjectDeleted, ObjectModified, Stamp
from csitrace.model.kinds import KINDS, POD, Kind
from csitrace.model.kubernetes import KubernetesObject
from csitrace.model.times import parse_rfc3339
from csitrace.sources.imports.inputs import Input
from csitrace.sources.imports.objects import UNREADABLE, JsonForm, reason_of, watched
from csitrace.sources.imports.report import Report
from csitrace.sources.imports.split import Cut, split_json
from csitrace.sources.imports.spool import Segment, Told

_CHANGES = frozenset({"create", "update", "patch", "delete"})
_READS = frozenset({"get", "list", "watch"})
_TOLD_WITHOUT_CONTENT = frozenset({"persistentvolumeclaims", "persistentvolumes", "volumeattachments"})
_BY_RESOURCE = {(kind.group, kind.resource): kind for kind in KINDS}


class _User(msgspec.Struct, frozen=True, gc=False):
    username: str = ""


class _Reference(msgspec.Struct, rename="camel", frozen=True, gc=False):
    resource: str = ""
    namespace: str = ""
    name: str = ""
    api_group: str = ""
    subresource: str = ""


class _Status(msgspec.Struct, frozen=True, gc=False):
    code: int = 0


class _Line(msgspec.Struct, rename="camel", frozen=True, gc=False):
    level: str = ""
    stage: str = ""
    verb: str = ""
    user: _User = _User()
    object_ref: _Reference | None = None
    response_status: _Status | None = None
    response_object: msgspec.Raw = msgspec.Raw(b"")
    request_received_timestamp: str = ""
    stage_timestamp: str = ""


class _Grace(msgspec.Struct, rename="camel", frozen=True, gc=False):
    deletion_grace_period_seconds: int | None = None


class _Graced(msgspec.Struct, frozen=True, gc=False):
    metadata: _Grace = _Grace()


_LINE = msgspec.json.Decoder(_Line)
_GRACED = msgspec.json.Decoder(_Graced)
_JSON = JsonForm()
_NOT_THE_OBJECT = "changes whose answer is not the object"


def read_audit(source: Input, segment: Segment, report: Report) -> None:
    """The changes of watched objects, in the order in which they were answered."""
    with closing(source.open()) as stream:
        for piece in split_json(stream):
            if piece.cut is Cut.TORN:
                report.fault(piece.raw.decode())
            elif piece.cut is not Cut.LIST:
                _take(piece.raw, segment, report)


def _take(raw: bytes, segment: Segment, report: Report) -> None:
    try:
        line = _LINE.decode(raw)
    except UNREADABLE as error:
        report.fault(f"a line that cannot be read: {reason_of(error)}")
        return
    received = parse_rfc3339(line.request_received_timestamp)
    answered = parse_rfc3339(line.stage_timestamp) or received
    reference = line.object_ref
    if line.stage != "ResponseComplete":
        report.skip("lines of other stages than ResponseComplete")
    elif line.verb in _READS:
        report.skip("requests that only read")
    elif line.verb not in _CHANGES or reference is None or answered is None:
        report.skip("other requests")
    elif line.response_status is None or not 200 <= line.response_status.code < 300:
        report.skip("requests that failed")
    else:
        kind = _BY_RESOURCE.get((reference.api_group, reference.resource))
        body = _body(line, reference, kind, report) if kind is not None else None
        if body is not None:
            segment.add(Told(answered, body, received, Stamp.ORIGIN))
            report.count(f"{reference.resource} {line.verb}")
        elif kind is None:
            report.skip("changes of what is not followed")


def _body(line: _Line, reference: _Reference, kind: Kind, report: Report) -> Body | None:
    raw = bytes(line.response_object)
    if line.level != "RequestResponse" or not raw.startswith(b"{"):
        return _without_content(line, reference, report)
    try:
        name, api_version = _JSON.kind_of(raw)
        if name == "Status":
            if line.verb == "delete":
                return _removed(kind, reference)
            report.skip(_NOT_THE_OBJECT)
            return None
        if watched(name, api_version) is not kind:
            report.skip(_NOT_THE_OBJECT)
            return None
        obj = _JSON.read(raw, kind, api_version)
        grace = _GRACED.decode(raw).metadata.deletion_grace_period_seconds
    except UNREADABLE as error:
        report.fault(f"a {kind.name} that cannot be read: {reason_of(error)}")
        return None
    if not obj.uid or not obj.name:
        report.skip(_NOT_THE_OBJECT)
        return None
    if _is_gone(obj, grace, line.verb):
        return ObjectDeleted(object=obj)
    return ObjectAdded(object=obj) if line.verb == "create" else ObjectModified(object=obj)


def _is_gone(obj: KubernetesObject, grace: int | None, verb: str) -> bool:
    """Nothing keeps it: the last finalizer has been taken from what is to be deleted, or it had none."""
    if obj.metadata.finalizers or grace:
        return False
    return obj.is_terminating or (verb == "delete" and not isinstance(obj, POD.object_type))


def _removed(kind: Kind, reference: _Reference) -> Body:
    """Only its name is told; what it was last is known from elsewhere, or not at all."""
    named = {"metadata": {"name": reference.name, "namespace": reference.namespace}}
    made: Any = msgspec.convert(named, kind.object_type)
    return ObjectDeleted(object=made)


def _without_content(line: _Line, reference: _Reference, report: Report) -> Body | None:
    """Who did what when, where the audit policy keeps no objects: a mark."""
    binds = reference.resource == "pods" and reference.subresource == "binding"
    if reference.resource not in _TOLD_WITHOUT_CONTENT and not binds:
        report.skip("changes without their objects (the audit policy's level is below RequestResponse)")
        return None
    path = "/".join(part for part in (reference.resource, reference.subresource) if part)
    name = "/".join(part for part in (reference.namespace, reference.name) if part)
    return Marked(text=f"audit: {line.user.username} {line.verb} {path} {name}")
