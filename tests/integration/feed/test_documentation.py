"""docs/feed.md is executed: a driver that follows it is a witness."""

import asyncio
import re
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc.aio

from csitrace.csi import csi_pb2, csi_pb2_grpc
from csitrace.model.events import ListCompleted, RpcFinished
from csitrace.sources.feed import FeedSource

DOCUMENT = Path(__file__).parents[3] / "docs" / "feed.md"
COROUTINES, THREADS = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


def serve_of(code: str) -> Any:
    """The `serve` that a block of the document defines."""
    names: dict[str, Any] = {}
    exec(compile(code, str(DOCUMENT), "exec"), names)
    return names["serve"]


class Identity(csi_pb2_grpc.IdentityServicer):
    def Probe(self, request: csi_pb2.ProbeRequest, context: Any) -> csi_pb2.ProbeResponse:  # noqa: N802
        return csi_pb2.ProbeResponse()


def add_my_services(server: Any) -> None:
    csi_pb2_grpc.add_IdentityServicer_to_server(Identity(), server)  # type: ignore[abstract]  # the rest is UNIMPLEMENTED


async def hear_a_probe(csi_address: str, feed_address: str) -> RpcFinished:
    """Call the driver once and wait until its feed tells it."""
    async with (
        asyncio.timeout(15),
        aclosing(FeedSource(feed_address).observe()) as observations,
        grpc.aio.insecure_channel(csi_address) as channel,
    ):
        async for observation in observations:
            if isinstance(observation.body, ListCompleted):
                await csi_pb2_grpc.IdentityStub(channel).Probe(csi_pb2.ProbeRequest())
            if isinstance(observation.body, RpcFinished):
                return observation.body
    raise AssertionError("the source ended")


async def test_the_example_with_coroutines(tmp_path: Path) -> None:
    """A grpc.aio driver that follows the document tells its calls."""
    csi_address, feed_address = f"unix:{tmp_path}/csi.sock", f"unix:{tmp_path}/csitrace-feed.sock"
    servers = await serve_of(COROUTINES)(add_my_services, csi_address, feed_address, "node-1")
    heard = await hear_a_probe(csi_address, feed_address)
    for server in servers:
        await server.stop(0)
    assert (heard.driver, heard.node_name) == ("my-driver.example.com", "node-1")
    assert heard.method == "/csi.v1.Identity/Probe"


def test_the_example_with_threads(tmp_path: Path) -> None:
    """A grpc.server driver that follows the document tells its calls."""
    csi_address, feed_address = f"unix:{tmp_path}/csi.sock", f"unix:{tmp_path}/csitrace-feed.sock"
    driver, feed = serve_of(THREADS)(add_my_services, csi_address, feed_address, "node-1")
    heard = asyncio.run(hear_a_probe(csi_address, feed_address))
    driver.stop(0).wait()
    feed.stop()
    assert (heard.driver, heard.method) == ("my-driver.example.com", "/csi.v1.Identity/Probe")
