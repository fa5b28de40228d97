"""Objects of dumps, as the fields that are kept: the same allow-list as for the API server's own bytes.

Only watched kinds of their own API group are read at all; a Secret is not even parsed.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import yaml

from csitrace.model.kinds import KIND_BY_NAME, Kind
from csitrace.model.kubernetes import (
    BareMeta,
    Event,
    EventSeries,
    EventSource,
    KubernetesObject,
    Lease,
    ObjectReference,
    VolumeAttachment,
)
from csitrace.model.times import parse_rfc3339
from csitrace.sources.imports.report import printable

UNREADABLE = (msgspec.MsgspecError, yaml.YAMLError, ValueError, RecursionError, OverflowError, TypeError)
"""Whatever comes of bytes that are no object of the form expected."""


def reason_of(error: BaseException) -> str:
    """Why bytes cannot be read, in one line. Of the bytes themselves nothing is quoted: they may be a Secret's, and what msgspec
    says names places alone; libyaml quotes anchors and tags, and Python's own errors whole values."""
    if isinstance(error, msgspec.MsgspecError):
        text = str(error)
    elif isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        text = f"no YAML, in its line {error.problem_mark.line + 1}"
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror
    else:
        text = type(error).__name__
    return printable(text)[:160] or type(error).__name__


class ListHead(msgspec.Struct, frozen=True, gc=False):
    """What a list says of itself. `api_version` and `kind` (`PodList`, `List`) empty where it does not say."""

    kind: str = ""
    api_version: str = msgspec.field(name="apiVersion", default="")
    resource_version: str = ""
    is_partial: bool = False

    @property
    def item_kind(self) -> str:
        """Of which kind its items are; empty for `List`, which holds any."""
        return self.kind.removesuffix("List")


class _ListMeta(msgspec.Struct, rename="camel", frozen=True, gc=False):
    resource_version: str = ""
    continuation: str = msgspec.field(name="continue", default="")


class _Head(msgspec.Struct, rename="camel", frozen=True, gc=False):
    kind: str = ""
    api_version: str = ""
    level: str = ""
    metadata: msgspec.Raw = msgspec.Raw(b"{}")


class _NewEvent(msgspec.Struct, rename="camel", frozen=True, kw_only=True, gc=False):
    """events.k8s.io/v1: the same object as a core/v1 Event, with other names."""

    metadata: BareMeta = BareMeta()
    regarding: ObjectReference = ObjectReference()
    reason: str = ""
    note: str = ""
    type: str = ""
    event_time: str | None = None
    series: EventSeries | None = None
    reporting_controller: str = ""
    deprecated_source: EventSource = EventSource()
    deprecated_first_timestamp: str | None = None
    deprecated_last_timestamp: str | None = None
    deprecated_count: int | None = None

    def core(self) -> Event:
        return Event(
            metadata=self.metadata,
            involved_object=self.regarding,
            reason=self.reason,
            message=self.note,
            type=self.type,
            source=self.deprecated_source,
            reporting_component=self.reporting_controller,
            first_timestamp=self.deprecated_first_timestamp,
            last_timestamp=self.deprecated_last_timestamp,
            event_time=self.event_time,
            count=self.deprecated_count,
            series=self.series,
        )


class _Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """YAML as kubectl writes it: times are text, and `<<` is a key like any other, so that nothing multiplies."""

    def flatten_mapping(self, node: Any) -> None:
        return


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":merge"))]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}

_HEAD = msgspec.json.Decoder(_Head)
_META = msgspec.json.Decoder(_ListMeta)
_JSON: dict[str, Callable[[bytes], Any]] = {
    kind.name: msgspec.json.Decoder(kind.object_type).decode for kind in KIND_BY_NAME.values()
}
_NEW_EVENTS = "events.k8s.io"
_END = 1 << 62  # ns, in 2116: a later time is a mistake
_YAML_KIND = re.compile(rb"^( *)kind:[ \t]*[\"']?(\w+)", re.MULTILINE)


class JsonForm:
    """How JSON is read."""

    def kind_of(self, raw: bytes) -> tuple[str, str]:
        """(kind, apiVersion) as the object says, empty where it does not. Raises one of UNREADABLE."""
        head = _HEAD.decode(raw)
        return head.kind, head.api_version

    def list_head(self, raw: bytes) -> ListHead:
        """Raises one of UNREADABLE."""
        head = _HEAD.decode(raw)
        meta = _META.decode(head.metadata) if bytes(head.metadata).startswith(b"{") else _ListMeta()
        return ListHead(head.kind, head.api_version, meta.resource_version, bool(meta.continuation))

    def read(self, raw: bytes, kind: Kind, api_version: str) -> KubernetesObject:
        """Raises one of UNREADABLE."""
        if api_version.startswith(_NEW_EVENTS):
            return msgspec.json.decode(raw, type=_NewEvent).core()
        found: KubernetesObject = _JSON[kind.name](raw)
        return found


class YamlForm:
    """How YAML is read."""

    def kind_of(self, raw: bytes) -> tuple[str, str]:
        """As JSON's; by its first lines of least indentation alone, since most of what a dump holds is not wanted."""
        kinds = [(len(match[1]), match[2].decode()) for match in _YAML_KIND.finditer(raw)]
        if not kinds:
            return "", ""
        first = next((line for line in raw.split(b"\n") if line.strip() and not line.startswith(b"#")), b"")
        indent = len(first) - len(first.lstrip(b" "))
        kind = next((kind for depth, kind in kinds if depth == indent), "")
        version = re.search(rb"^ {%d}apiVersion:[ \t]*[\"']?([\w./-]+)" % indent, raw, re.MULTILINE)
        return kind, version[1].decode() if version else ""

    def list_head(self, raw: bytes) -> ListHead:
        """Raises one of UNREADABLE."""
        loaded = _load(raw)
        told = loaded if isinstance(loaded, dict) else {}
        meta = told.get("metadata")
        meta = meta if isinstance(meta, dict) else {}
        return ListHead(
            str(told.get("kind") or ""),
            str(told.get("apiVersion") or ""),
            str(meta.get("resourceVersion") or ""),
            bool(meta.get("continue")),
        )

    def read(self, raw: bytes, kind: Kind, api_version: str) -> KubernetesObject:
        """Raises one of UNREADABLE."""
        loaded = _load(raw)
        if api_version.startswith(_NEW_EVENTS):
            return msgspec.convert(loaded, type=_NewEvent).core()
        found: KubernetesObject = msgspec.convert(loaded, type=kind.object_type)
        return found


Form = JsonForm | YamlForm


def _load(raw: bytes) -> Any:
    return yaml.load(raw, Loader=_Loader)  # noqa: S506 - a SafeLoader


def watched(kind: str, api_version: str) -> Kind | None:
    """The watched kind of that name and API group; None for all others, such as another project's `Node`."""
    found = KIND_BY_NAME.get(kind)
    if found is None:
        return None
    group = api_version.rpartition("/")[0]
    return found if group == found.group or (kind == "Event" and group == _NEW_EVENTS) else None


def latest_time(obj: KubernetesObject) -> int | None:
    """The latest past time that the object tells of: when it was dumped, it was at least that late."""
    told: list[str | None] = [obj.metadata.creation_timestamp]
    match obj:
        case Event():
            told.append(obj.last_time)
        case Lease():
            told.append(obj.spec.renew_time)
        case VolumeAttachment():
            told += [error.time for error in (obj.status.attach_error, obj.status.detach_error) if error]
    conditions = getattr(getattr(obj, "status", None), "conditions", ())
    told += [condition.last_transition_time for condition in conditions]
    return max((at for text in told if (at := parse_rfc3339(text)) is not None and at < _END), default=None)


def version_of(obj: KubernetesObject) -> int | None:
    """The object's version as a number; None where it has none that can be compared."""
    text = obj.metadata.resource_version
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else None
