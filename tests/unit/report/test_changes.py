"""Changes between two moments, and the lines they become."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from csitrace.lifecycle.filter import parse_volume_filter
from csitrace.lifecycle.views import Severity, VolumeRow
from csitrace.model.times import MINUTE, SECOND
from csitrace.report.changes import Change, Follower, What, changes
from csitrace.report.lines import json_line, text_line
from tests.tui.synthetic import NOW, REFUSED, phases, row

MOVING = row(
    "shop/data",
    Severity.MOVING,
    step_id="12",
    step_title="attacher sees it",
    since=NOW - MINUTE,
    phases=phases("●◐○○"),
)
STUCK = replace(
    MOVING, step_id="13", step_title="ControllerPublishVolume", since=NOW - 20 * SECOND, severity=Severity.STUCK,
    finding="volume is attached to n9", verdict=REFUSED, phases=phases("●✗○○"),
)  # fmt: skip
GONE = replace(STUCK, severity=Severity.GONE, step_id="b13", finding="")


def told(before: VolumeRow | None, after: VolumeRow) -> list[What]:
    known = {before.key: before} if before is not None else {}
    return [change.what for change in changes(known, [after])]


def test_what_is_a_change() -> None:
    """A new volume, another step, another severity at the same step, and its end; nothing else."""
    assert told(None, MOVING) == [What.APPEARED]
    assert told(MOVING, STUCK) == [What.STEP]
    assert told(MOVING, replace(MOVING, severity=Severity.SLOW)) == [What.SEVERITY]
    assert told(STUCK, GONE) == [What.GONE]
    assert told(MOVING, replace(MOVING, ops_per_second=3.0, finding="other words")) == []
    assert told(None, GONE) == []
    assert told(GONE, GONE) == []


STEPS = st.lists(
    st.tuples(st.sampled_from(["1", "6", "13", "17"]), st.sampled_from(list(Severity))), min_size=1
)


@given(STEPS)
def test_the_lines_alone_tell_the_last_step_and_severity(course: list[tuple[str, Severity]]) -> None:
    """Whoever reads only the changes knows the volume's step and severity at every moment."""
    follower = Follower(parse_volume_filter(""))
    known: VolumeRow | None = None
    for step_id, severity in course:
        current = replace(MOVING, step_id=step_id, severity=severity)
        for change in follower.update([current], NOW):
            known = change.row
        if known is None:
            assert severity is Severity.GONE
        else:
            assert (known.severity is Severity.GONE) == (severity is Severity.GONE)
            assert severity is Severity.GONE or (known.step_id, known.severity) == (step_id, severity)


def test_a_filter_hides_volumes_and_shows_them_when_they_begin_to_match() -> None:
    """`stuck>30s` prints a volume when it has been stuck for that long, and not before."""
    follower = Follower(parse_volume_filter("stuck>30s"))
    assert follower.update([STUCK], NOW) == []
    assert [change.what for change in follower.update([STUCK], NOW + 11 * SECOND)] == [What.APPEARED]


def test_text_line() -> None:
    """Time, severity, claim, step, the time spent in the step before, nodes, finding; on one line, whatever was said."""
    text = text_line(Change(What.STEP, replace(STUCK, finding="two\nlines \x1b[2J"), MOVING), NOW)
    assert text == (
        "14:02:11.000Z  STUCK    shop/data  13 ControllerPublishVolume  after 40s  n5  two lines  [2J"
    )


def test_json_line_is_one_object_with_nothing_invented() -> None:
    """What is not known is null; times are RFC 3339, durations milliseconds."""
    told = json.loads(json_line(Change(What.STEP, STUCK, MOVING), NOW))
    assert told["change"] == "step"
    assert (told["namespace"], told["claim"], told["step"], told["previousStep"]) == (
        "shop",
        "data",
        "13",
        "12",
    )
    assert told["previousStepMs"] == 40_000
    assert told["severity"] == "stuck"
    assert told["phase"] == "CREATED"
    assert told["since"] == "2026-03-04T14:01:51.000Z"
    first = json.loads(
        json_line(Change(What.APPEARED, replace(MOVING, since=None, phases=phases("○○○○"))), NOW)
    )
    assert (first["since"], first["phase"], first["previousStep"], first["previousStepMs"]) == (None,) * 4
