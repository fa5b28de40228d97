"""Reading the API server's bytes."""

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csitrace.model.kinds import CSI_NODE, POD
from csitrace.sources.kubernetes.wire import (
    Bookmark,
    Change,
    Failure,
    PageDecoder,
    Unreadable,
    WatchDecoder,
    WatchMessage,
)


def line(change: str, **obj: Any) -> bytes:
    return json.dumps({"type": change, "object": obj}).encode() + b"\n"


def pod(name: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": name, "namespace": "shop", "resourceVersion": "7"}, **fields}


def read(*pieces: bytes) -> list[WatchMessage]:
    decoder = WatchDecoder(POD)
    return [message for piece in pieces for message in decoder.feed(piece)]


LINES = st.sampled_from(
    [
        line("ADDED", **pod("a")),
        line("MODIFIED", **pod("ä", spec={"nodeName": "n1", "containers": [{"name": "x"}]})),
        line("DELETED", **pod("b")),
        line("BOOKMARK", kind="Pod", metadata={"resourceVersion": "9", "creationTimestamp": None}),
        line("ERROR", kind="Status", code=410, message="too old"),
        b"{garbage\n",
        b"\n",
    ]
)


@given(st.lists(LINES, max_size=8), st.lists(st.integers(0, 2000), max_size=8))
def test_pieces_do_not_matter(lines: list[bytes], cuts: list[int]) -> None:
    """However the stream is cut, the same messages come out, in order."""
    stream = b"".join(lines)
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    pieces = [stream[start:end] for start, end in pairwise(places)]
    whole = [message for one in lines for message in read(one)]
    assert read(*pieces) == whole


@given(st.lists(st.binary(max_size=80), max_size=10))
def test_no_bytes_raise(pieces: list[bytes]) -> None:
    """Anything can arrive: what is no message is told as unreadable."""
    for message in read(*pieces, b"\n"):
        assert isinstance(message, Unreadable | Change | Bookmark | Failure)


def test_only_kept_fields_enter() -> None:
    """A field that the model does not name is not in what was read."""
    [message] = read(line("ADDED", **pod("a", spec={"containers": [{"env": [{"value": "sesame"}]}]})))
    assert isinstance(message, Change)
    assert "sesame" not in repr(message)


def test_bookmark_with_nulls_and_end_mark() -> None:
    """Bookmarks are objects with almost nothing in them, nulls where real ones have values; one of them ends a streaming list."""
    annotated = {
        "resourceVersion": "9",
        "creationTimestamp": None,
        "annotations": {"k8s.io/initial-events-end": "true"},
    }
    bookmarks = line("BOOKMARK", kind="Pod", metadata={"resourceVersion": "8"}, spec={"containers": None})
    assert read(bookmarks + line("BOOKMARK", kind="Pod", metadata=annotated)) == [
        Bookmark("8"),
        Bookmark("9", ends_initial_events=True),
    ]


def test_error_event() -> None:
    """An ERROR event is the server's Status."""
    assert read(line("ERROR", kind="Status", code=410, message="too old resource version")) == [
        Failure(410, "too old resource version")
    ]


def test_unreadable_object_is_named() -> None:
    """An object of an unexpected form is told by name, and without its values."""
    [message] = read(line("ADDED", **pod("a", spec={"nodeName": {"token": "sesame"}})))
    assert isinstance(message, Unreadable)
    assert message.name == "shop/a"
    assert "sesame" not in message.reason


def test_items_of_a_list_have_no_kind() -> None:
    """As servers send them: kind and apiVersion are said once, for the list."""
    body = json.dumps(
        {"kind": "CSINodeList", "metadata": {"resourceVersion": "5"}, "items": [{"metadata": {"name": "n1"}}]}
    )
    page = PageDecoder(CSI_NODE).decode(body.encode())
    assert [node.kind for node in page.objects] == ["CSINode"]
    assert (page.resource_version, page.continuation, page.unreadable) == ("5", "", [])


def test_empty_list_may_be_null() -> None:
    """`items: null` is an empty list, as Go encodes one."""
    page = PageDecoder(POD).decode(b'{"metadata":{"resourceVersion":"5","continue":"more"},"items":null}')
    assert (page.objects, page.continuation) == ([], "more")


def test_one_unreadable_item_does_not_cost_the_page() -> None:
    """The others are read, the odd one is named."""
    items = [pod("a"), pod("odd", spec={"nodeName": 7}), pod("b")]
    page = PageDecoder(POD).decode(json.dumps({"metadata": {}, "items": items}).encode())
    assert [obj.name for obj in page.objects] == ["a", "b"]
    assert [item.name for item in page.unreadable] == ["shop/odd"]


@given(st.binary(max_size=200))
def test_a_body_that_is_no_list_raises_one_error(body: bytes) -> None:
    """What a broken proxy may send instead of a list is a DecodeError or an empty page, never another exception."""
    try:
        assert PageDecoder(POD).decode(body).objects == []
    except (msgspec.DecodeError, UnicodeDecodeError):
        return


@pytest.mark.parametrize("text", ["[]", '"list"', "<html>"])
def test_not_a_list(text: str) -> None:
    """JSON of another form, and HTML, are no list."""
    with pytest.raises(msgspec.DecodeError):
        PageDecoder(POD).decode(text.encode())
