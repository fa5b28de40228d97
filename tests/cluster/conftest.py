"""Fixtures of the tests on a real Kubernetes.

``kubectl``, ``namespace`` and ``kubeconfig`` work on any cluster; ``cluster`` is for tests that kill and restart parts,
which only a cluster of this harness allows. Which one: that of ``$CSITRACE_TEST_KUBECONFIG`` if set (the driver and
its classes installed; ``$CSITRACE_TEST_IMAGE`` names an image with a shell, default busybox), else the one that
``make cluster-up`` left running, else one of the test run's own, taken down at its end.
"""

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cluster.harness import objects
from tests.cluster.harness.cluster import (
    BASE_TOOLS,
    SIDECAR_TOOLS,
    Cluster,
    default_directory,
    reap_orphans,
    require_machine,
)
from tests.cluster.harness.errors import UnavailableError
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.harness.processes import ProcessId
from tests.cluster.harness.tools import build, build_all

if TYPE_CHECKING:
    from tests.roads.abreast import Abreast

_HERE = Path(__file__).parent
_TIMEOUT_S = 180
_LAST = "test_failing_nodes.py"
_OUTPUT_OF_PARTS = pytest.StashKey[Cluster]()


@dataclass(frozen=True, slots=True)
class Target:
    """The cluster tests run on; ``cluster`` is None when its processes are not the harness's."""

    kubectl: Kubectl
    image: objects.Image
    cluster: Cluster | None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here ``cluster``, and let no time-out cut into the building and starting of the cluster; ask for what runs
    beside the others after them."""
    items.sort(key=lambda item: item.path.name == _LAST)
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(_TIMEOUT_S, func_only=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what the cluster's parts wrote last."""
    report = yield
    cluster = item.config.stash.get(_OUTPUT_OF_PARTS, None)
    if report.failed and cluster is not None:
        for name in cluster.processes.names():
            report.sections.append((f"log of {name}", cluster.processes.tail(name, lines=8)))
    return report


@pytest.fixture(scope="session")
def machine() -> None:
    """This machine can run clusters; without that, skip and say why, and fail where CI=true promises it can."""
    if "CSITRACE_TEST_KUBECONFIG" in os.environ:
        pytest.skip("tests the harness, and CSITRACE_TEST_KUBECONFIG asks for another cluster")
    try:
        require_machine()
        build_all(BASE_TOOLS + SIDECAR_TOOLS)
    except UnavailableError as error:
        unavailable(str(error))
    reap_orphans()


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """The cluster of this test run."""
    given = os.environ.get("CSITRACE_TEST_KUBECONFIG")
    if given is not None:
        image = os.environ.get("CSITRACE_TEST_IMAGE", objects.PUBLIC.name)
        kubectl = Kubectl(_kubectl_for(given), Path(given))
        yield Target(kubectl, objects.Image(image, objects.PUBLIC.pull_policy), None)
        return
    request.getfixturevalue("machine")
    standing = Cluster(default_directory())
    with _claimed(standing) as free:
        if free:
            standing.up()
            for node in standing.added_nodes:  # left by a run that was killed
                standing.remove_node(node)
            request.config.stash[_OUTPUT_OF_PARTS] = standing
            yield Target(standing.kubectl(), objects.LOCAL, standing)
            return
    private = Cluster(Path(tempfile.mkdtemp(prefix="csitrace-cluster-")))
    private.up(owner=ProcessId.of(os.getpid()))
    request.config.stash[_OUTPUT_OF_PARTS] = private
    yield Target(private.kubectl(), objects.LOCAL, private)
    if request.session.testsfailed:
        private.down()
        print(f"logs of the cluster: {private.processes.logs}")
    else:
        private.remove()


@pytest.fixture(scope="session", autouse=True)
def failing_nodes(request: pytest.FixtureRequest) -> Iterator["Abreast | None"]:
    """The roads on which nodes fail, on their way from now on, if any of them is to be run here."""
    from tests.cluster.failing_nodes import failing_cluster
    from tests.roads.abreast import Abreast

    selected = [item for item in request.session.items if item.path.name == _LAST]
    roads = [item.callspec.params["road"] for item in selected if hasattr(item, "callspec")]
    if not roads:
        yield None
        return
    try:
        request.getfixturevalue("machine")
    except pytest.skip.Exception:  # the tests themselves say so
        yield None
        return
    with Abreast(roads, failing_cluster) as abreast:
        yield abreast


@pytest.fixture
def cluster(target: Target) -> Iterator[Cluster]:
    """The cluster with its processes, to kill and restart; afterwards whatever is missing runs again."""
    if target.cluster is None:
        pytest.skip("kills parts of the cluster, and those of CSITRACE_TEST_KUBECONFIG are not ours")
    yield target.cluster
    for name in target.cluster.parts():
        target.cluster.resume(name)
    target.cluster.revive()


@pytest.fixture
def image(target: Target) -> objects.Image:
    """The image with a shell that pods of the tests run."""
    return target.image


@pytest.fixture
def kubeconfig(target: Target) -> Path:
    """The kubeconfig of the cluster, as an administrator."""
    return target.kubectl.kubeconfig


@pytest.fixture
def namespace(target: Target) -> Iterator[str]:
    """A namespace of this test alone, deleted with all that is in it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    target.kubectl("create", "namespace", name)
    target.kubectl.within(name).wait("create", "serviceaccount/default")
    yield name
    # What the test made is gone before the next test starts; the empty namespace may take its time.
    target.kubectl.within(name)("delete", "pods,persistentvolumeclaims", "--all", timeout_s=100)
    target.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def kubectl(target: Target, namespace: str) -> Kubectl:
    """kubectl in this test's namespace."""
    return target.kubectl.within(namespace)


def unavailable(reason: str) -> None:
    """Skip, or fail where CI=true: a machine that promised to run everything must not skip."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def _claimed(standing: Cluster) -> Iterator[bool]:
    """Whether a cluster is up that no other test run uses; if so it is ours until the end of the block.

    Tests kill parts of the cluster they run on, so two test runs never share one.
    """
    if not standing.is_up:
        yield False
        return
    with (standing.directory / "tested").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _kubectl_for(kubeconfig: str) -> Path:
    if not Path(kubeconfig).is_file():
        pytest.fail(f"CSITRACE_TEST_KUBECONFIG: no such file: {kubeconfig}")
    found = shutil.which("kubectl")
    return Path(found) if found else build("kubectl")
