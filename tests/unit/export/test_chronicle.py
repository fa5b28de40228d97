from csitrace.lifecycle.views import Severity
from csitrace.model.times import SECOND
from tests import story
from tests.story import straight_road
from tests.unit.export.told import of, stuck, whole_life


def test_a_volume_that_is_gone_keeps_all_that_happened_to_it() -> None:
    """Calls, spans, both roads and the facts of a volume of which nothing is left."""
    (life,) = of(whole_life()).lives
    assert life.row.severity is Severity.GONE
    assert [span.name for span in life.spans] == [
        "provision", "attach", "stage", "publish", "unpublish", "unstage", "detach", "delete",
    ]  # fmt: skip
    assert [call.method for call in life.calls][:2] == ["CreateVolume", "ControllerPublishVolume"]
    assert all(step.status.value == "done" for way in life.ways for step in way.steps)
    assert life.findings[-1].verdict.severity is Severity.GONE


def test_a_verdict_that_time_alone_changed_has_its_time() -> None:
    """Nothing happens to the volume for a minute: it is slow after ten seconds and stuck after thirty."""
    told = dict(straight_road())["11"]
    began = told.at
    told.put(story.node(), at=(told.at - story.START) / SECOND + 60)
    (life,) = of(told).lives
    late = [(f.verdict.severity, round((f.at - began) / SECOND)) for f in life.findings[-2:]]
    assert late == [(Severity.SLOW, 10), (Severity.STUCK, 30)]


def test_failed_attempts_are_all_there() -> None:
    """Two refusals are two calls and one open span with two attempts."""
    (life,) = of(stuck()).lives
    attach = next(span for span in life.spans if span.name == "attach")
    assert (attach.attempts, attach.outcome, attach.ended_at) == (2, "RESOURCE_EXHAUSTED", None)
    assert [call.code for call in life.calls if call.method == "ControllerPublishVolume"] == [8, 8]


def test_what_is_about_no_volume_is_kept_when_volumes_are_chosen() -> None:
    """A mark and a gap concern whoever looks; the facts of volumes that nobody asked for do not."""
    from csitrace.lifecycle.chronicle import chronicle

    told = chronicle(whole_life().events, wanted=lambda row, now: False)
    assert [fact.kind for fact in told.facts] == ["mark", "gap"]
    assert not told.lives
    assert not told.fuse
