"""The HTTP face: paths to operations, errors to Status objects."""

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
from aiohttp import web

from csitrace.lab.apiserver import discovery, strategy
from csitrace.lab.apiserver.listing import ListOptions, list_page, refuse_future
from csitrace.lab.apiserver.patch import merge_patch, strategic_merge_patch
from csitrace.lab.apiserver.resources import NAMESPACES, PODS, RESOURCE_BY_PATH, Resource
from csitrace.lab.apiserver.store import Store
from csitrace.lab.apiserver.watching import watch
from csitrace.lab.status import Object, StatusError, bad_request

_PATCHES: dict[str, Callable[[Any, Any], Any]] = {
    "application/merge-patch+json": merge_patch,
    "application/strategic-merge-patch+json": strategic_merge_patch,
}
_Operation = Callable[["ApiServer", web.Request, "Target", Object], Awaitable[web.StreamResponse]]
_MAX_BODY = 4 << 20
_BOOKMARK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about. `name`: empty for a collection."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def parse_target(path: str) -> Target:
    """`/api/v1/namespaces/a/pods/b/status` and its kin. StatusError 404 for what is not served."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            raise _not_served()
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces" and (group, version, rest[2]) in RESOURCE_BY_PATH:
        namespace, rest = rest[1], rest[2:]
    if not rest or len(rest) > 3 or (group, version, rest[0]) not in RESOURCE_BY_PATH:
        raise _not_served()
    resource = RESOURCE_BY_PATH[group, version, rest[0]]
    target = Target(resource, namespace, *rest[1:])
    subresources = {
        "": True,
        "status": resource.has_status,
        "binding": resource is PODS,
        "finalize": resource is NAMESPACES,
    }
    if not subresources.get(target.subresource) or (namespace and not resource.namespaced):
        raise _not_served()
    return target


class ApiServer:
    """Serves `store` to whoever has `token`. `bookmark_seconds`: how often watchers are told where they stand."""

    def __init__(self, store: Store, token: str, bookmark_seconds: float = _BOOKMARK_SECONDS) -> None:
        self.store = store
        self._token = token
        self._bookmark_seconds = bookmark_seconds
        self._documents = discovery.documents()

    @asynccontextmanager
    async def listening(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Serve until left; yields the base URL. Open watches are cut when it ends."""
        application = web.Application(client_max_size=_MAX_BODY)
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port)
            await site.start()
            bound = runner.addresses[0][1]
            yield f"http://{host}:{bound}"
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._dispatch(request)
        except StatusError as error:
            return _respond(error.to_object(), error.code)

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        if request.path in ("/livez", "/readyz", "/healthz"):
            return web.Response(text="ok")
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            raise StatusError(401, "Unauthorized", "Unauthorized")
        if document := self._documents.get(request.path.rstrip("/")):
            return _respond(document)
        target = parse_target(request.path)
        body = await _body(request)
        if not target.name:
            return await self._collection(request, target, body)
        if request.method == "GET" and _is_watch(request):
            return await self._watch(request, target)
        operation = self._OPERATIONS.get(request.method)
        if operation is None:
            raise _method_not_allowed()
        return await operation(self, request, target, body)

    async def _collection(self, request: web.Request, target: Target, body: Object) -> web.StreamResponse:
        match request.method:
            case "GET" if _is_watch(request):
                return await self._watch(request, target)
            case "GET":
                options = ListOptions.parse(request.query, target.resource, target.namespace, "")
                return _respond(list_page(self.store, target.resource, options))
            case "POST":
                return _respond(strategy.create(self.store, target.resource, target.namespace, body), 201)
        raise _method_not_allowed()

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        options = ListOptions.parse(request.query, target.resource, target.namespace, target.name)
        refuse_future(self.store, options)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            async for line in watch(self.store, target.resource, options, self._bookmark_seconds):
                await response.write(line)
        except ConnectionResetError:
            pass  # the watcher went away, as watchers do
        return response

    async def _get(self, request: web.Request, target: Target, body: Object) -> web.StreamResponse:
        return _respond(self._read(target))

    async def _post(self, request: web.Request, target: Target, body: Object) -> web.StreamResponse:
        if target.subresource != "binding":
            raise _method_not_allowed()
        strategy.bind(self.store, target.namespace, target.name, body)
        return _respond(
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201
        )

    async def _put(self, request: web.Request, target: Target, body: Object) -> web.StreamResponse:
        previous = self._read(target)
        if body.get("metadata", {}).get("name", target.name) != target.name:
            raise bad_request("the name of the object does not match the name on the URL")
        return _respond(strategy.update(self.store, target.resource, previous, body, target.subresource))

    async def _patch(self, request: web.Request, target: Target, body: Object) -> web.StreamResponse:
        apply = _PATCHES.get(request.content_type)
        if apply is None:
            message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(_PATCHES)}"
            raise StatusError(415, "UnsupportedMediaType", message)
        previous = self._read(target)
        changed = apply(previous, body)
        return _respond(strategy.update(self.store, target.resource, previous, changed, target.subresource))

    async def _delete(self, request: web.Request, target: Target, body: Object) -> web.StreamResponse:
        options = body or {}
        if "gracePeriodSeconds" in request.query:
            options = {"gracePeriodSeconds": int(request.query["gracePeriodSeconds"])} | options
        obj, _gone = strategy.delete(self.store, target.resource, self._read(target), options)
        return _respond(obj)

    def _read(self, target: Target) -> Object:
        return self.store.get(target.resource, target.namespace, target.name)

    _OPERATIONS: ClassVar[dict[str, _Operation]] = {
        "GET": _get,
        "POST": _post,
        "PUT": _put,
        "PATCH": _patch,
        "DELETE": _delete,
    }


async def _body(request: web.Request) -> Object:
    raw = await request.read()
    if not raw:
        return {}
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise bad_request(f"the object provided is unrecognized: {error}") from error


def _is_watch(request: web.Request) -> bool:
    return request.query.get("watch", "") not in ("", "0", "false")


def _respond(obj: Object, code: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(obj), status=code, content_type="application/json")


def _not_served() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource")


def _method_not_allowed() -> StatusError:
    return StatusError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
    )
