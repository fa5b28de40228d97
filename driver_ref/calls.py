"""The road every CSI call takes: implemented? arguments, one call per volume, faults, the work, its errors.

A gRPC interceptor, so that the servicers hold the work alone. The work runs in a task of its own: a caller that gives up
(deadline, cancellation) does not stop it half-way, and until it ends the volume answers ABORTED, as a driver should whose
storage is slow.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import grpc

from csitrace.errors import CsitraceError, UsageError
from csitrace.model.rpc import Code, short_method
from csitrace.model.times import format_duration
from driver_ref.capabilities import Capabilities
from driver_ref.checks import RULES, check
from driver_ref.faults import Armed, Faults
from driver_ref.refusal import RefusedError

_LOG = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Any]]

STATUS = {status.value[0]: status for status in grpc.StatusCode}
"""gRPC's own status codes, by number."""


class VolumeLocks:
    """One operation at a time per volume. A second call is refused; calls and the driver's own work wait for each other."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._calls: dict[str, tuple[str, int]] = {}

    @asynccontextmanager
    async def hold(self, volume_id: str, method: str) -> AsyncIterator[None]:
        """For a call: hold the volume, or refuse with ABORTED and say which call has it and since when."""
        other = self._calls.get(volume_id)
        if other is not None:
            age = format_duration(time.monotonic_ns() - other[1])
            raise RefusedError(Code.ABORTED, f"{other[0]} is in progress for this volume since {age}")
        self._calls[volume_id] = (method, time.monotonic_ns())
        try:
            async with self.wait(volume_id):
                yield
        finally:
            del self._calls[volume_id]

    @asynccontextmanager
    async def wait(self, volume_id: str) -> AsyncIterator[None]:
        """Hold the volume as soon as it is free."""
        lock = self._locks.setdefault(volume_id, asyncio.Lock())
        async with lock:
            yield


@contextmanager
def refusing_errors() -> Iterator[None]:
    """What the operating system refuses, or a record that cannot be read, becomes INTERNAL with its reason."""
    try:
        yield
    except CsitraceError as error:
        raise RefusedError(Code.INTERNAL, str(error)) from error
    except OSError as error:
        raise RefusedError(
            Code.INTERNAL, f"{error.strerror or error}: {error.filename or 'no path'}"
        ) from error


class CallPath(grpc.aio.ServerInterceptor):
    """Carries every call of a /csi.v1.* service along the road; other services pass untouched."""

    def __init__(
        self,
        capabilities: Capabilities,
        locks: VolumeLocks,
        faults: Faults,
        parameters_of: Callable[[str], Mapping[str, str]],
        kill_daemon: Callable[[str], bool],
    ) -> None:
        """`parameters_of(volume_id)`: a volume's StorageClass parameters; `kill_daemon(volume_id)`: the `kill` effect."""
        self._capabilities = capabilities
        self._locks = locks
        self._faults = faults
        self._parameters_of = parameters_of
        self._kill_daemon = kill_daemon
        self._running: set[asyncio.Task[Any]] = set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """gRPC's hook: wrap the method's handler."""
        handler = await continuation(handler_call_details)
        if handler is None or not str(handler_call_details.method).startswith("/csi.v1."):
            return handler
        method = short_method(str(handler_call_details.method))
        if method not in RULES:
            return handler
        work: Handler = handler.unary_unary

        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                return await self._carry(method, request, work, context)
            except RefusedError as refusal:
                _LOG.warning("%s: %s: %s", method, refusal.code.name, refusal.message)
                return await context.abort(STATUS[refusal.code], refusal.message)

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    async def close(self) -> None:
        """Give up what still runs: the driver ends. What was begun is mended at the next start."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _carry(
        self, method: str, request: Any, work: Handler, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        refused = self._capabilities.refused(method)
        if refused is not None:
            raise RefusedError(
                Code.UNIMPLEMENTED, f"{method}: the driver runs without capability {refused!r}"
            )
        check(method, request)
        task = asyncio.create_task(self._work(method, request, work, context), name=method)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})  # so that whoever watches sees the call in flight for as long as it is
            raise

    async def _work(
        self, method: str, request: Any, work: Handler, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        rule = RULES[method]
        if rule.key is None:
            return await self._struck(method, "", request, work, context)
        volume_id = rule.key(request)
        if not rule.locks:
            return await self._struck(method, volume_id, request, work, context)
        async with self._locks.hold(volume_id, method):
            return await self._struck(method, volume_id, request, work, context)

    async def _struck(
        self,
        method: str,
        volume_id: str,
        request: Any,
        work: Handler,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> Any:
        """Do the work, with whatever fault is due before or after it."""
        if volume_id and not self._faults.knows(volume_id):
            is_new = method == "CreateVolume"
            self._arm(volume_id, request.parameters if is_new else self._parameters_of(volume_id))
        armed = self._faults.take(method, volume_id)
        if armed is not None and not armed.fault.after:
            await self._strike(armed, volume_id)
        with refusing_errors():
            response = await work(request, context)
        if armed is not None and armed.fault.after:
            await self._strike(armed, volume_id)
        if method == "DeleteVolume":
            self._faults.forget(volume_id)
        return response

    def _arm(self, volume_id: str, parameters: Mapping[str, str]) -> None:
        try:
            self._faults.arm_parameters(volume_id, parameters)
        except UsageError as error:
            raise RefusedError(Code.INVALID_ARGUMENT, f"parameters: {error}") from error

    async def _strike(self, armed: Armed, volume_id: str) -> None:
        fault = armed.fault
        _LOG.warning("fault: %s of volume %s: %s", fault.target, volume_id or "(any)", fault.effect)
        await asyncio.sleep(fault.delay_ns / 1e9)
        if fault.kill:
            self._kill_daemon(volume_id)
        if fault.hang:
            await self._faults.hang(armed)
        if fault.code is not None:
            raise RefusedError(fault.code, f"fault injected: {fault.target} {fault.effect}")
