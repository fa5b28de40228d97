"""Is a feed served? For the kubelet's probes, which cannot reach a pod's loopback otherwise.

    python3 -m csitrace.agent.probe 127.0.0.1:9779

Ends with 0 when whoever listens there answers as HTTP/2 does, within two seconds. Imports next to nothing: it runs often.
"""

import socket
import sys

_PREFACE = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
)  # and empty SETTINGS, RFC 9113, 3.4
_TIMEOUT_S = 2.0


def answers(host: str, port: int) -> bool:
    """Whether a gRPC server there sends its SETTINGS."""
    try:
        with socket.create_connection((host, port), _TIMEOUT_S) as connection:
            connection.settimeout(_TIMEOUT_S)
            connection.sendall(_PREFACE)
            header = connection.recv(9)
    except OSError:
        return False
    return len(header) > 3 and header[3] == 4  # the frame type of SETTINGS


if __name__ == "__main__":
    _host, _, _port = sys.argv[1].rpartition(":")
    sys.exit(0 if answers(_host, int(_port)) else 1)
