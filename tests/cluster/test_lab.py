"""Where the lab differs from a real cluster, the lab is wrong: what it is compared with is what a real cluster does."""

import asyncio
import os

import msgspec
import pytest

from tests.cluster.conftest import Target
from tests.cluster.harness import objects, storage
from tests.cluster.harness.kubectl import Kubectl
from tests.integration.lab.sequence import STRAIGHT_ROAD, Object, normal_form, recording, walk
from tests.integration.lab.test_faithful import RECORDED

ENDS_WELL = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


@pytest.mark.parametrize("storage_class", [storage.IMMEDIATE_CLASS, storage.WAITING_CLASS])
async def test_the_recording_is_true(
    target: Target, kubectl: Kubectl, image: objects.Image, storage_class: str
) -> None:
    """A claim and a pod, there and back, give the sequences that the lab is held to.

    With CSITRACE_RECORD=1 they are recorded instead.
    """
    if target.cluster is None:
        pytest.skip(
            "needs the reference driver and its feed, which CSITRACE_TEST_KUBECONFIG does not tell of"
        )

    async def create(obj: Object) -> None:
        await asyncio.to_thread(kubectl.apply, obj)

    async def delete() -> None:
        await asyncio.to_thread(kubectl, "delete", "pod/pod", "pvc/data", "--wait=false")

    node = target.cluster.nodes[0]
    async with recording(str(kubectl.kubeconfig), storage.driver_feed(node)) as recorded:
        claim = objects.claim("data", storage_class)
        pod = objects.pod("pod", image, ENDS_WELL, claims=("data",), node=node.name)
        told = await walk(recorded, kubectl.namespace, claim, pod, create, delete)
    known = msgspec.json.decode(RECORDED.read_bytes()) if RECORDED.exists() else {}
    if os.environ.get("CSITRACE_RECORD"):
        known[storage_class] = normal_form(told)
        RECORDED.write_bytes(msgspec.json.format(msgspec.json.encode(known), indent=1) + b"\n")
    assert normal_form(told) == known[storage_class]
    assert [step for step in told if step in STRAIGHT_ROAD] == list(STRAIGHT_ROAD)
