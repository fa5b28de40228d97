"""The Nodes screen: who is ready, who is heard, what is mounted and served there, and what is unknown, because of what."""

from csitrace.lifecycle.nodes import NodeView, node_views, parse_node_filter
from csitrace.lifecycle.row import volume_rows
from csitrace.lifecycle.views import Severity
from csitrace.model import events
from csitrace.model.events import Witness
from csitrace.model.fuse import DaemonStatus
from csitrace.model.kubernetes import Taint
from csitrace.model.times import SECOND
from tests import fleet
from tests.fleet import HOME, driver_pod, kubelet_lease, node
from tests.story import Story


def views(told: Story, later: float = 0) -> dict[str, NodeView]:
    now = told.at + int(later * SECOND)
    return {view.name: view for view in node_views(told.state, volume_rows(told.state, now), now)}


def texts(view: NodeView) -> str:
    return "\n".join(text for _, text in view.findings)


def test_a_node_that_is_well() -> None:
    """Ready, heard, with its volume, mount and daemon, and nothing to say about it."""
    view = views(fleet.fleet())["n1"]
    assert (view.status, view.kernel, view.in_use, view.attached, view.mounts) == ("Ready", True, 1, 1, 1)
    assert [(daemon.volume, daemon.trouble) for daemon in view.daemons] == [("shop/orders", "")]
    assert (view.severity, view.findings) == (Severity.OK, ())


def test_the_worst_node_comes_first() -> None:
    """n3 does not report, n2 is full, n1 is well: in this order."""
    told = fleet.fleet()
    assert [view.name for view in node_views(told.state, volume_rows(told.state, told.at), told.at)] == [
        "n3",
        "n2",
        "n1",
    ]


def test_a_node_that_does_not_report_says_since_when_and_what_is_not_heard() -> None:
    """Kubelet's silence, its expired Lease, the taint and the silent kernel are all told; what it had is still counted."""
    view = views(fleet.fleet())["n3"]
    assert (view.status, view.ready, view.expired, view.kernel) == ("Unknown", None, True, False)
    assert view.taints == ("node.kubernetes.io/unreachable:NoExecute",)
    assert view.findings[0][1].startswith("Unknown for 5m")
    assert "its mounts are unknown: agent: no answer for 40s" in texts(view)
    assert (view.attached, view.mounts) == (1, 1)


def test_a_lease_that_kubelet_does_not_renew_warns_before_the_node_is_not_ready() -> None:
    """The node still counts as Ready, while its kubelet has been silent for longer than its Lease is good for."""
    told = fleet.fleet()
    told.put(kubelet_lease("n1", told.at, silent=45))
    view = views(told)["n1"]
    assert view.severity is Severity.SLOW
    assert "kubelet does not renew its Lease since" in view.finding


def test_cordoned_and_out_of_service() -> None:
    """A cordoned node says so as kubectl does and is well; one that is out of service is not."""
    told = fleet.fleet().put(node("n1", cordoned=True))
    assert (views(told)["n1"].status, views(told)["n1"].severity) == ("Ready,cordoned", Severity.OK)
    taint = Taint(key="node.kubernetes.io/out-of-service", effect="NoExecute")
    told.put(node("n1", taints=(taint, Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule"))))
    view = views(told)["n1"]
    assert view.taints == ("node.kubernetes.io/out-of-service:NoExecute",)
    assert "out-of-service" in view.finding


def test_a_hung_daemon_is_the_nodes_finding_with_its_volume_and_pod() -> None:
    """The daemon of cart is stopped while two requests wait: it is counted, and its pod is named."""
    told = fleet.fleet().put(driver_pod("fuse-cart", "n2", "fuse"))
    stopped = DaemonStatus(pid=4042, name="driver_ref.fs", state="T", pod_uid=f"uid-pod-{HOME}-fuse-cart")
    told.tell(
        events.FuseObserved(node_name="n2", connection=42, volume_id="vol-cart", waiting=2, daemon=stopped)
    )
    view = views(told)["n2"]
    assert (view.hung, view.waiting) == (1, 2)
    assert (view.daemons[0].volume, view.daemons[0].pod) == ("shop/cart", f"{HOME}/fuse-cart")
    assert view.finding.startswith("shop/cart: FUSE daemon (pid 4042) is stopped")


def test_a_daemon_that_is_gone_counts_only_while_it_is_mounted() -> None:
    """Its files answer ENOTCONN until the mount is taken away; then nothing is left of it."""
    told = fleet.fleet()
    gone = DaemonStatus(pid=4041, exited="killed by SIGKILL")
    told.tell(events.FuseObserved(node_name="n1", connection=41, volume_id="vol-orders", daemon=gone))
    assert "killed by SIGKILL" in views(told)["n1"].finding
    mount = next(fact.mount for fact in told.state.mounts.values() if fact.mount.minor == 41)
    told.tell(events.MountVanished(node_name="n1", mount=mount))
    assert views(told)["n1"].daemons == ()


def test_a_node_that_is_no_more_but_has_volumes() -> None:
    """The Node was deleted while a volume stands attached to it: it stays listed, and says why."""
    told = fleet.fleet().remove(node("n3", "Unknown"))
    view = views(told)["n3"]
    assert view.unseen == "there is no such Node"
    assert "there is no such Node, but it has 1 volume" in texts(view)


def test_nodes_that_may_not_be_read_are_unknown() -> None:
    """A user without the right to read Nodes sees the nodes that pods and feeds name, and that their state is unknown."""
    told = Story().hear_everyone("n1")
    told.tell(
        events.SourceDown(witness=Witness.KUBERNETES, scope="Node", reason="may not list nodes", denied=True)
    )
    fleet.volume(told, "orders", "n9")
    view = views(told)["n9"]
    assert (view.unseen, view.status, view.in_use) == ("may not list nodes", "?", None)
    assert "no such" not in texts(view)


def test_a_node_that_nobody_listens_to_is_no_finding() -> None:
    """Without an agent nothing is known of its mounts, which is told where it is asked for, and troubles nobody."""
    told = fleet.fleet().put(node("n4")).put(fleet.csi_node("n4")).put(kubelet_lease("n4", fleet.fleet().at))
    view = views(told)["n4"]
    assert (view.kernel, view.mounts, view.severity) == (None, None, Severity.OK)
    assert view.kernel_silence == "no one reports the mounts of node n4"


def test_a_node_that_has_just_come_has_not_reported_yet() -> None:
    """A Node without a Ready condition is neither ready nor given up."""
    told = fleet.fleet().put(node("n5"))
    bare = node("n5")
    told.put(type(bare)(metadata=bare.metadata))
    assert "its kubelet has not reported yet" in views(told)["n5"].finding


def test_nodes_are_filtered_by_the_same_language() -> None:
    """Fields of nodes: status, taint, driver, numbers."""
    told = fleet.fleet()
    found = {
        text: [name for name, view in views(told).items() if parse_node_filter(text).matches(view, told.at)]
        for text in ("status:ready", "taint:unreachable", "attached>1", "mounts:* and not n2")
    }
    assert found == {
        "status:ready": ["n2", "n1"], "taint:unreachable": ["n3"], "attached>1": ["n2"], "mounts:* and not n2": ["n3", "n1"],
    }  # fmt: skip
