"""A unix socket of ours that leads to a port of a pod, through the API server.

Facts: `GET …/pods/NAME/portforward?ports=N`, upgraded to a WebSocket of subprotocol `v4.channel.k8s.io`. Every message is binary
and begins with a channel's number: 0 is data, 1 is what the kubelet says when it cannot connect; the first message of each is the
port, two bytes. The API server passes the stream on to the kubelet, which has it connected to loopback inside the pod's network
namespace. RBAC: `get` on pods/portforward; from Kubernetes 1.35 on, `create` as well.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from csitrace.errors import CsitraceError
from csitrace.sources.kubernetes.connection import Connection, StatusError

_PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1
_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class PodPort:
    """A port of a pod."""

    namespace: str
    pod: str
    port: int

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.pod}/portforward"


class PortForward:
    """Each connection to `path` becomes one to `target`, as it is at that moment. `path` is for this user alone.

    `failure`: why the last connection could not be made, or broke, and whether that is a refusal; empty if nothing is known.
    """

    def __init__(self, connection: Connection, path: Path) -> None:
        self.path = path
        self.target: PodPort | None = None
        self.failure: tuple[str, bool] = ("", False)
        self._connection = connection
        self._server: asyncio.Server | None = None
        self._forwards: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Accept connections. Once is enough."""
        if self._server is not None:
            return
        self._server = await asyncio.start_unix_server(self._accept, self.path)
        self.path.chmod(0o600)  # nobody else comes into its directory anyway

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._forwards:
            task.cancel()
        if self._forwards:
            await asyncio.wait(set(self._forwards))
        self.path.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._forwards.add(task)
        task.add_done_callback(self._forwards.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._through(reader, writer)
        except StatusError as error:
            self.failure = (self._words(error), error.status == 403)
        except CsitraceError as error:
            self.failure = (str(error), False)
        except (aiohttp.ClientError, OSError):
            self.failure = ("the connection through the API server broke", False)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = self.target
        self.failure = ("", False)
        if target is None:
            return
        websocket = await self._connection.websocket(target.path, {"ports": str(target.port)}, _PROTOCOL)
        try:
            directions = {
                asyncio.create_task(_up(reader, websocket)),
                asyncio.create_task(self._down(websocket, writer)),
            }
            try:
                done, _ = await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for direction in directions:
                    direction.cancel()
                await asyncio.wait(directions)
            for direction in done:
                direction.result()
        finally:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await websocket.close()

    async def _down(self, websocket: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter) -> None:
        ports_to_come = {_DATA, _ERROR}
        async for message in websocket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, content = message.data[0], message.data[1:]
            if channel in ports_to_come:
                ports_to_come.discard(channel)
            elif channel == _DATA:
                writer.write(content)
                await writer.drain()
            elif channel == _ERROR and content:
                text = " ".join(content.decode(errors="replace").split())
                self.failure = (f"cannot connect to port {self._port}: {text[:200]}", False)
                return

    @property
    def _port(self) -> int:
        return self.target.port if self.target is not None else 0

    def _words(self, error: StatusError) -> str:
        target = self.target
        if target is None:
            return str(error)
        if error.status == 403:
            return (
                f"may not port-forward to pod {target.namespace}/{target.pod}: "
                f"get and create on pods/portforward are needed in namespace {target.namespace}"
            )
        if error.status == 404:
            return f"the API server knows no pod {target.namespace}/{target.pod}"
        return (
            f"the API server does not forward to pod {target.namespace}/{target.pod} (status {error.status})"
        )


async def _up(reader: asyncio.StreamReader, websocket: aiohttp.ClientWebSocketResponse) -> None:
    while data := await reader.read(_AT_ONCE):
        await websocket.send_bytes(bytes((_DATA,)) + data)
