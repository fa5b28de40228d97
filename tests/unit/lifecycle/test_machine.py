"""The CSI state machine is the specification's, and the diagram in the docs is drawn from it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
