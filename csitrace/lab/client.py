"""The loops' way to the API server: one program's HTTP client. Everything the loops know comes through here."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from csitrace.lab.apiserver.resources import Resource
from csitrace.lab.status import Object, StatusError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the API server listens and what it asks for."""

    url: str
    token: str


class Client:
    """`program` names who asks, as a User-Agent does: `kube-scheduler`, `csi-provisioner`."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: Endpoint, program: str) -> None:
        self._session = session
        self._endpoint = endpoint
        self._headers = {"Authorization": f"Bearer {endpoint.token}", "User-Agent": f"{program}/lab"}
        self.reachable = asyncio.Event()
        """Cleared: the API server is not to be reached; whatever is asked for, and whatever is watched, waits."""
        self.reachable.set()

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        """StatusError 404 where it is not."""
        return await self._send("GET", resource.path(namespace, name))

    async def find(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        try:
            return await self.get(resource, name, namespace)
        except StatusError as error:
            if error.reason == "NotFound":
                return None
            raise

    async def list_page(self, resource: Resource, namespace: str = "", **query: str) -> Object:
        return await self._send("GET", resource.path(namespace), query=query)

    async def create(self, resource: Resource, obj: Object) -> Object:
        """StatusError AlreadyExists where the name is taken."""
        return await self._send("POST", resource.path(_namespace(obj)), obj)

    async def ensure(self, resource: Resource, obj: Object) -> Object:
        """Create it, or leave what is there under its name as it is."""
        try:
            return await self.create(resource, obj)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            return await self.get(resource, obj["metadata"]["name"], _namespace(obj))

    async def update(self, resource: Resource, obj: Object, subresource: str = "") -> Object:
        """StatusError Conflict when it was changed since `obj` was read."""
        path = resource.path(_namespace(obj), obj["metadata"]["name"], subresource)
        return await self._send("PUT", path, obj)

    async def patch(self, resource: Resource, obj: Object, change: Object, subresource: str = "") -> Object:
        """Merge `change` (RFC 7386) into the object that has `obj`'s name."""
        path = resource.path(_namespace(obj), obj["metadata"]["name"], subresource)
        return await self._send("PATCH", path, change, content_type="application/merge-patch+json")

    async def modify(
        self, resource: Resource, name: str, change: Callable[[Object], Object], namespace: str = ""
    ) -> Object | None:
        """Read, change and write, as often as somebody else writes in between; None where the object is gone."""
        while (found := await self.find(resource, name, namespace)) is not None:
            try:
                return await self.update(resource, change(found))
            except StatusError as error:
                if error.reason not in ("Conflict", "NotFound"):
                    raise
        return None

    async def delete(self, resource: Resource, obj: Object, grace_seconds: int | None = None) -> None:
        """Delete exactly this object (by uid); one that is gone already is what was wanted."""
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if uid := obj["metadata"].get("uid"):
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            await self._send("DELETE", resource.path(_namespace(obj), obj["metadata"]["name"]), options)
        except StatusError as error:
            if error.reason not in ("NotFound", "Conflict"):
                raise

    async def bind(self, pod: Object, node_name: str) -> None:
        metadata = pod["metadata"]
        binding = {"metadata": {"name": metadata["name"]}, "target": {"kind": "Node", "name": node_name}}
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/binding"
        await self._send("POST", path, binding)

    async def watch(self, resource: Resource, **query: str) -> AsyncIterator[tuple[str, Object]]:
        """(type, object) of each event until the server ends it. StatusError for an ERROR event."""
        url = self._endpoint.url + resource.path()
        timeout = aiohttp.ClientTimeout(total=None)
        parameters = {"watch": "1", **query}
        async with self._session.get(
            url, params=parameters, headers=self._headers, timeout=timeout
        ) as response:
            if response.status != 200:
                raise StatusError.from_object(msgspec.json.decode(await response.read()))
            pending = b""
            async for chunk in response.content.iter_any():
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    event = msgspec.json.decode(line, type=dict[str, Any])
                    await self.reachable.wait()
                    if event["type"] == "ERROR":
                        raise StatusError.from_object(event["object"])
                    yield event["type"], event["object"]

    async def _send(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        await self.reachable.wait()
        async with self._session.request(
            method,
            self._endpoint.url + path,
            params=query,
            data=None if body is None else msgspec.json.encode(body),
            headers=self._headers | {"Content-Type": content_type},
        ) as response:
            answer = msgspec.json.decode(await response.read(), type=dict[str, Any])
            if response.status >= 400:
                raise StatusError.from_object(answer)
            return answer


def _namespace(obj: Object) -> str:
    namespace: str = obj["metadata"].get("namespace", "")
    return namespace
