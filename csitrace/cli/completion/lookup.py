"""Names that only a cluster or a kubeconfig knows, within the time that somebody at a prompt has. What fails has no names."""

import argparse
import asyncio
import contextlib
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from csitrace.cli.flags import connection_options
from csitrace.model.kinds import NODE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, STORAGE_CLASS, Kind

if TYPE_CHECKING:
    from csitrace.sources.kubernetes.connection import Connection

PATIENCE_SECONDS = 3.0
"""After which there is nothing to offer."""

_KINDS: dict[str, Kind] = {
    "claim": PERSISTENT_VOLUME_CLAIM,
    "pod": POD,
    "pv": PERSISTENT_VOLUME,
    "node": NODE,
    "class": STORAGE_CLASS,
}
_ENTRIES = {"context": "contexts", "cluster": "clusters", "user": "users"}
_AT_MOST = "500"
"""Names: nobody reads more."""


class _Meta(msgspec.Struct):
    name: str
    namespace: str = ""


class _Item(msgspec.Struct):
    metadata: _Meta


class _Items(msgspec.Struct):
    items: list[_Item]


def names(sort: str, given: argparse.Namespace, patience: float = PATIENCE_SECONDS) -> list[tuple[str, str]]:
    """(name, description) of all of a sort: `namespace`, `context`, `cluster`, `user`, or a filter field; for these flags.

    Takes no longer than `patience` seconds, and writes nothing. What goes on longer, a credential plugin say, is left behind in a
    thread that does not hold up the end of the process.
    """
    found: list[tuple[str, str]] = []

    def look() -> None:
        with contextlib.suppress(Exception):  # a prompt is no place for errors, of whatever kind
            found.extend(asyncio.run(_names(sort, given)))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(patience)
    told: dict[str, list[str]] = {}
    for name, text in list(found):
        told.setdefault(name, []).append(text)
    return [(name, ", ".join(sorted(filter(None, texts)))) for name, texts in sorted(told.items())]


async def _names(sort: str, given: argparse.Namespace) -> Iterable[tuple[str, str]]:
    from csitrace.sources.kubernetes.config import kubeconfig_entries, load_access
    from csitrace.sources.kubernetes.connection import Connection, StatusError

    options = connection_options(given)
    if sort in _ENTRIES:
        return [(name, "") for name in kubeconfig_entries(options)[_ENTRIES[sort]]]
    if sort != "namespace" and sort not in _KINDS:
        return []
    access = await load_access(options)
    async with Connection(access) as connection:
        if sort == "namespace":
            try:
                return [(item.name, "") for item in await _list(connection, "/api/v1/namespaces")]
            except StatusError:  # refused: the context's is the one that can be guessed
                return [(access.namespace, "of the context")]
        kind = _KINDS[sort]
        try:
            found = await _list(connection, kind.path(given.namespace))
        except StatusError:
            if given.namespace or not kind.namespaced:
                raise
            found = await _list(connection, kind.path(access.namespace))
        return [(item.name, item.namespace) for item in found]


async def _list(connection: "Connection", path: str) -> list[_Meta]:
    answer = await connection.get(path, {"limit": _AT_MOST})
    return [item.metadata for item in msgspec.json.decode(answer, type=_Items).items]
