"""The line of witnesses: what is said of one that is heard, and late."""

from csitrace.lifecycle.views import WitnessView
from csitrace.model.events import Witness
from csitrace.model.times import SECOND
from csitrace.tui.header import witness_line
from csitrace.tui.lines import text_of


def test_a_witness_that_is_late_is_not_said_to_be_well() -> None:
    """All of it is heard, and two minutes old: no green sign, how late it is, and that a wrong clock may be the cause."""
    late = WitnessView(Witness.KUBERNETES, 10, 10, 0, delay_ns=120 * SECOND)
    assert text_of(witness_line(late, SECOND)) == "kubernetes ▲ 10/10 2m00s behind, or clocks differ"
