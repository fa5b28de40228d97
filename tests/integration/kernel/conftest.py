"""Fixtures of the kernel source's tests."""

import os
from collections.abc import Iterator

import pytest

from csitrace.sources.mountinfo.interest import Interest
from csitrace.sources.mountinfo.watchers import WAYS
from tests.integration.kernel.namespace import MountNamespace, mount_namespace


def unavailable(reason: str) -> None:
    """Skip, or fail where CI=true: a machine that promised to run everything must not skip."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def shared_namespace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MountNamespace]:
    """A mount namespace for the tests of a module, with directories a to d and one with an awkward name."""
    root = tmp_path_factory.mktemp("kubelet")
    for name in NAMES:
        (root / name).mkdir()
    try:
        with mount_namespace(root) as namespace:
            yield namespace
    except OSError as error:
        unavailable(str(error))


NAMES = ("a", "b", "c", "d", "sp ace\tö\\")


@pytest.fixture
def namespace(shared_namespace: MountNamespace) -> MountNamespace:
    """The namespace with nothing mounted below its root."""
    shared_namespace.clear()
    return shared_namespace


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest, shared_namespace: MountNamespace) -> str:
    """Each way to follow the mount table that this kernel and our privileges allow."""
    name = str(request.param)
    require_way(name, shared_namespace)
    return name


def available_ways(namespace: MountNamespace) -> tuple[str, ...]:
    return tuple(name for name in WAYS if not _refusal(name, namespace))


def require_way(name: str, namespace: MountNamespace) -> None:
    """Older kernels have not all ways; that is no fault of the machine, so CI may skip as well."""
    refusal = _refusal(name, namespace)
    if refusal:
        pytest.skip(f"{name}: {refusal}")


def _refusal(name: str, namespace: MountNamespace) -> str:
    try:
        WAYS[name](namespace.pid, Interest.below(str(namespace.root))).close()
    except OSError as error:
        return str(error)
    return ""
