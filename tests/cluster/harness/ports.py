"""Free TCP ports on loopback."""

import random
import socket

# Below Linux's default range of ephemeral ports (32768 up): while a part is down for a restart, no outgoing
# connection of someone else can take its port.
_RANGE = range(20000, 32768)


def free_ports(count: int) -> list[int]:
    """``count`` different ports that nobody listened on a moment ago."""
    found: list[int] = []
    for port in random.sample(_RANGE, len(_RANGE)):
        if len(found) == count:
            break
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found
