"""A volume whose attachment was refused, and whose pod is gone at once."""

import asyncio
from collections.abc import Iterator

import pytest

from csitrace.lifecycle.state import State
from csitrace.lifecycle.verdict import verdict
from csitrace.lifecycle.views import Verdict
from tests.cluster.conftest import Target
from tests.cluster.harness import objects, storage
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.watching import Watching, find_volume, watching


@pytest.fixture
def refusing(kubectl: Kubectl) -> Iterator[str]:
    """A class whose volumes are never attached."""
    name = f"{kubectl.namespace}-refused"
    kubectl.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name},
            "provisioner": storage.DRIVER_NAME,
            "volumeBindingMode": "WaitForFirstConsumer",
            "parameters": {"fault.ControllerPublishVolume": "INTERNAL"},
        }
    )
    yield name
    kubectl("delete", "storageclass", name)


async def test_it_waits_for_the_nodes_next_status(
    target: Target, kubectl: Kubectl, image: objects.Image, refusing: str
) -> None:
    """csitrace says that the attach/detach controller takes the volume for mounted until the node reports; as soon as anything of
    the node changes, the controller lets go of it."""
    async with watching(target) as watched:
        await asyncio.to_thread(
            kubectl.apply,
            objects.claim("data", refusing),
            objects.pod("pod", image, claims=("data",), node="node-1"),
        )
        await watched.until("the controller has been told", lambda state: _is_told(state, kubectl.namespace))
        await asyncio.to_thread(kubectl, "delete", "pod/pod", "--force", "--wait=false")
        word = await watched.until(
            "it waits for the controller", lambda state: _word(watched, state, kubectl.namespace, "b7")
        )
        assert "takes the volume for mounted until node-1 reports what it uses" in word.sentence
        assert word.holder == "attach/detach controller, for the next status of node node-1"
        await asyncio.to_thread(kubectl, "label", "node/node-1", f"told={kubectl.namespace}")
        try:
            await watched.until("it is let go", lambda state: _is_detached(state, kubectl.namespace))
        finally:
            await asyncio.to_thread(kubectl, "label", "node/node-1", "told-")


def _word(watched: Watching, state: State, namespace: str, step_id: str) -> Verdict | None:
    volume = find_volume(state, namespace)
    word = verdict(state, volume, watched.session.now) if volume is not None else None
    return word if word is not None and word.step_id == step_id else None


def _is_told(state: State, namespace: str) -> bool:
    """The controller says so once its attempt is over; from then on it takes the volume for mounted."""
    volume = find_volume(state, namespace)
    return volume is not None and any(fact.event.reason == "FailedAttachVolume" for fact in volume.events)


def _is_detached(state: State, namespace: str) -> bool:
    volume = find_volume(state, namespace)
    return volume is not None and not volume.attachments
