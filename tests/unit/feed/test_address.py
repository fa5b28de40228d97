"""Where a feed may be served and found."""

import pytest

from csitrace.errors import UsageError
from csitrace.feed.address import grpc_target, require_local, socket_path


@pytest.mark.parametrize(
    ("address", "target", "path"),
    [
        ("unix:///run/f.sock", "unix:/run/f.sock", "/run/f.sock"),
        ("unix:/run/f.sock", "unix:/run/f.sock", "/run/f.sock"),
        ("/run/f.sock", "unix:/run/f.sock", "/run/f.sock"),
        ("127.0.0.1:7777", "127.0.0.1:7777", None),
        ("[::1]:7777", "[::1]:7777", None),
        ("node-3:7777", "node-3:7777", None),
    ],
)
def test_addresses_as_grpc_wants_them(address: str, target: str, path: str | None) -> None:
    """Sockets with or without their scheme, and host:port."""
    assert grpc_target(address) == target
    assert socket_path(address) == path


@pytest.mark.parametrize(
    "address",
    [
        "",
        "run/f.sock",
        "unix:f.sock",
        "localhost",
        ":7777",
        "host:port",
        "host:70000",
        "host:٣",
        "/" + "x" * 107,
    ],
)
def test_what_is_no_address_is_refused_in_one_line(address: str) -> None:
    """The error names the address and says what is expected."""
    with pytest.raises(UsageError) as caught:
        grpc_target(address)
    assert repr(address) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["/run/f.sock", "unix:///f", "127.0.0.1:0", "127.8.8.8:1", "[::1]:1", "localhost:1"]
)
def test_local_addresses_may_be_served(address: str) -> None:
    """Unix sockets and loopback."""
    require_local(address)


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "node-3:1"])
def test_addresses_that_others_reach_are_not_served(address: str) -> None:
    """A feed is neither encrypted nor authenticated, so it is not for the network."""
    with pytest.raises(UsageError, match="loopback"):
        require_local(address)
