"""The two lines over every screen: what gives way where there is no room; a witness that is heard, and late."""

from dataclasses import replace

from csitrace.lifecycle.views import Severity, WitnessView
from csitrace.model.events import Witness
from csitrace.model.times import SECOND
from csitrace.tui.header import header_lines, witness_line
from csitrace.tui.lines import text_of
from csitrace.tui.recording import RecordingStatus
from csitrace.tui.watched import Playhead
from tests.story import START
from tests.tui.synthetic import Synthetic, row


def test_a_witness_that_is_late_is_not_said_to_be_well() -> None:
    """All of it is heard, and two minutes old: no green sign, how late it is, and that a wrong clock may be the cause."""
    late = WitnessView(Witness.KUBERNETES, 10, 10, 0, delay_ns=120 * SECOND)
    assert text_of(witness_line(late, SECOND)) == "kubernetes ▲ 10/10 2m00s behind, or clocks differ"


def test_how_many_are_stuck_is_said_before_how_much_is_recorded() -> None:
    """At 80 columns, recording, and paused behind: bytes give way to the counts, then milliseconds and newer facts."""
    rows = [
        row("shop/orders", Severity.STUCK),
        row("ml/cache", Severity.MOVING),
        *(row(f"a/{n}") for n in "abcdef"),
    ]
    overview = replace(
        Synthetic(rows=rows).overview(),
        title="prod",
        playhead=Playhead("PAUSED", START, 40, 52),
        recording=RecordingStatus(True, "x.csitrace", 1_438, 182_000),
    )
    (wide, _), (narrow, _) = (header_lines(overview, START, width) for width in (140, 80))
    assert text_of(wide).endswith("● REC 1,438 178 KiB  ‖ PAUSED 10:00:00.000 (12 newer) ")
    assert text_of(narrow).startswith(" prod  8 volumes   1 stuck ✗ ")
    assert text_of(narrow).endswith("● REC  ‖ PAUSED 10:00:00.000 (12 newer) ")
    named, _ = header_lines(replace(overview, title="a-cluster-of-a-long-name"), START, 80)
    assert text_of(named).startswith(" a-cluster-of-a-long-name  8 volumes   1 stuck ✗ ")
    assert text_of(named).endswith("● REC  ‖ PAUSED 10:00:00 ")
