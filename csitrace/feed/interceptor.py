"""gRPC server interceptors that make any Python CSI driver a witness.

    grpc.aio.server(interceptors=[TraceInterceptor(publisher)])
    grpc.server(pool, interceptors=[SyncTraceInterceptor(publisher)])

Every unary call of a `csi.v1` service is told when it comes in and when its handler has ended, with the code that the
caller gets. A handler that goes on after its caller gave up stays in flight until it ends, and then tells the caller's
code. Other services pass untouched.
"""

import asyncio
import inspect
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio

from csitrace.feed.calls import CSI_PREFIX, Call, CallTracer
from csitrace.feed.publisher import Publisher
from csitrace.model.rpc import Code, code_name

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


_ANOTHER_CLOCK_S = 0.05
"""A caller looks at its own clock: that it hung up at its deadline may be heard this much before the deadline passes here."""


class TraceInterceptor(grpc.aio.ServerInterceptor):
    """For `grpc.aio` servers; handlers may be coroutines or plain functions."""

    def __init__(self, publisher: Publisher) -> None:
        self._tracer = CallTracer(publisher)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        return _traced(self._tracer, handler_call_details.method, await continuation(handler_call_details))


class SyncTraceInterceptor(grpc.ServerInterceptor):
    """For `grpc.server`, whose handlers run in threads."""

    def __init__(self, publisher: Publisher) -> None:
        self._tracer = CallTracer(publisher)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], _Handler],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        return _traced(self._tracer, handler_call_details.method, continuation(handler_call_details))


def _traced(tracer: CallTracer, method: str, handler: _Handler) -> _Handler:
    if not method.startswith(CSI_PREFIX):
        return handler
    if handler is None:  # the driver does not serve this: gRPC answers for it
        tracer.start(method, None).finish(Code.UNIMPLEMENTED, "the driver does not serve this method")
        return None
    behaviour = handler.unary_unary
    if behaviour is None:
        return handler
    wrap = _wrap_coroutine if _is_coroutine(behaviour) else _wrap_function
    return grpc.unary_unary_rpc_method_handler(
        wrap(tracer, method, behaviour),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def _is_coroutine(behaviour: Any) -> bool:
    """As grpc.aio decides whether to await a handler or to run it in a thread."""
    return inspect.iscoroutinefunction(behaviour) or inspect.iscoroutinefunction(type(behaviour).__call__)


def _wrap_coroutine(tracer: CallTracer, method: str, behaviour: Any) -> Any:
    async def traced(request: Any, context: Any) -> Any:
        status = _Status(context)
        call = tracer.start(method, request)
        try:
            response = await behaviour(request, status)
        except asyncio.CancelledError:
            call.finish(status.given_up, "the call was cancelled while the driver worked on it")
            raise
        except BaseException as error:
            _failed(call, status, error)
            raise
        _answered(call, status, response)
        return response

    return traced


def _wrap_function(tracer: CallTracer, method: str, behaviour: Any) -> Any:
    def traced(request: Any, context: Any) -> Any:
        status = _Status(context)
        call = tracer.start(method, request)
        try:
            response = behaviour(request, status)
        except BaseException as error:
            _failed(call, status, error)
            raise
        _answered(call, status, response)
        return response

    return traced


def _answered(call: Call, status: "_Status", response: object) -> None:
    if status.gone is not None:
        call.finish(
            status.gone,
            f"the caller gave up before the driver answered {code_name(status.seen_code)} {status.seen_details}".rstrip(),
        )
    else:
        call.finish(status.seen_code, status.seen_details, response if status.seen_code == Code.OK else None)


def _failed(call: Call, status: "_Status", error: BaseException) -> None:
    text = (
        status.seen_details
        if status.aborted or status.seen_details
        else traceback.format_exception_only(error)[-1].strip()
    )
    code = status.seen_code if status.aborted or status.seen_code != Code.OK else Code.UNKNOWN
    if status.gone is not None:
        call.finish(
            status.gone, f"the caller gave up before the driver answered {code_name(code)} {text}".rstrip()
        )
    else:
        call.finish(code, text)


class _Status:
    """A handler's context that also remembers the status the handler sets; gRPC's contexts do not all tell it."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.seen_code = int(Code.OK)
        self.seen_details = ""
        self.aborted = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    @property
    def gone(self) -> Code | None:
        """Why nobody waits for the answer any more; None while somebody does."""
        remaining = self._context.time_remaining()
        if remaining is not None and remaining <= 0:
            return Code.DEADLINE_EXCEEDED
        is_active = getattr(self._context, "is_active", None)  # of grpc.server's contexts only
        return self.given_up if is_active is not None and not is_active() else None

    @property
    def given_up(self) -> Code:
        """Why a caller that is known to have gone went."""
        remaining = self._context.time_remaining()
        return (
            Code.DEADLINE_EXCEEDED
            if remaining is not None and remaining <= _ANOTHER_CLOCK_S
            else Code.CANCELLED
        )

    def set_code(self, code: Any) -> None:
        self.seen_code = _number(code)
        self._context.set_code(code)

    def set_details(self, details: str) -> None:
        self.seen_details = _string(details)
        self._context.set_details(details)

    def abort(self, code: Any, details: str = "", *rest: Any, **named: Any) -> Any:
        """A coroutine where the context's is one; otherwise it raises at once."""
        self.seen_code, self.seen_details, self.aborted = (
            _number(code) or int(Code.UNKNOWN),
            _string(details),
            True,
        )
        return self._context.abort(code, details, *rest, **named)

    def abort_with_status(self, status: grpc.Status) -> Any:
        self.seen_code, self.seen_details, self.aborted = (
            _number(status.code) or int(Code.UNKNOWN),
            _string(status.details),
            True,
        )
        return self._context.abort_with_status(status)


def _number(code: Any) -> int:
    """gRPC takes a status code as its enum or as a number."""
    return int(code.value[0]) if isinstance(code, grpc.StatusCode) else int(code)


def _string(details: Any) -> str:
    return details.decode(errors="replace") if isinstance(details, bytes) else str(details or "")
