"""The Drivers screen: who a driver's pods are, who leads, where it is registered, and what is unknown, because of what."""

import pytest

from csitrace.lifecycle.driver_pods import (
    is_controller_pod,
    is_node_pod,
    looks_like_driver,
    sidecars,
)
from csitrace.lifecycle.drivers import DriverView, driver_views, parse_driver_filter, settings
from csitrace.lifecycle.leases import lease_names
from csitrace.lifecycle.row import volume_rows
from csitrace.lifecycle.views import Severity
from csitrace.model import events, kinds
from csitrace.model.events import Witness
from csitrace.model.times import MINUTE, SECOND
from tests import fleet
from tests.fleet import ATTACHER_LEASE, DASHES, HOME, driver_pod, lease
from tests.story import DRIVER, Story, csi_driver, storage_class


def views(told: Story, later: float = 0) -> dict[str, DriverView]:
    now = told.at + int(later * SECOND)
    return {view.name: view for view in driver_views(told.state, volume_rows(told.state, now), now)}


def the_driver(told: Story, later: float = 0) -> DriverView:
    return views(told, later)[DRIVER]


def texts(view: DriverView) -> str:
    return "\n".join(text for _, text in view.findings)


def test_a_drivers_replicas_are_found_by_who_holds_its_leases() -> None:
    """Each sidecar's leader is the pod that its Lease names; the other replica of the same owner is a pod of the driver, too."""
    view = the_driver(fleet.fleet())
    assert {(leader.sidecar, leader.pod, leader.expired) for leader in view.leaders} == {
        ("external-attacher", f"{HOME}/controller-0", False),
        ("external-provisioner", f"{HOME}/controller-1", False),
    }
    controllers = [pod.name for pod in view.pods if pod.roles == ("controller",)]
    assert controllers == [f"{HOME}/controller-0", f"{HOME}/controller-1"]
    assert [pod.node_name for pod in view.pods if "node" in pod.roles] == list(fleet.NODES)


def test_a_lease_that_is_not_renewed_in_time_stands_out() -> None:
    """Renewed a minute ago and good for 15 s: nobody attaches, and that is the driver's first finding."""
    told = fleet.fleet()
    told.put(lease(ATTACHER_LEASE, "controller-0", told.at, silent=60))
    view = the_driver(told)
    assert [leader.sidecar for leader in view.leaders if leader.expired] == ["external-attacher"]
    assert view.severity is Severity.STUCK
    assert "external-attacher: controller-0 does not renew its Lease" in texts(view)


def test_a_lease_of_which_nothing_is_heard_is_not_called_stale() -> None:
    """Where Leases are not heard any more, their age says nothing of who leads."""
    told = fleet.fleet()
    told.tell(events.SourceDown(witness=Witness.KUBERNETES, scope="Lease", reason="may not watch leases"))
    assert not any(leader.expired for leader in the_driver(told, later=600).leaders)


def test_a_holder_that_is_no_pod_is_said_to_be_none() -> None:
    """Sidecars that run as plain processes hold their Leases in the name of a host: there is no pod, and the reason is told."""
    told = Story().hear_everyone().put(csi_driver()).put(storage_class())
    told.put(lease(DASHES, "host-17", told.at, namespace="kube-system"))
    view = the_driver(told)
    assert not view.pods
    assert "host-17, which is no pod here" in view.pods_unknown


def test_nodes_registered_and_missing() -> None:
    """Of the ready nodes those without an entry in CSINode are missing; a pod that waits there makes it a finding."""
    told = fleet.fleet()
    told.put(fleet.csi_node("n1", driver=""))
    view = the_driver(told)
    assert (view.registered, view.missing) == (2, ("n1",))
    assert "not registered on n1, where 1 volume must be mounted" in texts(view)


def test_volumes_are_counted_against_the_limit_once_each() -> None:
    """What is attached and used counts once; n2, which holds two of two, is said to be full."""
    view = the_driver(fleet.fleet())
    full = view.fullest
    assert full is not None
    assert (full.node_name, full.counted, full.limit, full.attached, full.used) == ("n2", 2, 2, 2, 2)
    assert "n2 is full: 2 of 2 volumes" in texts(view)


def test_a_driver_without_a_csidriver_object_is_listed_and_said_to_be_so() -> None:
    """A driver that only registered with kubelet has a row; attach is then taken to be required."""
    told = fleet.fleet().put(fleet.csi_node("n1", driver="other.example.com"))
    view = views(told)["other.example.com"]
    assert (view.spec, view.attach_required, view.registered) == (None, True, 1)
    assert "no CSIDriver object" in view.undeclared


def test_a_csidriver_that_may_not_be_read_is_unknown_not_missing() -> None:
    """Without the right to read CSIDrivers nobody says that there is none."""
    told = Story().hear_everyone().put(storage_class())
    told.tell(events.SourceDown(
        witness=Witness.KUBERNETES, scope="CSIDriver", reason="may not list csidrivers", denied=True
    ))  # fmt: skip
    view = the_driver(told)
    assert view.attach_required is None
    assert view.undeclared == "may not list csidrivers"


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        ("CSINode", lambda view: view.registered is None and not view.missing),
        ("Lease", lambda view: view.leaders_unknown == "may not list"),
        ("Pod", lambda view: view.pods_unknown == "may not list"),
    ],
)
def test_what_may_not_be_read_is_unknown_because_of_that(kind: str, read: object) -> None:
    """A refused list of each kind becomes "unknown, because …", never "none"."""
    told = Story()
    for each in kinds.KINDS:
        if each.name == kind:
            told.tell(
                events.SourceDown(witness=Witness.KUBERNETES, scope=kind, reason="may not list", denied=True)
            )
        else:
            told.tell(events.SourceUp(witness=Witness.KUBERNETES, scope=each.name))
    told.put(csi_driver()).put(storage_class()).put(fleet.node("n1"))
    assert read(the_driver(told))  # type: ignore[operator]  # a question about a view


def test_pods_in_trouble_are_named() -> None:
    """A node pod that crashes is told with its node and reason; so is a replica of the controller."""
    told = fleet.fleet()
    told.put(
        driver_pod("node-n1", "n1", "node-driver-registrar", directory=DRIVER, waiting="CrashLoopBackOff")
    )
    told.put(
        driver_pod("controller-1", "n2", "csi-provisioner", owner="controller", waiting="ImagePullBackOff")
    )
    found = texts(the_driver(told))
    assert f"pod {HOME}/node-n1 on n1 node-driver-registrar: CrashLoopBackOff" in found
    assert f"pod {HOME}/controller-1 csi-provisioner: ImagePullBackOff" in found


def test_calls_in_flight_and_failed() -> None:
    """A call without an answer is in flight; of those answered in the last minutes the failed ones are counted."""
    told = fleet.fleet()
    told.rpc("NodeStageVolume").rpc("NodeStageVolume", 14, "not now")
    told.call("ControllerPublishVolume", volume_id="vol-1")
    view = the_driver(told)
    assert (view.in_flight, view.answered, view.failed) == (1, 2, 1)
    assert view.oldest_call == "ControllerPublishVolume vol-1"
    later = the_driver(told, later=6 * MINUTE / SECOND)
    assert (later.in_flight, later.answered) == (1, 0)


def test_two_drivers_of_one_namespace_do_not_share_pods() -> None:
    """A pod that nothing but its namespace ties to a driver belongs to none where several drivers live."""
    told = fleet.fleet()
    other = "other.example.com"
    told.put(fleet.csi_node("n1", driver=other)).put(
        lease(lease_names(other)["external-attacher"], "x", told.at)
    )
    told.put(driver_pod("stray", "n1", "csi-attacher"))
    assert all(pod.name != f"{HOME}/stray" for view in views(told).values() for pod in view.pods)


def test_settings_are_told_with_what_they_mean() -> None:
    """Every setting of the CSIDriver is there; attachRequired says what it leads to."""
    told = settings(the_driver(fleet.fleet()))
    assert [name for name, _, _ in told] == [
        "attachRequired", "podInfoOnMount", "fsGroupPolicy", "storageCapacity", "volumeLifecycleModes", "tokenRequests",
        "requiresRepublish", "seLinuxMount",
    ]  # fmt: skip
    assert told[0][1:] == ("yes", "ControllerPublishVolume before a node may mount")


def test_sidecars_are_known_by_container_or_image() -> None:
    """The usual names of containers and images, and none of a provisioner that is no CSI driver."""
    assert sidecars(driver_pod("a", "n1", "csi-provisioner", "liveness-probe")) == ("external-provisioner",)
    assert is_controller_pod(driver_pod("b", "n1", "ebs-plugin", "csi-attacher"))
    assert is_node_pod(driver_pod("c", "n1", "driver-registrar"))
    assert not looks_like_driver(driver_pod("d", "n1", "nfs-subdir-external-provisioner"))


def test_drivers_are_filtered_by_the_same_language() -> None:
    """Fields of drivers: class, missing nodes, calls."""
    told = fleet.fleet().put(fleet.csi_node("n1", driver="other.example.com"))
    told.call("NodeStageVolume", volume_id="vol-1")
    found = {
        text: [view.name for view in views(told).values() if parse_driver_filter(text).matches(view, told.at)]
        for text in ("class:fast", "missing:n1 and calls>0", "not class:fast")
    }
    assert found == {
        "class:fast": [DRIVER],
        "missing:n1 and calls>0": [DRIVER],
        "not class:fast": ["other.example.com"],
    }
