"""Dumps of objects: `kubectl get … -o yaml|json`, `kubectl cluster-info dump`, must-gather.

A list is taken to hold all of its kind: in all namespaces, if its items are in several, else in the one they are in. That a
selector was used is written nowhere.
"""

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field

from csitrace.model.events import ObjectListed
from csitrace.model.kinds import KIND_BY_NAME, Kind
from csitrace.model.kubernetes import KubernetesObject, Lease
from csitrace.sources.imports.inputs import Input
from csitrace.sources.imports.objects import (
    UNREADABLE,
    Form,
    JsonForm,
    ListHead,
    YamlForm,
    latest_time,
    reason_of,
    version_of,
    watched,
)
from csitrace.sources.imports.report import Report
from csitrace.sources.imports.split import Cut, Piece, split_json, split_yaml
from csitrace.sources.imports.spool import Segment, Told

_LONGEST_KIND = 63  # as the API's own rules for names
_SPLITTERS = {JsonForm: split_json, YamlForm: split_yaml}


@dataclass
class Account:
    """What one file tells. `lease_at`: the newest renewal of a Lease in it, `latest_at`: the latest time of any kind."""

    segment: Segment
    lists: dict[str, str] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)
    lease_at: int = 0
    latest_at: int = 0


def read_json(source: Input, segment: Segment, report: Report) -> Account:
    """All objects of a file of JSON."""
    return _Reading(source, JsonForm(), segment, report).run()


def read_yaml(source: Input, segment: Segment, report: Report) -> Account:
    """All objects of a file of YAML."""
    return _Reading(source, YamlForm(), segment, report).run()


class _Reading:
    def __init__(self, source: Input, form: Form, segment: Segment, report: Report) -> None:
        self._source = source
        self._form = form
        self._report = report
        self._account = Account(segment)
        self._items: dict[str, Counter[str]] = {}  # of the list that is being read: namespaces by kind
        self._unnamed = 0
        self._lists = 0
        self._heads: list[ListHead] | None = None

    def run(self) -> Account:
        with closing(self._source.open()) as stream:
            for piece in _SPLITTERS[type(self._form)](stream):
                self._take(piece)
        if self._unnamed:
            self._report.skip("objects that say no kind", self._unnamed)
        return self._account

    def _take(self, piece: Piece) -> None:
        match piece.cut:
            case Cut.TORN:
                self._report.fault(piece.raw.decode())
                self._items.clear()  # a list that was cut off tells nothing of what is absent
            case Cut.LIST:
                self._end_list(self._head(piece.raw))
            case Cut.OBJECT:
                self._object(piece.raw, ListHead())
            case Cut.ITEM:
                if found := self._object(piece.raw, None):
                    self._items.setdefault(found.kind, Counter())[found.namespace] += 1

    def _object(self, raw: bytes, of_list: ListHead | None) -> KubernetesObject | None:
        try:
            name, api_version = self._form.kind_of(raw)
        except UNREADABLE:
            self._report.skip("pieces that are no objects")
            return None
        if not name and of_list is None:
            head = self._list_at(self._lists)
            name, api_version = head.item_kind, api_version or head.api_version
        if not name:
            self._unnamed += 1
            return None
        if of_list is not None and name.endswith("List"):  # `items: []`
            self._end_list(self._head(raw))
            return None
        kind = watched(name, api_version)
        if kind is None:
            is_name = name.isidentifier() and len(name) <= _LONGEST_KIND
            self._report.skip(f"{name} objects, which are not followed" if is_name else "others")
            return None
        try:
            obj = self._form.read(raw, kind, api_version)
        except UNREADABLE as error:
            self._report.fault(f"a {kind.name} that cannot be read: {reason_of(error)}")
            return None
        if not obj.name or not obj.uid:
            self._report.skip(f"{kind.name} objects without a name or uid")
            return None
        self._keep(obj)
        return obj

    def _keep(self, obj: KubernetesObject) -> None:
        account = self._account
        account.segment.add(Told(0, ObjectListed(object=obj)))
        account.latest_at = max(account.latest_at, latest_time(obj) or 0)
        if isinstance(obj, Lease):
            account.lease_at = max(account.lease_at, latest_time(obj) or 0)
        account.newest[obj.kind] = max(account.newest.get(obj.kind, 0), version_of(obj) or 0)
        self._report.count(obj.kind)

    def _head(self, raw: bytes) -> ListHead:
        try:
            return self._form.list_head(raw)
        except UNREADABLE:
            return ListHead()

    def _end_list(self, head: ListHead) -> None:
        self._lists += 1
        if head.is_partial:
            self._report.fault(
                "a page of a list, and not the last: what is absent from it may still be there"
            )
        else:
            for kind, namespaces in self._items.items():
                self._listed(KIND_BY_NAME[kind], list(namespaces), head)
            if not self._items and (empty := watched(head.item_kind, head.api_version)) is not None:
                self._listed(empty, [], head)
        self._items = {}

    def _listed(self, kind: Kind, namespaces: list[str], head: ListHead) -> None:
        place = ""
        if kind.namespaced:
            place = namespaces[0] if len(namespaces) == 1 else ""
            if not namespaces and not (place := _namespace_of_path(self._source)):
                self._report.fault(f"an empty {kind.name}List: of which namespace is not said")
                return
        self._account.lists[f"{kind.name}/{place}" if place else kind.name] = head.resource_version

    def _list_at(self, index: int) -> ListHead:
        """The head of a list whose items say no kind and whose own comes after them: the file is gone through once before."""
        if self._heads is None:
            with closing(self._source.open()) as stream:
                self._heads = [
                    self._head(piece.raw)
                    for piece in _SPLITTERS[type(self._form)](stream)
                    if piece.cut is Cut.LIST
                ]
        return self._heads[index] if index < len(self._heads) else ListHead()


def _namespace_of_path(source: Input) -> str:
    """The namespace whose directory the file is in, in the trees of must-gather and cluster-info dump."""
    parts = source.parts
    if "namespaces" in parts[:-1]:
        return parts[parts.index("namespaces") + 1] if parts.index("namespaces") + 2 < len(parts) else ""
    return parts[-2] if len(parts) > 1 and parts[-1] in ("pods.json", "events.json") else ""
