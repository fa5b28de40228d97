"""What a recording is to fulfil: the spans it holds, and what is asked of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csitrace.errors import FilterError
from csitrace.lifecycle.assertion import parse_assertion
from csitrace.lifecycle.chronicle import chronicle
from csitrace.lifecycle.samples import gather
from csitrace.model.times import SECOND
from tests.story import HANDLE, NODE, Story, straight_road, way_back_road

WHOLE = way_back_road(straight_road()[-1][1])
LOG = chronicle(WHOLE.events)


def test_spans_of_a_volume_that_is_gone_are_kept() -> None:
    """From provision to delete, each once, with how it ended."""
    assert WHOLE.volume.gone_at is not None
    (life,) = LOG.lives
    told = [span.name for span in life.spans]
    assert told == ["provision", "attach", "stage", "publish", "unpublish", "unstage", "detach", "delete"]
    assert all(span.outcome == "ok" for span in life.spans)
    assert life.row.storage_class == "fast"


def test_a_span_of_more_tries_than_a_state_keeps_still_begins_with_the_first() -> None:
    """The state lets the oldest calls go; the log has seen them."""
    story = dict(straight_road())["12"]
    first = story.at
    for _ in range(200):
        story.rpc("ControllerPublishVolume", 13, "no", node_id=NODE)
    story.rpc("ControllerPublishVolume", node_id=NODE)
    told = chronicle(story.events)
    (attach,) = [span for span in told.lives[0].spans if span.name == "attach"]
    assert attach.attempts == 201
    assert attach.started_at <= first + 10**9
    (line,) = parse_assertion("max(attach) < 1ms").check(told)
    assert line.endswith(f"201 tries [{story.events[-1].seq}]")


@pytest.mark.parametrize(
    "text",
    [
        "max(attach) < 10s",
        "p95(stage) <= 2s",
        "count(provision) == 3",
        "count(provision)=1",
        "no finding error",
        "no finding error ever",
        "no anomaly",
        "max(attach, class:fast) < 10s",
        "max(attach,(class:fast or ns:dev)) < 1ms",
        "min(publish) > 1h",
    ],
)
def test_what_holds_and_what_does_not(text: str) -> None:
    """Of one straight road and its way back."""
    violated = {"count(provision) == 3", "max(attach,(class:fast or ns:dev)) < 1ms", "min(publish) > 1h"}
    assert bool(parse_assertion(text).check(LOG)) == (text in violated)


def test_a_violation_names_volume_value_and_fact() -> None:
    """One line each."""
    (line,) = parse_assertion("max(attach) < 1ms").check(LOG)
    call = next(call for call in LOG.lives[0].calls if call.method == "ControllerPublishVolume")
    seq = call.finished_seq
    assert line == f"shop/data: attach on {NODE} took 0.1s [{seq}]"
    assert parse_assertion("count(stage) = 2").check(LOG)[0].startswith("there are 1 [")


def test_of_no_span_nothing_holds() -> None:
    """A filter that fits nothing must not make a test pass."""
    assert parse_assertion("max(attach, class:slow) < 10s").check(LOG)
    assert parse_assertion("max(attach) < 10s", "class:slow").check(LOG)
    assert not parse_assertion("count(attach, class:slow) = 0").check(LOG)


def test_an_open_span_counts_as_long_as_it_lasts() -> None:
    """A call that hangs is as slow as it has been until the end."""
    story = dict(straight_road())["12"]
    story.call("ControllerPublishVolume", volume_id=HANDLE, node_id=NODE)
    story.call("ControllerPublishVolume", at=60, volume_id="other")
    (line,) = parse_assertion("max(attach, claim:data) < 10s").check(chronicle(story.events))
    assert "still open" in line


def test_what_was_tried_in_vain_is_over_when_it_is_undone() -> None:
    """The pod goes before its volume could be attached: the attach is over with the detach, not with the recording; it is no
    success, and its length measures nothing."""
    story = dict(straight_road())["12"]
    for _ in range(3):
        story.rpc("ControllerPublishVolume", 13, "no such pool", node_id=NODE)
    story.at += 20 * SECOND
    story.rpc("ControllerUnpublishVolume", node_id=NODE)
    story.call("ControllerPublishVolume", at=600, volume_id="other")
    told = chronicle(story.events)
    (line,) = parse_assertion("max(attach, claim:data) < 10s").check(told)
    assert "took 20s, 3 tries, INTERNAL" in line
    assert (
        parse_assertion("count(attach, claim:data) = 1").check(told)[0].startswith("there are 0, 1 in vain")
    )
    (sample,) = [s for s in gather(story.events).samples if s.name == "attach" and s.attempts == 3]
    assert (sample.took_ns, sample.outcome) == (None, "INTERNAL")


def test_a_refusal_that_was_overcome_is_a_finding_ever_and_none_at_the_end() -> None:
    """`ever` looks at every moment."""
    story = dict(straight_road())["15"]
    story.rpc("NodeStageVolume", 13, "no device")
    refused = chronicle(story.events)
    assert parse_assertion("no finding error").check(refused)
    story.rpc("NodeStageVolume")
    mended = chronicle(story.events)
    assert not parse_assertion("no finding error").check(mended)
    (line,) = parse_assertion("no finding error ever").check(mended)
    assert "no device" in line


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("", 0, "missing"),
        ("fastest(attach) < 1s", 0, "no function 'fastest'"),
        ("max attach < 1s", 3, "in brackets"),
        ("max(atach) < 1s", 4, "no span 'atach'"),
        ("max(attach < 1s", 3, "never closed"),
        ("max(attach)", 11, "a comparison is missing"),
        ("max(attach) < 10", 14, "is compared with a duration"),
        ("count(attach) < 10s", 16, "is compared with a number"),
        ("max(attach, clas:fast) < 1s", 12, "no field 'clas'"),
        ("no finding", 3, "is followed by"),
        ("no idea", 3, "is followed by"),
    ],
)
def test_a_wrong_one_says_where_and_why(text: str, position: int, said: str) -> None:
    """The offset of the offending word."""
    with pytest.raises(FilterError, match=said) as caught:
        parse_assertion(text)
    assert caught.value.position == position


@given(st.text(max_size=40))
def test_no_text_is_more_than_a_wrong_assertion(text: str) -> None:
    """Whatever is written: understood, or told as wrong with a position in it."""
    position = 0
    try:
        parse_assertion(text).check(chronicle([]))
    except FilterError as error:
        position = error.position
    assert 0 <= position <= len(text)


def test_a_story_without_volumes_has_no_spans() -> None:
    """And no finding."""
    log = chronicle(Story().hear_everyone().events)
    assert log.lives == ()
    assert parse_assertion("no finding warning ever").check(log) == []
