"""The API server's bytes, read straight into the fields that are kept: list pages and watch streams. No I/O.

Facts: Kubernetes API concepts, "Efficient detection of changes", "Watch bookmarks", "Streaming lists". What cannot be read
is told as `Unreadable`, so that one odd object costs one fact and not the stream.
"""

from typing import Any, Generic, Literal, TypeVar

import msgspec

from csitrace.model.kinds import Kind
from csitrace.model.kubernetes import KubernetesObject

T = TypeVar("T")

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""The annotation of the bookmark that ends a streaming list."""


class Change(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """One watch event about one object."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: T


class Bookmark(msgspec.Struct, frozen=True, gc=False):
    """All changes up to `resource_version` have been sent."""

    resource_version: str
    ends_initial_events: bool = False


class Failure(msgspec.Struct, frozen=True, gc=False):
    """The server ended the watch; `code` is an HTTP status, 410: the resourceVersion is too old."""

    code: int
    message: str


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """Something arrived that has not the form expected. `reason`: where and why; `name`: the object's, where it can be told."""

    reason: str
    name: str = ""


WatchMessage = Change[KubernetesObject] | Bookmark | Failure | Unreadable


class Page(msgspec.Struct, frozen=True, gc=False):
    """One page of a list. `continuation`: the token of the next, empty on the last."""

    objects: list[KubernetesObject]
    resource_version: str
    continuation: str
    unreadable: list[Unreadable]


class _ListMeta(msgspec.Struct, rename="camel", frozen=True, gc=False):
    resource_version: str = ""
    continuation: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct, Generic[T], frozen=True, gc=False):
    metadata: _ListMeta = _ListMeta()
    items: list[T] | None = None


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    type: str
    object: msgspec.Raw


class _Annotated(msgspec.Struct, rename="camel", frozen=True, gc=False):
    resource_version: str = ""
    annotations: dict[str, str] | None = None
    name: str = ""
    namespace: str = ""

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class _Bare(msgspec.Struct, frozen=True, gc=False):
    metadata: _Annotated = _Annotated()


class _Status(msgspec.Struct, frozen=True, gc=False):
    code: int = 0
    message: str = ""
    reason: str = ""


_RAW_LIST = msgspec.json.Decoder(_List[msgspec.Raw])
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_BARE = msgspec.json.Decoder(_Bare)
_STATUS = msgspec.json.Decoder(_Status)


class PageDecoder:
    """Reads the pages of one kind's list."""

    def __init__(self, kind: Kind) -> None:
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_List[kind.object_type])  # type: ignore[name-defined]
        self._item: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind.object_type)

    def decode(self, body: bytes) -> Page:
        """Raises `msgspec.DecodeError` when the body is no list at all."""
        try:
            page = self._decoder.decode(body)
        except msgspec.ValidationError:
            return self._decode_each(body)
        return Page(page.items or [], page.metadata.resource_version, page.metadata.continuation, [])

    def _decode_each(self, body: bytes) -> Page:
        page = _RAW_LIST.decode(body)
        objects: list[KubernetesObject] = []
        unreadable: list[Unreadable] = []
        for raw in page.items or ():
            try:
                objects.append(self._item.decode(raw))
            except msgspec.ValidationError as error:
                unreadable.append(Unreadable(str(error), _name_of(raw)))
        return Page(objects, page.metadata.resource_version, page.metadata.continuation, unreadable)


class WatchDecoder:
    """Cuts one watch stream of a kind into its messages, whatever the pieces it arrives in.

    All complete lines of a piece are read in one call; only a piece with a bookmark, an error or something unreadable in it is
    read line by line.
    """

    def __init__(self, kind: Kind) -> None:
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Change[kind.object_type])  # type: ignore[name-defined]
        self._pending: list[bytes] = []

    def feed(self, piece: bytes) -> list[WatchMessage]:
        """The messages that `piece` completes, in the server's order."""
        end = piece.rfind(b"\n")
        if end < 0:
            self._pending.append(piece)
            return []
        lines = b"".join((*self._pending, piece[:end]))
        self._pending = [piece[end + 1 :]]
        try:
            return self._decoder.decode_lines(lines)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return [self._decode_line(line) for line in lines.split(b"\n") if line.strip()]

    def _decode_line(self, line: bytes) -> WatchMessage:
        try:
            change: WatchMessage = self._decoder.decode(line)
            return change
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _decode_special(line, str(error))


def _decode_special(line: bytes, reason: str) -> WatchMessage:
    """A bookmark or an error; otherwise `reason` says why the line is no change."""
    try:
        envelope = _ENVELOPE.decode(line)
        if envelope.type == "BOOKMARK":
            metadata = _BARE.decode(envelope.object).metadata
            ends = (metadata.annotations or {}).get(INITIAL_EVENTS_END) == "true"
            return Bookmark(metadata.resource_version, ends)
        if envelope.type == "ERROR":
            status = _STATUS.decode(envelope.object)
            return Failure(status.code, status.message or status.reason)
        return Unreadable(reason, _name_of(envelope.object))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Unreadable(reason)


def _name_of(raw: msgspec.Raw) -> str:
    """`namespace/name` of an object that cannot be read as a whole; empty where even that is not there."""
    try:
        return _BARE.decode(raw).metadata.full_name
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
