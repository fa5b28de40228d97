"""What is sampled of a recording: every span and step, once, also of what is gone."""

from collections import Counter

from csitrace.lifecycle.retention import CALLS_KEPT
from csitrace.lifecycle.samples import (
    SPAN,
    STEP,
    UNFINISHED,
    Doubt,
    Gathered,
    Sample,
    gather,
    parse_sample_filter,
)
from csitrace.lifecycle.statistics import summaries
from csitrace.model.events import ObjectAdded
from csitrace.model.kubernetes import CSINode, CSINodeDriver, CSINodeSpec
from csitrace.model.times import MILLISECOND
from tests.story import DRIVER, NODE, STAGING, Story, meta, straight_road, way_back_road


def whole_life() -> Story:
    return way_back_road(dict(straight_road())["17"])


def named(gathered: Gathered, name: str, kind: str = SPAN) -> list[Sample]:
    return [sample for sample in gathered.samples if (sample.kind, sample.name) == (kind, name)]


def test_a_volume_that_is_gone_has_left_all_its_samples() -> None:
    """Each span and each step once, with class, driver, node and namespace."""
    gathered = gather(whole_life().events)
    spans = Counter(sample.name for sample in gathered.samples if sample.kind == SPAN)
    assert spans == dict.fromkeys(
        ("provision", "attach", "stage", "publish", "unpublish", "unstage", "detach", "delete"), 1
    )
    steps = Counter(sample.name for sample in gathered.samples if sample.kind == STEP)
    assert set(steps.values()) == {1}
    assert {"6", "13", "16a", "16b", "b3", "b13"} <= set(steps)
    (stage,) = named(gathered, "stage")
    assert (stage.took_ns, stage.node, stage.outcome) == (100 * MILLISECOND, NODE, "ok")
    subject = stage.subject
    assert (subject.namespace, subject.claim, subject.storage_class, subject.driver) == (
        "shop", "data", "fast", DRIVER,
    )  # fmt: skip


def test_a_recording_without_anything_has_no_samples() -> None:
    """No events, or none of a volume."""
    assert gather([]) == Gathered()
    assert gather(Story().hear_everyone().events).samples == ()


def test_a_driver_that_is_not_heard_leaves_what_the_cluster_showed() -> None:
    """Without calls, marks bound the spans; nothing is told twice."""
    quiet = [event for event in whole_life().events if not type(event.body).__name__.startswith("Rpc")]
    gathered = gather(quiet)
    assert len(named(gathered, "provision")) == len(named(gathered, "attach")) == 1
    assert named(gathered, "attach")[0].doubt is Doubt.WHOLE_SECONDS  # a VolumeAttachment's own time


def test_tries_are_counted_beyond_what_a_state_keeps() -> None:
    """A hundred refusals and then an answer are one span with its beginning, though a state keeps the last calls only."""
    story = dict(straight_road())["15"]
    began = story.at
    for _ in range(CALLS_KEPT + 36):
        story.rpc("NodeStageVolume", 13, "no", staging_target_path=STAGING)
    (open_span,) = named(gather(story.events), "stage")
    assert (open_span.took_ns, open_span.outcome) == (None, "INTERNAL")
    story.rpc("NodeStageVolume", staging_target_path=STAGING)
    (stage,) = named(gather(story.events), "stage")
    assert (stage.attempts, Counter(stage.errors)) == (101, {"INTERNAL": 100})
    assert stage.took_ns is not None
    assert stage.took_ns > (story.at - began) * 0.9


def test_an_open_span_has_no_duration() -> None:
    """A call in flight when the recording ended is counted, and not measured; so is one whose first tries we missed."""
    story = dict(straight_road())["15"]
    story.call("NodeStageVolume", volume_id="vol-1", staging_target_path=STAGING)
    (row,) = [row for row in summaries(gather(story.events).samples) if row.key.name == "stage"]
    assert (row.seen, row.n, row.not_ok, row.outcomes) == (1, 0, 1, {UNFINISHED: 1})


def test_an_attach_is_counted_for_the_node_by_its_name() -> None:
    """Drivers are told node ids: CSINode says whose they are."""
    story = Story().hear_everyone()
    registered = CSINode(
        metadata=meta("n1", "uid-csinode"),
        spec=CSINodeSpec(drivers=(CSINodeDriver(name=DRIVER, node_id="i-0abc"),)),
    )
    story.tell(ObjectAdded(object=registered))
    story.rpc("ControllerPublishVolume", node_id="i-0abc")
    assert [sample.node for sample in named(gather(story.events), "attach")] == ["n1"]


def test_samples_are_chosen_by_the_filter_language() -> None:
    """By what they are, by whose they are and by how long they took."""
    samples = gather(whole_life().events).samples
    chosen = parse_sample_filter("span:*stage* and ns=shop and took>=100ms")
    assert {s.name for s in samples if chosen.matches(s, 0)} == {"stage", "unstage"}
    assert not any(parse_sample_filter("class:slow").matches(s, 0) for s in samples)
