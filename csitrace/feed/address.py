"""Where a feed is served: a unix socket or loopback TCP, as the user writes it and as gRPC wants it."""

import ipaddress
from pathlib import PurePath

from csitrace.errors import UsageError

UNIX_PATH_MAX = 107
"""Longest path of a unix socket on Linux in bytes (unix(7): sun_path is 108 with its closing zero)."""


def grpc_target(address: str) -> str:
    """`unix:///run/x.sock`, `/run/x.sock` or `host:port` as a gRPC target. UsageError when it is none of them."""
    path = socket_path(address)
    if path is not None:
        if not path.startswith("/"):
            raise UsageError(
                f"feed address {address!r}: a unix socket needs an absolute path, as in unix:///run/feed.sock"
            )
        if len(path.encode()) > UNIX_PATH_MAX:
            raise UsageError(
                f"feed address {address!r}: longer than the {UNIX_PATH_MAX} bytes a unix socket path may have"
            )
        return f"unix:{path}"
    host, colon, port = address.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdecimal() and int(port) <= 65535):
        raise UsageError(f"feed address {address!r}: expected unix:///path/to.sock or host:port")
    return address


def socket_path(address: str) -> str | None:
    """The path of a unix socket's address; None for TCP."""
    if address.startswith("unix:"):
        return address.removeprefix("unix:").removeprefix("//")
    return address if PurePath(address).is_absolute() else None


def require_local(address: str) -> None:
    """UsageError unless only this machine can reach `address`: a feed has neither encryption nor authentication."""
    if socket_path(address) is not None:
        return
    host = address.rpartition(":")[0].strip("[]")
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise UsageError(
            f"feed address {address!r}: serve it on a unix socket or a loopback address such as 127.0.0.1"
        )
