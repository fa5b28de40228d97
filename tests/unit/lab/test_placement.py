"""Where pods may go: each filter, in the scheduler's words."""

import pytest

from csitrace.lab.loops.placement import UnschedulableError, Wanted, choose_node, tolerates
from csitrace.lab.status import Object

UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}


def node(name: str, **spec: object) -> Object:
    return {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "spec": spec}


def pod(**spec: object) -> Object:
    return {"metadata": {"name": "p", "namespace": "demo"}, "spec": spec}


def refusal(wanted: Wanted, *nodes: Object) -> str:
    with pytest.raises(UnschedulableError) as refused:
        choose_node(wanted, nodes, [])
    return str(refused.value)


def test_the_emptier_node_is_chosen() -> None:
    """Of nodes that fit, the one with the fewest pods; by name where they are equal."""
    nodes = [node("n1"), node("n2")]
    assert choose_node(Wanted(pod()), nodes, []) == "n1"
    assert choose_node(Wanted(pod()), nodes, [pod(nodeName="n1")]) == "n2"


def test_reasons_are_counted() -> None:
    """Each node by the first filter that refuses it; the text that a real cluster was recorded to write."""
    wanted = Wanted(pod(nodeSelector={"kubernetes.io/hostname": "n2"}), is_blocked=True)
    assert refusal(wanted, node("n1"), node("n2")) == (
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) unavailable due to "
        "PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod. no new claims to deallocate, "
        "preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for "
        "scheduling."
    )


@pytest.mark.parametrize(
    ("wanted", "spec", "why"),
    [
        (Wanted(pod()), {"unschedulable": True}, "node(s) were unschedulable"),
        (
            Wanted(pod()),
            {"taints": [UNREACHABLE]},
            "node(s) had untolerated taint {node.kubernetes.io/unreachable: }",
        ),
        (
            Wanted(pod(), selected=frozenset({"n2"})),
            {},
            "node(s) didn't find available persistent volumes to bind",
        ),
        (
            Wanted(
                pod(),
                places=(
                    {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
                        ]
                    },
                ),
            ),
            {},
            "node(s) didn't match PersistentVolume's node affinity",
        ),
    ],
)
def test_why_a_node_is_refused(wanted: Wanted, spec: Object, why: str) -> None:
    """Cordoned, tainted, promised elsewhere, out of the volume's reach."""
    assert refusal(wanted, node("n1", **spec)).startswith(f"0/1 nodes are available: 1 {why}. ")


def test_what_is_tolerated() -> None:
    """No key with Exists is every taint; no effect is every effect; Equal compares the values."""
    assert tolerates({"operator": "Exists"}, UNREACHABLE)
    assert tolerates({"key": UNREACHABLE["key"], "operator": "Exists"}, UNREACHABLE)
    assert not tolerates({"key": UNREACHABLE["key"], "value": "x"}, UNREACHABLE)
    assert not tolerates({"operator": "Exists", "effect": "NoSchedule"}, UNREACHABLE)
