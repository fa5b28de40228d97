"""The CSI state machine is the specification's, and the diagram in the docs is drawn from it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from csitrace.lifecycle.machine import LEADS_TO, TRANSITIONS, Phase, after, check_call, phase_of
from csitrace.lifecycle.machine_diagram import mermaid
from csitrace.lifecycle.state import Call
from tests.story import Story, straight_road, way_back_road

ROOT = Path(__file__).parents[3]


def call(method: str, code: int = 0, seq: int = 1) -> Call:
    return Call(
        method=method,
        driver="d",
        instance="i",
        call_id=seq,
        started_at=seq,
        seq=seq,
        volume_id="v",
        code=code,
    )


@pytest.mark.parametrize(
    "road",
    [
        # figure 6: everything a driver can do
        ["CreateVolume", "ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume",
         "NodeUnpublishVolume", "NodeUnstageVolume", "ControllerUnpublishVolume", "DeleteVolume"],
        # figure 5: no staging
        ["CreateVolume", "ControllerPublishVolume", "NodePublishVolume", "NodeUnpublishVolume",
         "ControllerUnpublishVolume", "DeleteVolume"],
        # no attach
        ["CreateVolume", "NodeStageVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume", "DeleteVolume"],
        # figure 8: node only
        ["NodePublishVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnpublishVolume"],
    ],
    ids=["whole", "no staging", "no attach", "node only"],
)  # fmt: skip
def test_the_specifications_roads_are_allowed(road: list[str]) -> None:
    """Every figure of the specification's "Volume Lifecycle" can be walked without an anomaly."""
    calls = [call(method, seq=seq) for seq, method in enumerate(road, 1)]
    for seq, one in enumerate(calls):
        assert check_call(one, calls[:seq]) == ""


@pytest.mark.parametrize(
    ("earlier", "wrong"),
    [
        (
            ["CreateVolume", "ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume"],
            "ControllerUnpublishVolume",
        ),
        (["CreateVolume", "ControllerPublishVolume"], "DeleteVolume"),
        (
            ["CreateVolume", "ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume"],
            "NodeUnstageVolume",
        ),
    ],
)
def test_what_no_figure_allows_is_an_anomaly(earlier: list[str], wrong: str) -> None:
    """Detaching what is published, deleting what is attached, unstaging what is published: told, with the phase."""
    calls = [call(method, seq=seq) for seq, method in enumerate(earlier, 1)]
    text = check_call(call(wrong, seq=99), calls)
    assert wrong in text
    assert phase_of(calls) in text


def test_nodes_are_told_apart() -> None:
    """A volume that two nodes use may be detached from one while it is published on the other, and not while on that one."""
    there = [
        replace(call(method, seq=seq), node_name="n1", node_id=node_id)
        for seq, (method, node_id) in enumerate(
            [
                ("CreateVolume", ""),
                ("ControllerPublishVolume", "n1"),
                ("ControllerPublishVolume", "n2"),
                ("NodeStageVolume", ""),
                ("NodePublishVolume", ""),
            ],
            1,
        )
    ]
    detach = replace(call("ControllerUnpublishVolume", seq=99), node_name="n1")
    assert check_call(replace(detach, node_id="n2"), there) == ""
    assert "in phase PUBLISHED" in check_call(replace(detach, node_id="n1"), there)


def test_what_another_process_tells_has_no_certain_order() -> None:
    """A feed that comes in late tells of staging after another told that the volume was deleted: no anomaly."""
    gone = [
        replace(call(method, seq=seq), instance="controller", node_name="n1", node_id=node_id)
        for seq, (method, node_id) in enumerate(
            [("ControllerPublishVolume", "n2"), ("ControllerUnpublishVolume", "n2"), ("DeleteVolume", "")], 1
        )
    ]
    staged = replace(call("NodeStageVolume", seq=99), instance="node", node_name="n2")
    assert check_call(staged, gone) == ""
    assert "in phase absent" in check_call(replace(staged, node_name="n1"), gone)


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted({method for _, method in TRANSITIONS})), st.sampled_from([0, 13]))
    )
)
def test_any_sequence_of_calls_has_a_phase(sequence: list[tuple[str, int]]) -> None:
    """Whatever a driver answers, there is a phase, and refused calls change nothing."""
    calls = [call(method, code, seq) for seq, (method, code) in enumerate(sequence, 1)]
    assert phase_of(calls) is phase_of([one for one in calls if one.code == 0])
    assert isinstance(phase_of(calls), Phase)


def test_who_comes_late_makes_no_anomaly() -> None:
    """Without the earlier calls the phase is unknown, and every call is allowed."""
    for _, method in TRANSITIONS:
        assert after(Phase.UNKNOWN, method) in (LEADS_TO.get(method, Phase.UNKNOWN),)


def test_the_straight_road_and_back_has_no_anomaly() -> None:
    """What real sidecars and kubelet call, in their order, is allowed."""
    story: Story = way_back_road(straight_road()[-1][1])
    assert story.state.anomalies == ()


def test_the_diagram_in_the_docs_is_the_table() -> None:
    """docs/lifecycle.md carries the diagram that the table draws. To mend it: paste what the assertion shows."""
    assert mermaid() in (ROOT / "docs" / "lifecycle.md").read_text()
