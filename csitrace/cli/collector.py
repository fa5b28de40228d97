"""Sending traces to an OpenTelemetry collector, over HTTP or gRPC."""

import urllib.error
import urllib.request
from collections.abc import Callable, Iterable

from csitrace.errors import UnreachableError
from csitrace.export.otlp import EXPORT_METHOD, HTTP_PATH

TIMEOUT_SECONDS = 10.0
"""For one volume's trace."""


def send(requests: Iterable[bytes], address: str) -> int:
    """Send every request to `address` (http, https, grpc or grpcs); returns how many. Raises `UnreachableError`."""
    scheme, _, place = address.partition("://")
    if scheme.startswith("grpc"):
        return _send_grpc(requests, place.rstrip("/"), is_secure=scheme == "grpcs")
    url = address if "/" in place.rstrip("/") else f"{address.rstrip('/')}{HTTP_PATH}"
    return sum(1 for request in requests if _post(url, request))


def _post(url: str, body: bytes) -> bool:
    headers = {"Content-Type": "application/x-protobuf"}
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - http or https
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            answer.read()
    except urllib.error.HTTPError as error:
        raise UnreachableError(f"{url} refused the traces: HTTP {error.code} {error.reason}") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise UnreachableError(f"{url} does not take traces: {reason}; is a collector there?") from error
    return True


def _send_grpc(requests: Iterable[bytes], target: str, *, is_secure: bool) -> int:
    import grpc

    channel = (
        grpc.secure_channel(target, grpc.ssl_channel_credentials())
        if is_secure
        else grpc.insecure_channel(target)
    )
    with channel:
        call: Callable[..., bytes] = channel.unary_unary(
            EXPORT_METHOD, request_serializer=_as_is, response_deserializer=_as_is
        )
        sent = 0
        try:
            for request in requests:
                call(request, timeout=TIMEOUT_SECONDS)
                sent += 1
        except grpc.RpcError as error:
            said = f"{error.code().name}: {error.details()}" if isinstance(error, grpc.Call) else str(error)
            raise UnreachableError(f"{target} does not take traces: {said}") from error
    return sent


def _as_is(message: bytes) -> bytes:
    return message
