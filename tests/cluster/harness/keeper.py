"""Start again what ended by itself, as kubelet does with containers: sidecars exit when they lose their driver.

Run as ``python -m tests.cluster.harness.keeper DIRECTORY``, as one more part of the cluster in DIRECTORY.
"""

import sys
import time
from pathlib import Path

from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.errors import ClusterError

_INTERVAL_S = 1.0


def keep(cluster: Cluster) -> None:
    """Restart ended parts for ever; a restart that fails is tried again, as a container that crashes is."""
    while True:
        time.sleep(_INTERVAL_S)
        try:
            cluster.restart_ended()
        except ClusterError as error:
            print(error, flush=True)


if __name__ == "__main__":
    keep(Cluster(Path(sys.argv[1]), lambda message: print(message, flush=True)))
