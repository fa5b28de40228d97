"""Listening for subscribers: on a unix socket that only the owner may open, or on loopback."""

import asyncio
import os
import threading
from pathlib import Path
from types import TracebackType

import grpc.aio

from csitrace.errors import CsitraceError, UnreachableError
from csitrace.feed.address import grpc_target, require_local, socket_path
from csitrace.feed.publisher import Publisher


def listen(server: grpc.aio.Server, address: str) -> str:
    """Add `address` to the server before it starts; returns the address to connect to (a port 0 replaced).

    A unix socket gets mode 0600. UsageError for an address that others could reach, UnreachableError when it cannot be bound.
    """
    require_local(address)
    target = grpc_target(address)
    path = socket_path(address)
    if path is not None and not Path(path).parent.is_dir():
        raise UnreachableError(f"cannot serve the feed on {address}: {Path(path).parent} is no directory")
    mask = os.umask(0o177)  # from its first moment on; a chmod would come too late
    try:
        port = server.add_insecure_port(target)
    except RuntimeError as error:
        raise UnreachableError(
            f"cannot serve the feed on {address}: the address is in use or not allowed"
        ) from error
    finally:
        os.umask(mask)
    return address if path is not None else f"{address.rpartition(':')[0]}:{port}"


class FeedThread:
    """Serves a publisher's feed from a thread of its own, for drivers that do not use asyncio. A context manager.

    `address` is where to connect to; on leaving, subscribers are told what was published, and the thread ends.
    """

    def __init__(self, publisher: Publisher, address: str) -> None:
        self.address = address
        self._publisher = publisher
        self._started = threading.Event()
        self._error: CsitraceError | None = None
        self._thread = threading.Thread(target=self._run, name="csitrace-feed", daemon=True)

    def start(self) -> "FeedThread":
        """Listen; raises as `listen` does."""
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def stop(self) -> None:
        """End the subscriptions and the thread."""
        self._publisher.close()
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def __enter__(self) -> "FeedThread":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = grpc.aio.server()
        self._publisher.add_to(server)
        try:
            self.address = listen(server, self.address)
            await server.start()
        except CsitraceError as error:
            self._error = error  # for the thread that waits in start()
            return
        finally:
            self._started.set()
        await self._stopping.wait()
        await server.stop(grace=1.0)
