"""A pod that the scheduler refuses for nodes that are cordoned: the sentence names them, as far as they can be seen."""

import pytest
from msgspec.structs import replace

from csitrace.lifecycle.views import Severity
from csitrace.model.events import Witness
from csitrace.model.kubernetes import Node, NodeSpec
from tests.story import NODE, Story, claim, csi_driver, meta, node, pod, storage_class

REFUSED = (
    "0/2 nodes are available: 2 node(s) were unschedulable. preemption: 0/2 nodes are available: "
    "2 Preemption is not helpful for scheduling."
)


def cordoned(name: str = NODE) -> Node:
    return replace(node(), metadata=meta(name, f"uid-{name}"), spec=NodeSpec(unschedulable=True))


def refused(message: str, *nodes: Node) -> Story:
    story = Story().hear_everyone().put(storage_class()).put(csi_driver())
    for each in nodes:
        story.put(each)
    return story.put(claim()).put(pod(unschedulable=message))


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("n1",), "node n1 is cordoned"),
        (("n2", "n1"), "nodes n1, n2 are cordoned"),
        (("n1", "n2", "n3", "n4", "n5"), "nodes n1, n2, n3 and 2 more are cordoned"),
    ],
)
def test_the_cordoned_nodes_are_named(names: tuple[str, ...], text: str) -> None:
    """The scheduler counts them; their own objects tell which they are, and are the evidence."""
    story = refused(REFUSED, *(cordoned(name) for name in names))
    word = story.verdict()
    assert (word.severity, word.step_id) == (Severity.STUCK, "3")
    assert word.sentence == f"node chosen: {REFUSED}; {text}"
    assert [(e.witness, e.seq > 0) for e in word.evidence if e.text == text] == [(Witness.KUBERNETES, True)]


def test_a_cordoned_node_of_which_the_scheduler_does_not_speak_is_no_matter() -> None:
    """What keeps the pod is what the scheduler says; a node may be cordoned besides."""
    assert (
        "cordoned"
        not in refused("0/2 nodes are available: 2 Insufficient cpu.", cordoned()).verdict().sentence
    )


def test_without_nodes_to_read_the_schedulers_words_stand_alone() -> None:
    """Nobody is named where nodes may not be read, or where the node has been uncordoned since."""
    assert refused(REFUSED).verdict().sentence == f"node chosen: {REFUSED}"
    assert refused(REFUSED, node()).verdict().sentence == f"node chosen: {REFUSED}"
