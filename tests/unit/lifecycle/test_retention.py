"""A watch runs for days while volumes come and go: what a volume brought into the state leaves with it."""

from collections import Counter
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from csitrace.lifecycle import index, retention
from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.history import History
from csitrace.lifecycle.index import inline_handle
from csitrace.lifecycle.paths import staging_digest
from csitrace.lifecycle.state import State
from csitrace.model import events
from csitrace.model.events import TraceEvent
from csitrace.model.fuse import DaemonStatus, OpCount
from csitrace.model.kubernetes import CSIVolumeSource
from csitrace.model.kubernetes import Volume as PodVolume
from csitrace.model.times import MINUTE
from tests import story
from tests.story import CLAIM_UID, DRIVER, HANDLE, NODE, POD_UID, STAGING, Story, straight_road, way_back_road

MINOR = 50
GONE_KEPT = 6


def whole_life() -> list[TraceEvent]:
    """One volume from its claim to nothing left, with its FUSE side and an Event."""
    told = straight_road()[-1][1]
    told.put(story.happened("ProvisioningSucceeded", "done", story.claim()))
    told.tell(events.FuseObserved(node_name=NODE, connection=MINOR, daemon=DaemonStatus(pid=41)))
    counted = {"READ": OpCount(count=3)}
    told.tell(events.FuseCounted(node_name=NODE, connection=MINOR, volume_id=HANDLE, ops=counted))
    way_back_road(told)
    ended = DaemonStatus(pid=41, exited="exited with 0")
    told.tell(events.FuseObserved(node_name=NODE, connection=MINOR, volume_id=HANDLE, daemon=ended))
    told.remove(story.happened("ProvisioningSucceeded", "done", story.claim()))
    return told.events


def lives(count: int) -> Iterator[list[TraceEvent]]:
    """The life of as many volumes, one after the other, each with names, ids and times of its own."""
    encoded = msgspec.json.encode(whole_life()).decode()
    decoder, seq = msgspec.json.Decoder(list[TraceEvent]), 0
    for number in range(1, count + 1):
        renamed = encoded.replace(staging_digest(HANDLE), staging_digest(f"vol-{number:08x}"))
        for former, name in {
            HANDLE: f"vol-{number:08x}",
            CLAIM_UID: f"{number:08x}{CLAIM_UID[8:]}",
            POD_UID: f"{number:08x}{POD_UID[8:]}",
            "uid-pv": f"uid-pv-{number}",
            "uid-va": f"uid-va-{number}",
            '"call_id":': f'"call_id":{number}',
            '"mount_id":': f'"mount_id":{number}',
            f'"minor":{MINOR}': f'"minor":{number}',
            f'"connection":{MINOR}': f'"connection":{number}',
        }.items():
            renamed = renamed.replace(former, name)
        life = []
        for event in decoder.decode(renamed):
            seq, later = seq + 1, number * MINUTE
            life.append(
                replace(
                    event,
                    seq=seq,
                    observed_at=event.observed_at + later,
                    occurred_at=event.occurred_at + later,
                )
            )
        yield life


def sizes(state: State) -> Counter[str]:
    """How many things each map of a state holds; relations by their members."""
    found = Counter(
        {
            name: len(value)
            for name in State.__struct_fields__
            if hasattr(value := getattr(state, name), "__len__")
        }
    )
    for (relation, _), members in state.links.items():
        found[relation] += len(members)
    return found


def test_nothing_grows_while_volumes_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """After more volumes than are kept once gone, every map of the state holds as much as after twice as many."""
    monkeypatch.setattr(retention, "GONE_KEPT", GONE_KEPT)
    state, after = State(), []
    for life in lives(4 * GONE_KEPT):
        for event in life:
            state = fold(state, event)
        after.append(sizes(state))
    assert after[2 * GONE_KEPT] == after[-1]
    assert after[-1]["volumes"] == GONE_KEPT
    assert (after[-1]["fuse"], after[-1]["fuse of"], after[-1]["calls"]) == (0, 0, 2 * GONE_KEPT)
    assert not state.anomalies


LIVES = [event for life in lives(3) for event in life]


@settings(max_examples=60)
@given(st.lists(st.integers(0, len(LIVES) - 1), max_size=150))
def test_no_order_of_facts_leaves_an_end_loose(order: list[int]) -> None:
    """Facts of several lives in any order, lost or told twice, hardly any volume kept: every index names what is there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "GONE_KEPT", 1)
        state = State()
        for seq, place in enumerate(order, 1):
            state = fold(state, replace(LIVES[place], seq=seq))
    for (relation, key), group in state.links.items():
        assert group
        if relation == index.FUSE_OF:
            assert all(state.fuse[identity].volume_id == key for identity in group)
        if relation in (index.MOUNTS_OF, index.MOUNTS_ON):
            assert all(member in state.mounts for member in group)
        if relation == index.SUBJECTS_OF:
            assert key in state.volumes
    known = {
        s for (relation, _), group in state.links.items() if relation == index.SUBJECTS_OF for s in group
    }
    assert set(state.calls) <= known
    for (instance, call_id), subject in state.in_flight.items():
        calls = state.calls[subject]
        assert any((c.instance, c.call_id) == (instance, call_id) and c.in_flight for c in calls)


def test_a_history_remembers_no_steps_of_volumes_that_are_gone() -> None:
    """Where each volume stood last is forgotten when it is gone; that it went is a change as any other."""
    history = History()
    for life in lives(3):
        for event in life:
            history.append(event)
        last = history.change_before(history.tail_seq + 1)
        assert last is not None
        gone = history.state_at(last)
        assert gone.volumes[gone.gone[-1]].gone_at == gone.at
    assert history._steps == {}


def test_what_a_driver_alone_knew_becomes_the_claims() -> None:
    """A call that is heard before the cluster's lists are in makes one volume with them, not a second one."""
    told = Story().hear_everyone()
    told.rpc("NodeStageVolume", staging_target_path=STAGING)
    assert list(told.state.volumes) == [f"handle/{DRIVER}/{HANDLE}"]
    told.find(story.pv("Bound"))
    assert list(told.state.volumes) == [story.KEY]
    told.find(story.claim("Bound", story.PV_NAME))
    told.mount(STAGING, 100).unmount(STAGING, 100)
    assert list(told.state.volumes) == [story.KEY]
    assert [call.method for call in told.volume.calls] == ["NodeStageVolume"]


def test_a_name_without_the_claims_uid_is_one_volume_with_its_id() -> None:
    """Where a provisioner shortens names (--volume-name-uuid-length), the volume is the same before and after CreateVolume."""
    told = Story().hear_everyone()
    call_id = told.call("CreateVolume", volume_name="pvc-11111111")
    told.answer(call_id, "CreateVolume", volume_id=HANDLE, volume_name="pvc-11111111")
    assert list(told.state.volumes) == [f"handle/{DRIVER}/{HANDLE}"]
    told.find(story.claim("Bound", story.PV_NAME)).find(story.pv("Bound"))
    again = told.call("CreateVolume", volume_name="pvc-11111111")
    told.answer(again, "CreateVolume", volume_id=HANDLE, volume_name="pvc-11111111")
    assert list(told.state.volumes) == [story.KEY]
    assert [call.method for call in told.volume.calls] == ["CreateVolume", "CreateVolume"]


def test_calls_about_an_inline_volume_are_its_own() -> None:
    """Kubelet makes up the id of a volume that is written into a pod: a driver's calls are known by it, whoever comes first."""
    name = "scratch"
    target = f"{story.ROOT}/pods/{POD_UID}/volumes/kubernetes.io~csi/{name}/mount"
    asked = {"volume_id": inline_handle(POD_UID, name), "target_path": target}
    told = Story().hear_everyone()
    told.rpc("NodePublishVolume", **asked)
    plain = story.pod(NODE, "running", "Running", started=True)
    entry = PodVolume(name=name, csi=CSIVolumeSource(driver=DRIVER))
    told.put(replace(plain, spec=replace(plain.spec, volumes=(entry,))))
    told.rpc("NodeUnpublishVolume", **asked)
    (volume,) = told.state.volumes.values()
    assert volume.key == f"inline/{POD_UID}/{name}"
    assert [call.method for call in volume.calls] == ["NodePublishVolume", "NodeUnpublishVolume"]


def test_an_id_that_is_given_again_stays_when_its_former_volume_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A PV that is claimed again after its first claim was deleted keeps its calls when that claim is forgotten."""
    monkeypatch.setattr(retention, "GONE_KEPT", 1)
    told = straight_road()[-1][1]
    calls = len(told.volume.calls)
    first = story.claim("Bound", story.PV_NAME)
    told.remove(story.pod(NODE)).remove(story.attachment()).unmount(STAGING, 100).unmount(story.TARGET, 101)
    second = replace(first, metadata=replace(first.metadata, uid=CLAIM_UID.replace("1", "9")))
    pv = story.pv("Bound")
    claim_ref = replace(pv.spec.claim_ref, uid=second.uid)
    told.remove(first).put(replace(pv, spec=replace(pv.spec, claim_ref=claim_ref))).put(second)
    assert told.state.gone == (story.KEY,)
    told.state = retention.note_gone(told.state, "claim/of another volume")
    told.put(second)
    (volume,) = told.state.volumes.values()
    assert (volume.key, len(volume.calls)) == (f"claim/{second.uid}", calls - 1)


def test_calls_that_are_no_longer_kept_are_not_in_flight_either() -> None:
    """The calls about a volume are bounded, and so are those that were never answered."""
    told = Story().hear_everyone()
    for _ in range(retention.CALLS_KEPT + 10):
        told.call("NodePublishVolume", volume_id=HANDLE)
    assert len(told.state.in_flight) == len(told.state.calls[f"{DRIVER}/{HANDLE}"]) == retention.CALLS_KEPT
