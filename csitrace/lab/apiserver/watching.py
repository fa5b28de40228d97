"""The watch stream: changes from a revision on, as the selection of one watcher sees them."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from csitrace.lab.apiserver.listing import ListOptions
from csitrace.lab.apiserver.resources import Resource
from csitrace.lab.apiserver.store import Change, Store
from csitrace.lab.status import Object, StatusError

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
DEFAULT_TIMEOUT_SECONDS = 1800.0


async def watch(
    store: Store, resource: Resource, options: ListOptions, bookmark_seconds: float
) -> AsyncIterator[bytes]:
    """Lines of the response, each one JSON object with its newline; ends when the watch's time is over.

    Without a version, or from version 0, and with `sendInitialEvents`: first all objects as ADDED. From a compacted
    version: one ERROR with Status 410, and the end. Bookmarks every `bookmark_seconds` where the watcher allows them.
    """
    deadline = asyncio.get_running_loop().time() + (options.timeout_seconds or DEFAULT_TIMEOUT_SECONDS)
    at = int(options.resource_version or 0)
    if at == 0 or options.send_initial_events:
        at = store.revision
        for obj in store.objects(resource):
            if options.selects(obj):
                yield _line("ADDED", obj)
        if options.send_initial_events and options.bookmarks:
            yield _bookmark(resource, at, {INITIAL_EVENTS_END: "true"})
    next_bookmark = asyncio.get_running_loop().time() + bookmark_seconds
    while True:
        try:
            changes = store.changes_after(at)
        except StatusError as error:
            yield _line("ERROR", error.to_object())
            return
        for change in changes:
            if change.resource is resource and (line := _seen(change, options)):
                yield line
            at = change.revision
        now = asyncio.get_running_loop().time()
        if now >= deadline:
            return
        if now >= next_bookmark:
            # Also without bookmarks: a quiet watch must not be left behind by the history of what others write.
            next_bookmark = now + bookmark_seconds
            if options.bookmarks:
                yield _bookmark(resource, at, {})
        try:
            async with asyncio.timeout_at(min(deadline, next_bookmark)):
                await store.wait_change(resource, at)
        except TimeoutError:
            continue


def _seen(change: Change, options: ListOptions) -> bytes | None:
    """An object that leaves the selection is DELETED to this watcher, and one that enters it is ADDED."""
    before = change.previous is not None and options.selects(change.previous)
    after = not change.deleted and options.selects(change.object)
    match before, after:
        case False, True:
            return _line("ADDED", change.object)
        case True, True:
            return _line("MODIFIED", change.object)
        case True, False:
            if change.deleted or change.previous is None:
                return _line("DELETED", change.object)
            version = {"resourceVersion": str(change.revision)}
            last = change.previous | {"metadata": change.previous["metadata"] | version}
            return _line("DELETED", last)
    return None


def _bookmark(resource: Resource, revision: int, annotations: dict[str, str]) -> bytes:
    metadata: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    return _line(
        "BOOKMARK", {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    )


def _line(kind: str, obj: Object) -> bytes:
    return msgspec.json.encode({"type": kind, "object": obj}) + b"\n"
