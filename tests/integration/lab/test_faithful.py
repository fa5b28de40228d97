"""The lab does what a real cluster was recorded to do: the same changes of each object, the same Events, the same calls."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import aiohttp
import msgspec
import pytest

from csitrace.lab.apiserver.resources import PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_BY_KIND
from csitrace.lab.client import Client, Endpoint
from tests.integration.lab.conftest import LabProcess
from tests.integration.lab.sequence import STRAIGHT_ROAD, Object, normal_form, recording, walk

RECORDED = Path(__file__).with_name("recorded.json")
"""By StorageClass the normal form of a walk on Kubernetes 1.34 with the stock sidecars; tests/cluster/test_lab.py made it."""

CLAIM = {
    "metadata": {"name": "data", "namespace": "demo"},
    "kind": "PersistentVolumeClaim",
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}},
}
POD = {
    "metadata": {"name": "pod", "namespace": "demo"},
    "kind": "Pod",
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": "workload"}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    },
}


@pytest.mark.parametrize("storage_class", ["csitrace-immediate", "csitrace-wait"])
async def test_the_lab_walks_as_the_cluster_did(
    new_lab: Callable[..., LabProcess], storage_class: str
) -> None:
    """A claim and a pod, there and back, give the recorded sequences, in an order that the real programs allow."""
    lab = await asyncio.to_thread(new_lab, "--scenario", "none", "--speed", "20")
    claim = CLAIM | {"spec": CLAIM["spec"] | {"storageClassName": storage_class}}
    async with (
        aiohttp.ClientSession() as session,
        recording(lab.ready["kubeconfig"], lab.nodes[0]["feed"]) as recorded,
    ):
        client = Client(session, Endpoint(lab.ready["url"], lab.token), "kubectl")

        async def create(obj: Object) -> None:
            await client.create(RESOURCE_BY_KIND[obj["kind"]], obj)

        async def delete() -> None:
            await client.delete(PODS, POD)
            await client.delete(PERSISTENT_VOLUME_CLAIMS, claim)

        told = await walk(recorded, "demo", claim, POD, create, delete)
    lab.close()
    assert normal_form(told) == msgspec.json.decode(RECORDED.read_bytes())[storage_class]
    assert [step for step in told if step in STRAIGHT_ROAD] == list(STRAIGHT_ROAD)
