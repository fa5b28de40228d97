"""A cluster of agents in this process: an API server that forwards ports, and a publisher for each node behind it."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
from aiohttp import web

from csitrace import __version__
from csitrace.feed.conversion import Agent
from csitrace.feed.publisher import Publisher
from csitrace.feed.server import listen
from csitrace.model.events import ListCompleted, SourceUp, Stamp, Witness
from csitrace.sources.kubernetes.access import Access
from csitrace.sources.kubernetes.connection import Connection
from tests.integration.kubernetes.api_server import ApiServer

PORT = 9779


class Cluster(ApiServer):
    """`forbidden`: pods to which nobody may forward; `silent`: that accept and say nothing; `refused`: where nobody listens."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.publishers: dict[str, Publisher] = {}
        self.forbidden: set[str] = set()
        self.silent: set[str] = set()
        self.refused: set[str] = set()
        self.forwarded: list[str] = []
        self._directory = directory
        self._opened = AsyncExitStack()
        self._bridges: set[web.WebSocketResponse] = set()

    async def __aexit__(self, *error: object) -> None:
        for publisher in self.publishers.values():
            publisher.close()
        for bridge in list(self._bridges):
            await bridge.close()
        await super().__aexit__(*error)
        await self._opened.aclose()

    def connect(self) -> Connection:
        """As a user of it."""
        return Connection(Access(server=self.url, near=True))

    def node(self, name: str) -> None:
        self.put("nodes", name, namespace="")

    def pod(self, node: str, *, name: str = "", phase: str = "Running", **status: Any) -> str:
        """An agent's pod on a node; returns its name."""
        name = name or f"agent-{node}"
        self.put(
            "pods",
            name,
            namespace="csitrace",
            spec={
                "nodeName": node,
                "containers": [{"name": "agent", "ports": [{"name": "feed", "containerPort": PORT}]}],
            },
            status={"phase": phase, **status},
        )
        return name

    async def agent(self, node: str, *, name: str = "", version: str = __version__) -> Publisher:
        """A node, its agent's pod and the agent, which hears a kernel without mounts."""
        self.node(node)
        pod = name or f"agent-{node}"
        publisher = self.publishers[pod] = Publisher("", "", agent=Agent(version, node))
        for body in (
            SourceUp(witness=Witness.KERNEL, scope=node, detail="mounts by mountinfo"),
            ListCompleted(witness=Witness.KERNEL, scope=node),
        ):
            publisher.relay(body, None, Stamp.OBSERVED)
        server = grpc.aio.server()
        publisher.add_to(server)
        listen(server, f"unix://{self._directory}/{pod}.sock")
        await server.start()
        self._opened.push_async_callback(server.stop, 0)
        self.pod(node, name=pod)
        return publisher

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if parts[-1] != "portforward":
            return await super()._answer(request)
        pod = parts[-2]
        self.forwarded.append(pod)
        assert request.query["ports"] == str(PORT)
        if request.headers.get("Accept", "*/*") != "*/*":
            return web.Response(status=406)
        if pod in self.forbidden:
            return web.json_response({"kind": "Status", "message": "forbidden"}, status=403)
        websocket = web.WebSocketResponse(protocols=["v4.channel.k8s.io"])
        await websocket.prepare(request)
        self._bridges.add(websocket)
        try:
            await self._bridge(websocket, pod)
        finally:
            self._bridges.discard(websocket)
        return websocket

    async def _bridge(self, websocket: web.WebSocketResponse, pod: str) -> None:
        for channel in (b"\0", b"\1"):
            await websocket.send_bytes(channel + PORT.to_bytes(2, "little"))
        if pod in self.refused:
            await websocket.send_bytes(b"\1failed to connect: connection refused\n")
            await websocket.close()
            return
        if pod in self.silent:
            async for _ in websocket:
                pass
            return
        reader, writer = await asyncio.open_unix_connection(f"{self._directory}/{pod}.sock")
        down = asyncio.create_task(_down(reader, websocket))
        try:
            async for message in websocket:
                if message.type is aiohttp.WSMsgType.BINARY and message.data[0] == 0:
                    writer.write(message.data[1:])
                    await writer.drain()
        finally:
            down.cancel()
            await asyncio.wait({down})
            writer.close()


async def _down(reader: asyncio.StreamReader, websocket: web.WebSocketResponse) -> None:
    while data := await reader.read(1 << 16):
        await websocket.send_bytes(b"\0" + data)
    await websocket.close()
