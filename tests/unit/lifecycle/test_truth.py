"""Whoever is silent, and in whatever order facts come in: no step is done that has not been, and none is denied that has."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from csitrace.lifecycle.ladder import ladder, way_back
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.steps import FORWARD
from csitrace.lifecycle.verdict import verdict
from csitrace.lifecycle.views import Severity
from csitrace.model import events, kinds
from csitrace.model.events import Body, Witness
from csitrace.model.kubernetes import ObjectReference
from tests.story import (
    DRIVER,
    HANDLE,
    KEY,
    NODE,
    PV_NAME,
    STAGING,
    Story,
    attachment,
    claim,
    happened,
    pod,
    pv,
    straight_road,
    way_back_road,
)

ORDER = [step.id for step in FORWARD]
KINDS = [kind.name for kind in kinds.KINDS]
ROADS = {mode: straight_road(mode=mode) for mode in ("WaitForFirstConsumer", "Immediate")}
OBJECTS = (events.ObjectListed, events.ObjectAdded, events.ObjectModified, events.ObjectDeleted)
CALLS = (events.RpcStarted, events.RpcFinished)
MOUNTS = (events.MountAppeared, events.MountVanished)


def heard_by(story: Story, silent: frozenset[str]) -> Story:
    """The same facts as one hears them to whom some kinds, "driver" or "kernel" are silent."""
    told = Story()
    for event in story.events:
        body = event.body
        if _speaker(body) not in silent:
            told.tell(body)
        elif isinstance(body, events.SourceUp):
            reason = f"may not list {body.scope}"
            told.tell(events.SourceDown(witness=body.witness, scope=body.scope, reason=reason, denied=True))
    return told


def _speaker(body: Body) -> str:
    if isinstance(body, OBJECTS):
        return body.object.kind
    if isinstance(body, CALLS):
        return "driver"
    if isinstance(body, MOUNTS):
        return "kernel"
    if isinstance(body, events.SourceUp | events.ListCompleted):
        return body.scope if body.witness is Witness.KUBERNETES else body.witness.value
    return ""


@settings(max_examples=150)
@given(
    st.sampled_from(sorted(ROADS)),
    st.integers(0, len(ROADS["Immediate"]) - 1),
    st.frozensets(st.sampled_from([*KINDS, "driver", "kernel"])),
)
def test_no_silence_makes_a_step_done_that_was_not_or_needless_that_was(
    mode: str, place: int, silent: frozenset[str]
) -> None:
    """At every moment of the road, whichever kinds and witnesses are silent: what is not known is unknown."""
    step, story = ROADS[mode][place]
    told = heard_by(story, silent)
    volume = told.state.volumes.get(KEY)
    if volume is None:
        return
    use = volume.uses[0] if volume.uses else None
    views = {view.step_id: view for view in ladder(told.state, volume, use)}
    whole = story.statuses()
    done = {step_id for step_id, view in views.items() if view.status is StepStatus.DONE}
    assert done <= {step_id for step_id, status in whole.items() if status is StepStatus.DONE}, step
    if use is not None:
        needless = {step_id for step_id, view in views.items() if view.status is StepStatus.NOT_APPLICABLE}
        assert needless <= {
            step_id for step_id, status in whole.items() if status is StepStatus.NOT_APPLICABLE
        }, step


def _in_use_objects() -> list[Body]:
    story = ROADS["WaitForFirstConsumer"][-1][1]
    listed: list[Body] = [
        events.ObjectListed(object=stored.object) for stored in story.state.objects.values()
    ]
    mounts = [
        events.MountAppeared(node_name=fact.node_name, mount=fact.mount) for fact in story.volume.mounts
    ]
    return [*listed, *mounts]


@settings(max_examples=60)
@given(st.permutations(range(len(_in_use_objects()))))
def test_the_order_of_independent_facts_does_not_matter(order: list[int]) -> None:
    """Objects and mounts that were there before us, in any order: one state of each step, with one time."""
    found = sorted(_in_use_objects(), key=str)
    told, sorted_ = Story().hear_everyone(), Story().hear_everyone()
    for place in order:
        told.tell(found[place], at=3600)
    for body in found:
        sorted_.tell(body, at=3600)
    assert set(told.statuses().values()) == {StepStatus.DONE}
    times = [
        [(view.step_id, view.status, view.at) for view in ladder(s.state, s.volume, s.volume.uses[0])]
        for s in (told, sorted_)
    ]
    assert times[0] == times[1]
    assert told.verdict().sentence == "in use"


EVERYTHING_ELSE = frozenset({*KINDS, "driver", "kernel"} - {"PersistentVolumeClaim", "Pod", "Event"})


def confined(step: str) -> Story:
    """What a user sees who may read claims, pods and Events, and nothing else."""
    return heard_by(dict(ROADS["WaitForFirstConsumer"])[step], EVERYTHING_ELSE)


def test_claims_pods_and_events_alone_tell_that_a_volume_is_in_use() -> None:
    """Running containers prove the mount, a bound claim its PV; of attach and stage nobody knows, and nobody waits for them."""
    told = confined("17")
    views = {view.step_id: view for view in ladder(told.state, told.volume, told.volume.uses[0])}
    unknown = {step_id for step_id, view in views.items() if view.status is StepStatus.UNKNOWN}
    assert unknown == {"10", "11", "12", "13", "14", "16a"}
    assert all(
        view.note.startswith(("may not list", "no ")) for view in views.values() if view.step_id in unknown
    )
    assert all(views[step_id].passed for step_id in unknown)
    word = told.verdict()
    assert (word.severity, word.sentence) == (Severity.OK, "in use")


def test_events_tell_of_the_attach_where_attachments_may_not_be_read() -> None:
    """SuccessfulAttachVolume shows steps 10 to 14, but not whether the driver was asked."""
    told = confined("14")
    assert told.statuses()["14"] is StepStatus.UNKNOWN
    message = f'AttachVolume.Attach succeeded for volume "{PV_NAME}" '
    told.put(happened("SuccessfulAttachVolume", message, pod(NODE), "Normal"))
    statuses = told.statuses()
    assert [statuses[step] for step in ("10", "11", "12", "14")] == [StepStatus.DONE] * 4
    assert statuses["13"] is StepStatus.UNKNOWN


def test_events_tell_of_a_refused_attach_where_attachments_may_not_be_read() -> None:
    """The attach/detach controller quotes the driver: that is a refusal, and its words."""
    told = confined("11")
    quoted = "rpc error: code = Internal desc = no such node"
    told.put(
        happened(
            "FailedAttachVolume", f'AttachVolume.Attach failed for volume "{PV_NAME}" : {quoted}', pod(NODE)
        )
    )
    word = told.verdict()
    assert (word.severity, word.step_id) == (Severity.STUCK, "13")
    assert quoted in word.sentence


def test_events_tell_of_provisioning_where_pvs_may_not_be_read() -> None:
    """ProvisioningFailed is the complaint, ProvisioningSucceeded its end, before the claim is bound."""
    told = confined("5")
    told.put(happened("ProvisioningFailed", "no room", claim()))
    assert (told.verdict().step_id, told.verdict().severity) == ("6", Severity.STUCK)
    later = happened("ProvisioningSucceeded", "Successfully provisioned volume", claim(), "Normal")
    told.put(later)
    assert [told.statuses()[step] for step in ("6", "7", "8")] == [
        StepStatus.DONE,
        StepStatus.DONE,
        StepStatus.MOVING,
    ]


def test_a_refused_mount_is_told_by_its_event_alone() -> None:
    """FailedMount of MountDevice is the stage's, of SetUp the publish's; the later one counts."""
    told = confined("15")
    told.put(
        happened("FailedMount", f'MountVolume.MountDevice failed for volume "{PV_NAME}" : boom', pod(NODE))
    )
    assert (told.verdict().step_id, told.verdict().severity) == ("16a", Severity.STUCK)
    again = happened(
        "FailedMount", f'MountVolume.SetUp failed for volume "{PV_NAME}" : bang', pod(NODE), uid="later"
    )
    told.put(again)
    word = told.verdict()
    assert (word.step_id, word.severity) == ("16b", Severity.STUCK)
    assert "bang" in word.sentence


@pytest.mark.parametrize("silent", ["StorageClass", "CSIDriver", "CSINode", "Node", "Lease", "Event"])
def test_a_kind_that_only_describes_the_cluster_is_missed_where_it_matters_alone(silent: str) -> None:
    """Without it, a volume in use is in use, and its way back ends where it is seen to end."""
    told = heard_by(ROADS["WaitForFirstConsumer"][-1][1], frozenset({silent}))
    assert told.verdict().sentence == "in use"
    way_back_road(told)
    assert told.volume.gone_at is not None


def test_an_error_that_is_not_final_is_no_failure_and_one_that_is_stays_while_it_is_tried_again() -> None:
    """DeadlineExceeded: it may still be running. Internal: refused, and a question does not take that back."""
    told = dict(ROADS["WaitForFirstConsumer"])["15"].rpc("NodeStageVolume", 4, "too slow")
    word = told.verdict()
    assert (word.severity, word.step_id) == (Severity.MOVING, "16a")
    assert "may still be running" in word.sentence
    assert told.verdict(later=60).severity is Severity.STUCK
    told.rpc("NodeStageVolume", 13, "no device")
    told.put(
        happened(
            "FailedMount", f'MountVolume.MountDevice failed for volume "{PV_NAME}" : rpc error', pod(NODE)
        )
    )
    refused = told.verdict().sentence
    assert refused.startswith("NodeStageVolume: INTERNAL: no device")
    told.call("NodeStageVolume", volume_id="vol-1")
    again = told.verdict()
    assert again.severity is Severity.STUCK
    assert again.sentence.startswith("NodeStageVolume: INTERNAL: no device")


def test_a_claim_bound_to_a_pv_by_name_waits_for_that_pv() -> None:
    """`spec.volumeName` set by the user: nothing is provisioned, and the name alone shows no PV."""
    told = Story().hear_everyone().put(claim(volume_name="by-hand")).put(pod())
    statuses = told.statuses()
    assert {statuses[step] for step in ("4", "5", "6", "7")} == {StepStatus.NOT_APPLICABLE}
    assert statuses["8"] is not StepStatus.DONE


@pytest.mark.parametrize(
    ("phase", "said"),
    [("Available", "available; no claim has taken it"), ("Bound", "bound; no pod uses it")],
)
def test_a_pv_at_rest_says_how_it_rests(phase: str, said: str) -> None:
    """A PV without a claim is offered; with one, it has it."""
    plain = pv(phase)
    told = Story().hear_everyone()
    if phase == "Available":
        plain = replace(plain, spec=replace(plain.spec, claim_ref=None))
    else:
        told.put(claim("Bound", PV_NAME))
    told.put(plain)
    (volume,) = told.state.volumes.values()
    assert verdict(told.state, volume, told.at).sentence == said


def test_a_retained_pv_is_released_and_kept_until_it_is_freed() -> None:
    """Reclaim policy Retain: nobody is late; freed by hand, the old claim's row says that the PV was kept, and never that it is
    gone: not when another claim has it, nor when it goes with that one."""
    story = ROADS["WaitForFirstConsumer"][6][1]
    kept = replace(pv("Released"), spec=replace(pv().spec, persistent_volume_reclaim_policy="Retain"))
    bound = claim("Bound", PV_NAME, deleting=True, selected_node=NODE, storage_provisioner=DRIVER)
    told = Story(story.state, list(story.events), story.at, story.call_id)
    told.remove(pod()).remove(bound).put(kept)
    word = told.verdict(later=86_400)
    assert (word.severity, word.sentence) == (Severity.WAITING, "released, and kept: reclaim policy Retain")
    told.put(replace(kept, spec=replace(kept.spec, claim_ref=None)))
    assert told.volume.gone_at is not None
    assert "its PV was kept" in told.verdict().sentence
    assert set(told.state.volumes) == {KEY, "pv/uid-pv"}
    gone_at = told.volume.gone_at
    ref = ObjectReference(kind="PersistentVolumeClaim", namespace="shop", name="again", uid="uid-again")
    rebound = replace(
        kept, spec=replace(kept.spec, claim_ref=ref), status=replace(kept.status, phase="Bound")
    )
    told.put(rebound).put(attachment(attached=True)).mount(STAGING, 100).call(
        "NodeGetVolumeStats", volume_id=HANDLE
    )
    told.put(happened("Deleted", "once more", bound))  # the old claim is looked at again
    assert told.volume.gone_at == gone_at
    assert {"claim/uid-again", KEY} == set(told.state.volumes)
    assert (
        _kept(told)
        == [(StepStatus.DONE, "")] * 2 + [(StepStatus.NOT_APPLICABLE, "reclaim policy Retain")] * 2
    )
    told.rpc("DeleteVolume").remove(rebound).put(happened("Deleted", "and again", bound, uid="later"))
    assert (
        _kept(told)
        == [(StepStatus.DONE, "")] * 2 + [(StepStatus.NOT_APPLICABLE, "reclaim policy Retain")] * 2
    )
    assert told.volume.gone_at == gone_at


def test_a_pv_that_is_taken_away_from_its_claim_is_not_gone() -> None:
    """Whatever its reclaim policy: its claimRef is another's, and it is not said to be deleted with the claim."""
    story = ROADS["WaitForFirstConsumer"][6][1]
    told = Story(story.state, list(story.events), story.at, story.call_id)
    told.remove(pod()).remove(claim("Bound", PV_NAME, deleting=True))
    told.put(replace(pv("Available"), spec=replace(pv().spec, claim_ref=None)))
    taken = (StepStatus.NOT_APPLICABLE, "the PV is no longer this claim's")
    assert _kept(told) == [(StepStatus.DONE, "")] * 2 + [taken] * 2
    assert told.volume.gone_at is not None


def _kept(told: Story) -> list[tuple[StepStatus, str]]:
    """b10 to b13, of the claim's own entry."""
    return [(view.status, view.note) for view in way_back(told.state, told.volume, None)]


BACK = way_back_road(straight_road()[-1][1])
BACK_FROM = len(ROADS["WaitForFirstConsumer"][-1][1].events)


@settings(max_examples=150)
@given(
    st.integers(BACK_FROM, len(BACK.events)),
    st.frozensets(st.sampled_from([*KINDS, "driver", "kernel"])),
)
def test_no_silence_ends_the_way_back_early(upto: int, silent: frozenset[str]) -> None:
    """At every moment of the way back: what nobody sees go is not gone, and what nobody can see is unknown."""
    whole = Story()
    for event in BACK.events[:upto]:
        whole.tell(event.body)
    told = heard_by(whole, silent)
    volume = told.state.volumes.get(KEY)
    if volume is None or not volume.uses:
        return
    done = {
        view.step_id
        for view in way_back(told.state, volume, volume.uses[0])
        if view.status is StepStatus.DONE
    }
    truly = {step_id for step_id, status in whole.back_statuses().items() if status is StepStatus.DONE}
    if "kernel" in silent and upto < len(
        BACK.events
    ):  # a driver's OK is its word; the kernel follows in the next fact
        whole.tell(BACK.events[upto].body)
        truly |= {step_id for step_id, status in whole.back_statuses().items() if status is StepStatus.DONE}
    assert done <= truly
    if whole.volume.gone_at is None and not silent & {"PersistentVolumeClaim", "PersistentVolume", "Pod"}:
        unseen = silent & {"kernel", "VolumeAttachment", "driver"}
        assert volume.gone_at is None or unseen
