"""client-go's informer in small: a cache of one resource, kept by list and watch, that tells of each change."""

import asyncio
from collections.abc import Callable

import aiohttp

from csitrace.lab.apiserver.resources import Resource
from csitrace.lab.client import Client
from csitrace.lab.status import Object, StatusError

Handler = Callable[[Object, bool], None]
"""Called with an object and whether it was deleted."""

_RETRY_SECONDS = 0.1


class Informer:
    """What one program knows of one resource. `field_selector` as the API takes it."""

    def __init__(self, client: Client, resource: Resource, field_selector: str = "") -> None:
        self.resource = resource
        self._client = client
        self._query = {"fieldSelector": field_selector} if field_selector else {}
        self._objects: dict[tuple[str, str], Object] = {}
        self._handlers: list[Handler] = []
        self._synced = asyncio.Event()

    def on_change(self, handler: Handler) -> None:
        self._handlers.append(handler)

    def get(self, name: str, namespace: str = "") -> Object | None:
        return self._objects.get((namespace, name))

    def all(self) -> list[Object]:
        return list(self._objects.values())

    async def wait_synced(self) -> None:
        """Return once the first list is in."""
        await self._synced.wait()

    async def run(self) -> None:
        """List and watch for ever; a lost connection or a 410 means to list again."""
        while True:
            try:
                await self._list_and_watch()
            except (StatusError, aiohttp.ClientError):
                await asyncio.sleep(_RETRY_SECONDS)

    async def _list_and_watch(self) -> None:
        page = await self._client.list_page(self.resource, **self._query)
        found = {_key(obj): obj for obj in page["items"]}
        for key in self._objects.keys() - found.keys():
            self._tell(self._objects.pop(key), deleted=True)
        for obj in found.values():
            self._take(obj)
        self._synced.set()
        version = page["metadata"]["resourceVersion"]
        while True:
            query = self._query | {"resourceVersion": version, "allowWatchBookmarks": "true"}
            async for kind, obj in self._client.watch(self.resource, **query):
                version = obj["metadata"]["resourceVersion"]
                if kind == "DELETED":
                    self._objects.pop(_key(obj), None)
                    self._tell(obj, deleted=True)
                elif kind != "BOOKMARK":
                    self._take(obj)

    def _take(self, obj: Object) -> None:
        known = self._objects.get(_key(obj))
        self._objects[_key(obj)] = obj
        if known is None or known["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            self._tell(obj, deleted=False)

    def _tell(self, obj: Object, deleted: bool) -> None:
        for handler in self._handlers:
            handler(obj, deleted)


def _key(obj: Object) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
