"""A network for pods that want one of their own: one bridge per cluster, and an address on it for the host.

The host's own network stays as it is: nothing is routed, forwarded or translated. A pod reaches the host and the other pods of
its cluster, on whichever node, and nothing else; the API server listens on loopback, so only pods of the host's network reach it.
"""

import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.harness.errors import ClusterError

_BRIDGES = "csitrace"
_ADDRESSES = "198.18"
"""Reserved for benchmarks between networks (RFC 2544): no network that this machine may be in uses it."""

_PODS_PER_NODE = 50
_INTERFACES = Path("/sys/class/net")


@dataclass(frozen=True, slots=True)
class Network:
    """The ``number``-th such network of this machine."""

    number: int

    @classmethod
    def of(cls, directory: Path) -> "Network":
        """The network of the cluster in ``directory``; made on first use."""
        found = find(directory)
        return cls._make(directory) if found is None else found

    @property
    def bridge(self) -> str:
        return f"{_BRIDGES}{self.number}"

    def configuration(self, node: int, state: Path) -> dict[str, Any]:
        """The CNI configuration of a node, by its number. ``state``: where the addresses given out are kept."""
        first = 2 + (node - 1) * _PODS_PER_NODE
        if first + _PODS_PER_NODE > 255:
            raise ClusterError(f"no addresses for the pods of node {node}: there is room for five nodes")
        subnet = f"{_ADDRESSES}.{self.number}"
        addresses = {
            "subnet": f"{subnet}.0/24",
            "rangeStart": f"{subnet}.{first}",
            "rangeEnd": f"{subnet}.{first + _PODS_PER_NODE - 1}",
            "gateway": f"{subnet}.1",
        }
        bridge = {
            "type": "bridge",
            "bridge": self.bridge,
            "ipam": {"type": "host-local", "dataDir": str(state), "ranges": [[addresses]]},
        }
        return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}

    @classmethod
    def _make(cls, directory: Path) -> "Network":
        network = next((n for number in range(256) if (n := cls(number))._made()), None)
        if network is None:
            raise ClusterError("no bridge for pods: this machine has 256 of other clusters")
        _ip("link", "set", network.bridge, "alias", str(directory))
        _ip("address", "add", f"{_ADDRESSES}.{network.number}.1/24", "dev", network.bridge)
        _ip("link", "set", network.bridge, "up")
        return network

    def _made(self) -> bool:
        """Whether the bridge could be made: of clusters that start at the same time, one gets a name."""
        if self.exists:
            return False
        try:
            _ip("link", "add", self.bridge, "type", "bridge")
        except ClusterError:
            if self.exists:
                return False
            raise
        return True

    @property
    def exists(self) -> bool:
        return (_INTERFACES / self.bridge).exists()


def remove(directory: Path) -> None:
    """Remove the network of the cluster in ``directory``; none is fine. Pods' ends of it go with their network namespaces."""
    found = find(directory)
    if found is not None:
        _ip("link", "delete", found.bridge)


def find(directory: Path) -> Network | None:
    """The network of the cluster in ``directory``, if it is there."""
    for interface in _INTERFACES.glob(f"{_BRIDGES}[0-9]*"):
        with suppress(OSError):  # another cluster's, going away
            if (interface / "ifalias").read_text().strip() == str(directory):
                return Network(int(interface.name.removeprefix(_BRIDGES)))
    return None


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
