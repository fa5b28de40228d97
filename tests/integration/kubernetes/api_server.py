"""A little API server of the tests' own: list, paging, watch, bookmarks, streaming lists, 410; and faults on demand."""

import asyncio
import json
import ssl
from collections.abc import Iterable
from typing import Any, Self

import msgspec
from aiohttp import web

from csitrace.model.kinds import KIND_BY_NAME, KINDS
from csitrace.model.kubernetes import KubernetesObject

INITIAL_END = {"k8s.io/initial-events-end": "true"}


class ApiServer:
    """Objects live in collections named by resource (`pods`). Every change gets the next resourceVersion.

    Faults: `refusals` (resource, or `resource/namespace`, or `list resource`, to status), `tokens` (accepted; empty: any),
    `expire_page` (the page number that answers 410), `hung`, `delay`.
    """

    def __init__(self, *, streaming: bool = True, tls: ssl.SSLContext | None = None) -> None:
        self.streaming = streaming
        self.tls = tls
        self.refusals: dict[str, int] = {}
        self.retry_after = ""
        self.tokens: set[str] = set()
        self.expire_page = 0
        self.hung = asyncio.Event()
        self.hung.set()  # set: answering
        self.delay = 0.0  # seconds before every answer
        self.requests: list[tuple[web.Request, float]] = []  # and when they came
        self.objects: dict[str, dict[str, dict[str, Any]]] = {}
        self.port = 0
        self._version = 1000
        self._compacted = 0
        self._history: list[tuple[int, str, str, dict[str, Any]]] = []
        self._watchers: dict[asyncio.Queue[bytes | None], tuple[str, str]] = {}
        self._watched = asyncio.Condition()
        self._asked = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, access_log=None)  # 0 would be for ever
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self.tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """As if killed: every connection ends."""
        self.hung.set()
        self.drop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def put(self, resource: str, name: str, namespace: str = "shop", **fields: Any) -> dict[str, Any]:
        """Create or change an object; a new one gets a new uid."""
        collection = self.objects.setdefault(resource, {})
        key = f"{namespace}/{name}"
        self._version += 1
        old = collection.get(key)
        uid = old["metadata"]["uid"] if old else f"uid-{self._version}"
        obj = {
            "kind": _KINDS[resource],
            "apiVersion": "v1",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid,
                "resourceVersion": str(self._version),
                "creationTimestamp": "2026-01-02T03:04:05Z",
            },
            **fields,
        }
        collection[key] = obj
        self._publish("MODIFIED" if old else "ADDED", resource, obj)
        return obj

    def load(self, obj: KubernetesObject) -> None:
        """An object as it is, uid and all."""
        self._version += 1
        resource = KIND_BY_NAME[obj.kind].resource
        fields = msgspec.to_builtins(obj)
        fields["metadata"]["resourceVersion"] = str(self._version)
        self.objects.setdefault(resource, {})[obj.full_name] = fields
        self._publish("ADDED", resource, fields)

    def delete(self, resource: str, name: str, namespace: str = "shop") -> dict[str, Any]:
        self._version += 1
        obj = self.objects[resource].pop(f"{namespace}/{name}")
        last = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._version)}}
        self._publish("DELETED", resource, last)
        return last

    def compact(self) -> None:
        """Forget the past: watches from it, and pages of it, are answered 410."""
        self._compacted = self._version
        self._history.clear()

    def drop(self) -> None:
        """End every watch in the middle of the stream."""
        for queue in self._watchers:
            queue.put_nowait(None)

    def send(self, resource: str, line: bytes) -> None:
        """A line of our own into every watch of `resource`."""
        for queue, (watched, _) in self._watchers.items():
            if watched == resource:
                queue.put_nowait(line)

    def bookmark(self, resource: str) -> None:
        self.send(resource, _bookmark(resource, self._version))

    def names(self, resource: str) -> set[str]:
        return set(self.objects.get(resource, ()))

    def versions(self, resource: str) -> dict[str, str]:
        objects = self.objects.get(resource, {})
        return {name: obj["metadata"]["resourceVersion"] for name, obj in objects.items()}

    async def until_watched(self, *resources: str) -> None:
        """Until each of `resources` has a watch open."""
        async with asyncio.timeout(20), self._watched:
            await self._watched.wait_for(
                lambda: set(resources) <= {watched for watched, _ in self._watchers.values()}
            )

    async def until_asked(self, times: int) -> None:
        """Until `times` requests have come."""
        async with asyncio.timeout(20), self._asked:
            await self._asked.wait_for(lambda: len(self.requests) >= times)

    async def until_asked_for(self, resource: str, times: int) -> None:
        """Until `times` requests for `resource` have come."""
        async with asyncio.timeout(20), self._asked:
            await self._asked.wait_for(
                lambda: sum(request.path.endswith(f"/{resource}") for request, _ in self.requests) >= times
            )

    def _publish(self, change: str, resource: str, obj: dict[str, Any]) -> None:
        self._history.append((self._version, change, resource, obj))
        for queue, (watched, namespace) in self._watchers.items():
            if watched == resource and namespace in ("", obj["metadata"].get("namespace", "")):
                queue.put_nowait(_line(change, obj))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request, asyncio.get_running_loop().time()))
        async with self._asked:
            self._asked.notify_all()
        await self.hung.wait()
        await asyncio.sleep(self.delay)
        if (
            self.tokens
            and request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens
        ):
            return _status(401, "Unauthorized")
        parts = request.path.strip("/").split("/")
        if parts == ["livez"]:
            return web.Response(text="ok")
        resource = parts[-1]
        namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts else ""
        query = request.query
        verb = "watch" if "watch" in query else "list"
        for key in (f"{verb} {resource}", f"{resource}/{namespace}" if namespace else resource):
            if key in self.refusals:
                return _status(self.refusals[key], f"{resource} is refused", self.retry_after)
        if verb == "list":
            return self._list(resource, namespace, query)
        if "sendInitialEvents" in query and not self.streaming:
            return _status(
                422, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            )
        return await self._watch(request, resource, namespace)

    def _selected(self, resource: str, namespace: str) -> Iterable[dict[str, Any]]:
        for obj in list(self.objects.get(resource, {}).values()):
            if namespace in ("", obj["metadata"].get("namespace", "")):
                yield obj

    def _list(self, resource: str, namespace: str, query: Any) -> web.Response:
        """A continue token is `<version>:<offset>`; the order of names is stable, which is all these tests need."""
        start = 0
        if "continue" in query:
            version, start = (int(part) for part in query["continue"].split(":"))
            if version < self._compacted or self.expire_page == start // int(query["limit"]) + 1:
                return _status(410, "The provided continue parameter is too old")
        items = sorted(self._selected(resource, namespace), key=lambda obj: str(obj["metadata"]["name"]))
        limit = int(query.get("limit", 0)) or len(items) or 1
        metadata = {"resourceVersion": str(self._version)}
        if start + limit < len(items):
            metadata["continue"] = f"{self._version}:{start + limit}"
        page = [{key: obj[key] for key in obj if key not in ("kind", "apiVersion")} for obj in items]
        return web.json_response({"kind": "List", "metadata": metadata, "items": page[start : start + limit]})

    async def _watch(self, request: web.Request, resource: str, namespace: str) -> web.StreamResponse:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._watchers[queue] = (resource, namespace)
        if "sendInitialEvents" in request.query:
            for obj in self._selected(resource, namespace):
                queue.put_nowait(_line("ADDED", obj))
            queue.put_nowait(_bookmark(resource, self._version, INITIAL_END))
        else:
            self._replay(queue, resource, namespace, int(request.query["resourceVersion"]))
        response = web.StreamResponse()
        await response.prepare(request)
        async with self._watched:
            self._watched.notify_all()
        try:
            while (line := await queue.get()) is not None:
                await response.write(line)
        except ConnectionError:
            pass
        finally:
            del self._watchers[queue]
        return response

    def _replay(
        self, queue: "asyncio.Queue[bytes | None]", resource: str, namespace: str, since: int
    ) -> None:
        if since < self._compacted:
            status = {
                "kind": "Status",
                "code": 410,
                "reason": "Expired",
                "message": "too old resource version",
            }
            queue.put_nowait(_line("ERROR", status))
            queue.put_nowait(None)
        for version, change, changed, obj in self._history:
            if (
                version > since
                and changed == resource
                and namespace in ("", obj["metadata"].get("namespace", ""))
            ):
                queue.put_nowait(_line(change, obj))


_KINDS = {kind.resource: kind.name for kind in KINDS}


def _line(change: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": change, "object": obj}).encode() + b"\n"


def _bookmark(resource: str, version: int, annotations: dict[str, str] | None = None) -> bytes:
    """With the null that servers before 1.34 really send."""
    metadata = {"resourceVersion": str(version), "creationTimestamp": None, "annotations": annotations or {}}
    return _line("BOOKMARK", {"kind": _KINDS[resource], "metadata": metadata})


def _status(code: int, message: str, retry_after: str = "") -> web.Response:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return web.json_response(
        {"kind": "Status", "code": code, "message": message}, status=code, headers=headers
    )
