"""How late the API server's facts are, by the times that holders of Leases write into them."""

from msgspec.structs import replace

from csitrace.lifecycle.delays import WINDOW_NS
from csitrace.lifecycle.witnesses import witness_views
from csitrace.model.events import Witness
from csitrace.model.kubernetes import Lease, LeaseSpec
from csitrace.model.times import SECOND, format_rfc3339
from tests.story import Story, meta


def renewed(story: Story, name: str, late_s: float) -> None:
    """The next renewal of a Lease, ten seconds later, told so late."""
    story.at += 10 * SECOND
    told = format_rfc3339(story.at - int(late_s * SECOND))
    lease = Lease(metadata=meta(name, f"uid-{name}"), spec=LeaseSpec(holder_identity=name, renew_time=told))
    story.put(lease)


def behind_s(story: Story) -> int:
    view = next(view for view in witness_views(story.state) if view.witness is Witness.KUBERNETES)
    return round(view.delay_ns / SECOND)


def test_what_is_told_in_time_is_not_behind() -> None:
    """A renewal is told within a second or two of it; one that is told by a list is of some time before."""
    story = Story().hear_everyone()
    renewed(story, "n1", 3_600)
    renewed(story, "n1", 1)
    assert behind_s(story) == 0


def test_a_slow_watch_is_as_late_as_the_renewals_that_it_tells() -> None:
    """All of what it tells is two minutes old; then it has caught up."""
    story = Story().hear_everyone()
    for _ in range(3):
        renewed(story, "n1", 120)
    assert behind_s(story) == 120
    renewed(story, "n1", 1)
    assert behind_s(story) == 0


def test_one_clock_that_is_wrong_makes_nobody_late() -> None:
    """A holder whose clock is behind says nothing while another is in time; once nobody is, it counts after a while."""
    story = Story().hear_everyone()
    for _ in range(5):
        renewed(story, "n1", 300)
        renewed(story, "n2", 1)
    assert behind_s(story) == 0
    for _ in range(2 + WINDOW_NS // (10 * SECOND)):
        renewed(story, "n1", 300)
    assert behind_s(story) == 300


def test_two_dumps_tell_nothing_of_a_delay() -> None:
    """The later one tells of a holder's last renewal, and he may be dead since."""
    story = Story().hear_everyone()
    renewed(story, "n1", 1)
    story.at += 3_600 * SECOND
    renewed(story, "n1", 1_800)
    assert behind_s(story) == 0


def test_a_change_that_renews_nothing_tells_nothing() -> None:
    """A label on the Lease of a dead holder is not a renewal that is told late."""
    story = Story().hear_everyone()
    renewed(story, "n1", 1)
    dead = next(stored.object for (kind, _), stored in story.state.objects.items() if kind == "Lease")
    story.at += 50 * SECOND
    story.put(replace(dead, metadata=replace(dead.metadata, labels={"a": "b"})))
    assert behind_s(story) == 0
