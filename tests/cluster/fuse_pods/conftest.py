"""The driver with its FUSE daemons in pods, deployed once for all that is tested with it."""

from collections.abc import Iterator

import pytest

from tests.cluster.conftest import Target
from tests.cluster.fuse_pods import daemons
from tests.cluster.harness.fusepods import FusePods


@pytest.fixture(scope="package")
def fuse(target: Target) -> Iterator[FusePods]:
    """The driver with `--launcher pod`, in pods, on every node; gone afterwards."""
    if target.cluster is None:
        pytest.skip(
            "deploys a driver for the nodes of the harness, and CSITRACE_TEST_KUBECONFIG is another cluster"
        )
    deployed = FusePods(target.cluster)
    deployed.up()
    yield deployed
    deployed.down()


@pytest.fixture
def no_daemon_left(fuse: FusePods, namespace: str) -> Iterator[None]:
    """After the test: no FUSE pod, no mount of the driver, no directory of one, no volume."""
    yield
    within = fuse.cluster.kubectl().within(namespace)
    within("delete", "statefulsets,pods,persistentvolumeclaims", "--all", timeout_s=100)
    daemons.eventually(
        lambda: daemons.leftovers(fuse) == [], lambda: f"left behind: {daemons.leftovers(fuse)}"
    )
