"""The controllers together, over real HTTP and real gRPC, against a driver that answers as it is told."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from csitrace.lab import objects
from csitrace.lab.apiserver.resources import (
    CSI_DRIVERS,
    CSI_NODES,
    EVENTS,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    Resource,
)
from csitrace.lab.apiserver.server import ApiServer
from csitrace.lab.apiserver.store import Store
from csitrace.lab.client import Client, Endpoint
from csitrace.lab.loops.attach_detach import AttachDetachController
from csitrace.lab.loops.attacher import install_attacher
from csitrace.lab.loops.protection import ClaimProtection, VolumeProtection
from csitrace.lab.loops.provisioner import install_provisioner
from csitrace.lab.loops.pv_controller import PersistentVolumeController
from csitrace.lab.loops.scheduler import Scheduler
from csitrace.lab.loops.sidecar import run_sidecar
from csitrace.lab.pace import Pace
from csitrace.lab.program import Program
from csitrace.lab.status import Object
from tests.unit.lab.scripted_driver import ScriptedDriver

DRIVER = "scripted"
PACE = Pace(speed=50)


class World:
    """What a test does and sees: objects through the API."""

    def __init__(self, client: Client, driver: ScriptedDriver) -> None:
        self.client = client
        self.driver = driver

    async def add_node(self, name: str, topology_keys: list[str] | None = None) -> None:
        labels = dict.fromkeys(topology_keys or [], name)
        node = await self.client.create(NODES, {"metadata": {"name": name, "labels": labels}, "spec": {}})
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        await self.client.patch(NODES, node, {"status": ready}, "status")
        entry = {"name": DRIVER, "nodeID": f"id-{name}", "topologyKeys": topology_keys}
        await self.client.create(CSI_NODES, {"metadata": {"name": name}, "spec": {"drivers": [entry]}})

    async def add_class(self, name: str, **fields: str) -> None:
        await self.client.create(
            STORAGE_CLASSES, {"metadata": {"name": name}, "provisioner": DRIVER, **fields}
        )

    async def add_claim(self, name: str, class_name: str = "fast", **spec: Any) -> Object:
        wanted = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class_name,
            "resources": {"requests": {"storage": "1Gi"}},
        }
        metadata = {"name": name, "namespace": "demo"}
        return await self.client.create(
            PERSISTENT_VOLUME_CLAIMS, {"metadata": metadata, "spec": wanted | spec}
        )

    async def add_pod(self, name: str, claim: str, **spec: Any) -> Object:
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
        metadata = {"name": name, "namespace": "demo"}
        return await self.client.create(PODS, {"metadata": metadata, "spec": {"volumes": volumes} | spec})

    async def until(
        self, resource: Resource, name: str, holds: Callable[[Object], Any], namespace: str = ""
    ) -> Object:
        """The object of that name, once it exists and is as asked."""
        found = await self.client.find(resource, name, namespace)
        if found is not None and holds(found):
            return found
        query = {"fieldSelector": f"metadata.name={name}"}
        async with asyncio.timeout(20):
            async for kind, obj in self.client.watch(resource, **query):
                if kind != "DELETED" and holds(obj):
                    return obj
        raise AssertionError("the watch ended")

    async def until_gone(self, resource: Resource, name: str, namespace: str = "") -> None:
        query = {"fieldSelector": f"metadata.name={name}", "resourceVersion": "1"}
        async with asyncio.timeout(20):
            async for kind, _ in self.client.watch(resource, **query):
                if kind == "DELETED":
                    return

    async def until_bound(self, claim: str) -> Object:
        return await self.until(
            PERSISTENT_VOLUME_CLAIMS, claim, lambda obj: obj["status"]["phase"] == "Bound", "demo"
        )

    async def until_event(self, about: str, reason: str, text: str = "") -> Object:
        query = {"fieldSelector": f"involvedObject.name={about},reason={reason}"}
        async with asyncio.timeout(20):
            async for kind, event in self.client.watch(EVENTS, **query):
                if kind != "DELETED" and text in event["message"]:
                    return event
        raise AssertionError("the watch ended")

    async def events(self, about: str) -> list[str]:
        page = await self.client.list_page(EVENTS, fieldSelector=f"involvedObject.name={about}")
        return [event["reason"] for event in page["items"]]

    async def attachment(self, holds: Callable[[Object], Any]) -> Object:
        async with asyncio.timeout(20):
            async for kind, obj in self.client.watch(VOLUME_ATTACHMENTS):
                if kind != "DELETED" and holds(obj):
                    return obj
        raise AssertionError("the watch ended")


CONTROLLERS: tuple[Callable[[Program], object], ...] = (
    PersistentVolumeController,
    AttachDetachController,
    ClaimProtection,
    VolumeProtection,
)


@asynccontextmanager
async def running(
    driver: ScriptedDriver,
    controllers: Sequence[Callable[[Program], object]] = CONTROLLERS,
    pace: Pace = PACE,
) -> AsyncIterator[World]:
    """A control plane without kubelet: pods are bound to nodes, and stay there."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        socket = Path(directory, "csi.sock")
        async with (
            ApiServer(Store(), "t").listening() as url,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
            driver.listening(socket),
        ):
            endpoint = Endpoint(url, "t")
            world = World(Client(session, endpoint, "test"), driver)
            for namespace in ("default", "demo", "kube-system"):
                await world.client.create(NAMESPACES, {"metadata": {"name": namespace}})
            await world.client.create(CSI_DRIVERS, {"metadata": {"name": DRIVER}})
            manager = Program(session, endpoint, "kube-controller-manager", pace)
            for controller in controllers:
                controller(manager)
            scheduler = Program(session, endpoint, "kube-scheduler", pace)
            Scheduler(scheduler)
            installs: list[Callable[..., Awaitable[None]]] = [install_provisioner, install_attacher]
            tasks = [asyncio.create_task(program.run()) for program in (manager, scheduler)]
            tasks += [
                asyncio.create_task(
                    run_sidecar(
                        socket,
                        pace,
                        partial(Program, session, endpoint, "sidecar", pace),
                        partial(install, DRIVER),
                    )
                )
                for install in installs
            ]
            try:
                yield world
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """One node and two classes of a driver that attaches."""
    async with running(ScriptedDriver()) as made:
        await made.add_node("n1")
        await made.add_class("fast")
        await made.add_class("wait", volumeBindingMode="WaitForFirstConsumer")
        yield made


async def test_the_straight_road(world: World) -> None:
    """A claim and a pod: provisioned, bound, scheduled, attached, with all marks of the real programs on the objects."""
    claim = await world.add_claim("c")
    await world.add_pod("p", "c")
    bound = await world.until_bound("c")
    marks = objects.annotations(bound)
    assert marks[objects.STORAGE_PROVISIONER] == marks[objects.STORAGE_PROVISIONER_BETA] == DRIVER
    assert marks[objects.BIND_COMPLETED] == marks[objects.BOUND_BY_CONTROLLER] == "yes"
    assert bound["status"]["capacity"] == {"storage": "1Gi"}
    attachment = await world.attachment(lambda obj: obj["status"]["attached"])
    volume = await world.client.get(PERSISTENT_VOLUMES, f"pvc-{claim['metadata']['uid']}")
    assert volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]
    assert set(objects.finalizers(volume)) == {
        objects.PV_PROTECTION,
        objects.PROVISIONER_FINALIZER,
        "external-attacher/scripted",
    }
    handle = volume["spec"]["csi"]["volumeHandle"]
    assert attachment["metadata"]["name"] == objects.attachment_name(handle, DRIVER, "n1")
    assert objects.annotations(attachment) == {objects.CSI_NODE_ID: "id-n1"}
    assert attachment["status"]["attachmentMetadata"] == {"device": "one"}
    unique = objects.unique_volume_name(DRIVER, handle)
    await world.until(
        NODES,
        "n1",
        lambda node: node["status"].get("volumesAttached") == [{"name": unique, "devicePath": ""}],
    )
    assert world.driver.calls == ["CreateVolume", "ControllerPublishVolume"]


async def test_the_way_back(world: World) -> None:
    """Pod and claim go: detach before delete, and the PV only when nobody holds it."""
    await world.add_claim("c")
    pod = await world.add_pod("p", "c")
    claim = await world.until_bound("c")
    await world.attachment(lambda obj: obj["status"]["attached"])
    await world.client.delete(PODS, pod, grace_seconds=0)
    await world.client.delete(PERSISTENT_VOLUME_CLAIMS, claim)
    await world.until_gone(PERSISTENT_VOLUMES, claim["spec"]["volumeName"])
    assert world.driver.calls[2:] == ["ControllerUnpublishVolume", "DeleteVolume"]
    assert (await world.client.list_page(VOLUME_ATTACHMENTS))["items"] == []


async def test_a_claim_waits_for_its_first_consumer(world: World) -> None:
    """Nothing is provisioned until a pod asks; then for the node that the scheduler chose."""
    await world.add_claim("c", "wait")
    await world.until_event("c", "WaitForFirstConsumer")
    assert world.driver.calls == []
    await world.add_pod("p", "c")
    bound = await world.until_bound("c")
    assert objects.annotations(bound)[objects.SELECTED_NODE] == "n1"
    await world.until(PODS, "p", lambda pod: pod["spec"].get("nodeName") == "n1", "demo")


async def test_failed_provisioning_is_told_and_tried_again(world: World) -> None:
    """Each answer of the driver is an Event in Go's words; an invalid argument is called infeasible."""
    world.driver.failures["CreateVolume"] = [
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INVALID_ARGUMENT,
    ]
    await world.add_claim("c")
    await world.until_bound("c")
    event = await world.until_event("c", "ProvisioningFailed", "code = DeadlineExceeded desc = as scripted")
    assert event["source"]["component"].startswith(f"{DRIVER}_")
    text = "Volume provisioning failed with infeasible error. Retries will be delayed. rpc error"
    await world.until_event("c", "ProvisioningFailed", text)


async def test_an_exhausted_node_is_given_up() -> None:
    """RESOURCE_EXHAUSTED on the selected node takes the selection back, and the scheduler chooses again."""
    driver = ScriptedDriver(topology=True)
    driver.failures["CreateVolume"] = [grpc.StatusCode.RESOURCE_EXHAUSTED]
    async with running(driver) as world:
        await world.add_node("n1", ["zone"])
        await world.add_class("wait", volumeBindingMode="WaitForFirstConsumer")
        await world.add_claim("c", "wait")
        await world.add_pod("p", "c")
        bound = await world.until_bound("c")
        await world.until_event("p", "FailedScheduling", 'selectedNode annotation reset for PVC "c"')
        volume = await world.client.get(PERSISTENT_VOLUMES, bound["spec"]["volumeName"])
        [term] = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        assert term["matchExpressions"] == [{"key": "zone", "operator": "In", "values": ["n1"]}]


async def test_an_unregistered_driver_stops_provisioning() -> None:
    """Topology wanted, and the selected node knows of no driver: the Event that a real cluster shows."""
    async with running(ScriptedDriver(topology=True)) as world:
        await world.add_node("n1")
        await world.add_class("wait", volumeBindingMode="WaitForFirstConsumer")
        await world.add_claim("c", "wait")
        await world.add_pod("p", "c")
        text = "error generating accessibility requirements: no topology key found for node n1"
        await world.until_event("c", "ProvisioningFailed", text)
        assert world.driver.calls == []


async def test_a_driver_that_does_not_attach() -> None:
    """The trivial handler: attached, without finalizer, annotation or call."""
    async with running(ScriptedDriver(attaches=False)) as world:
        await world.add_node("n1")
        await world.add_class("fast")
        await world.add_claim("c")
        await world.add_pod("p", "c")
        attachment = await world.attachment(lambda obj: obj["status"]["attached"])
        assert objects.finalizers(attachment) == []
        assert objects.annotations(attachment) == {}
        assert world.driver.calls == ["CreateVolume"]


async def test_a_failed_attach(world: World) -> None:
    """attachError has the driver's words, the pod's Event repeats them, and success clears them."""
    world.driver.failures["ControllerPublishVolume"] = [grpc.StatusCode.INTERNAL] * 6
    await world.add_claim("c")
    await world.add_pod("p", "c")
    words = "rpc error: code = Internal desc = as scripted"
    await world.until_event("p", "FailedAttachVolume", words)
    attachment = await world.attachment(lambda obj: obj["status"]["attached"])
    assert "attachError" not in attachment["status"]
    await world.until_event("p", "SuccessfulAttachVolume")


async def test_a_failed_detach(world: World) -> None:
    """detachError is all that tells of it: the attachment stays, and no Event is written."""
    world.driver.failures["ControllerUnpublishVolume"] = [grpc.StatusCode.UNAVAILABLE]
    await world.add_claim("c")
    pod = await world.add_pod("p", "c")
    attachment = await world.attachment(lambda obj: obj["status"]["attached"])
    # The controller has to know that it is attached, or this would be the end of an attach that never was.
    await world.until_event("p", "SuccessfulAttachVolume")
    watching = asyncio.create_task(world.attachment(lambda obj: "detachError" in obj["status"]))
    await world.client.delete(PODS, pod, grace_seconds=0)
    failed = await watching
    assert failed["status"]["detachError"]["message"] == "rpc error: code = Unavailable desc = as scripted"
    await world.until_gone(VOLUME_ATTACHMENTS, attachment["metadata"]["name"])
    assert "FailedDetachVolume" not in await world.events("p")


async def test_a_volume_for_one_node_is_not_given_to_two(world: World) -> None:
    """Multi-Attach: said to the second pod, and its volume comes when the first node has let go."""
    await world.add_node("n2")
    await world.add_claim("c")
    first = await world.add_pod("p1", "c", nodeName="n1")
    await world.attachment(lambda obj: obj["spec"]["nodeName"] == "n1" and obj["status"]["attached"])
    await world.add_pod("p2", "c", nodeName="n2")
    event = await world.until_event("p2", "FailedAttachVolume")
    assert event["message"].startswith("Multi-Attach error for volume")
    await world.client.delete(PODS, first, grace_seconds=0)
    await world.attachment(lambda obj: obj["spec"]["nodeName"] == "n2" and obj["status"]["attached"])


async def test_a_retained_volume_stays(world: World) -> None:
    """Reclaim policy Retain: Released, and nothing more."""
    await world.add_class("keep", reclaimPolicy="Retain")
    await world.add_claim("c", "keep")
    claim = await world.until_bound("c")
    await world.client.delete(PERSISTENT_VOLUME_CLAIMS, claim)
    name = claim["spec"]["volumeName"]
    await world.until(PERSISTENT_VOLUMES, name, lambda volume: volume["status"]["phase"] == "Released")
    assert "DeleteVolume" not in world.driver.calls


async def test_a_static_volume_is_found(world: World) -> None:
    """Available, then bound to the claim that it fits, which is marked on it; it is never provisioned."""
    spec = {
        "capacity": {"storage": "2Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "",
        "csi": {"driver": DRIVER, "volumeHandle": "static"},
    }
    await world.client.create(PERSISTENT_VOLUMES, {"metadata": {"name": "static"}, "spec": spec})
    await world.until(PERSISTENT_VOLUMES, "static", lambda volume: volume["status"]["phase"] == "Available")
    await world.add_claim("c", "")
    bound = await world.until_bound("c")
    assert bound["spec"]["volumeName"] == "static"
    volume = await world.client.get(PERSISTENT_VOLUMES, "static")
    assert objects.annotations(volume) == {objects.BOUND_BY_CONTROLLER: "yes"}
    assert world.driver.calls == []


async def test_a_claim_can_lose_its_volume(world: World) -> None:
    """The PV is taken away under it: phase Lost, and a warning."""
    await world.add_claim("c")
    claim = await world.until_bound("c")
    volume = await world.client.get(PERSISTENT_VOLUMES, claim["spec"]["volumeName"])
    await world.client.delete(PERSISTENT_VOLUMES, volume)
    await world.client.patch(PERSISTENT_VOLUMES, volume, {"metadata": {"finalizers": None}})
    await world.client.patch(PERSISTENT_VOLUME_CLAIMS, claim, {"metadata": {"labels": {"touched": "yes"}}})
    await world.until(PERSISTENT_VOLUME_CLAIMS, "c", lambda obj: obj["status"]["phase"] == "Lost", "demo")
    await world.until_event("c", "ClaimLost")


@pytest.mark.parametrize(
    ("class_name", "reason", "text"),
    [
        ("nowhere", "ProvisioningFailed", 'storageclass.storage.k8s.io "nowhere" not found'),
        ("", "FailedBinding", "no storage class is set"),
    ],
)
async def test_why_a_claim_is_not_provisioned(world: World, class_name: str, reason: str, text: str) -> None:
    """The PV controller itself says what is wrong with the class."""
    await world.add_claim("c", class_name)
    event = await world.until_event("c", reason, text)
    assert event["source"] == {"component": "persistentvolume-controller"}


async def test_scheduler_events_have_the_newer_shape(world: World) -> None:
    """Through events.k8s.io: eventTime set, the legacy times empty, repetitions as a series."""
    await world.add_pod("p", "missing")
    event = await world.until_event("p", "FailedScheduling", 'persistentvolumeclaim "missing" not found')
    assert event["eventTime"]
    assert (event["firstTimestamp"], event["lastTimestamp"], event["source"]) == (None, None, {})
    pod = await world.until(PODS, "p", lambda obj: objects.condition(obj, "PodScheduled"), "demo")
    assert (objects.condition(pod, "PodScheduled") or {})["reason"] == "Unschedulable"
