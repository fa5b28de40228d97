"""A volume's whole road on a real cluster, as csitrace tells it: seventeen steps forward, and the way back to nothing."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from csitrace.lifecycle.fuse import fuse_states
from csitrace.lifecycle.ladder import ladder, way_back
from csitrace.lifecycle.paths import staging_digest
from csitrace.lifecycle.row import volume_row
from csitrace.lifecycle.state import State, StepStatus, Volume
from csitrace.lifecycle.verdict import standing
from csitrace.lifecycle.views import Severity, StepView
from csitrace.model.events import (
    Stamp,
    Witness,
)
from csitrace.model.times import SECOND, parse_rfc3339
from tests.cluster.conftest import Target
from tests.cluster.harness import mounts, objects, storage
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.watching import Watching, find_volume, watching
from tests.roads.seen import Seen

K, D, N = Witness.KUBERNETES, Witness.DRIVER, Witness.KERNEL

SEEN_BY = {
    **dict.fromkeys(
        ("1", "2", "3", "4", "5", "7", "8", "9", "10", "11", "12", "14", "15", "17"), frozenset({K})
    ),
    **dict.fromkeys(("6", "13"), frozenset({K, D})),
    "16a": frozenset({D, N}),
    "16b": frozenset({K, D, N}),
}
"""Who has seen each step done, once the containers run."""

SERVER_PRECISION_NS = SECOND
"""Kubernetes tells most times to the whole second."""

WRITING = "while :; do date > /data/now; sleep 0.2; done"


@pytest.mark.parametrize("storage_class", [storage.IMMEDIATE_CLASS, storage.WAITING_CLASS])
async def test_the_whole_road_there_and_back(
    target: Target, kubectl: Kubectl, image: objects.Image, storage_class: str
) -> None:
    """All seventeen steps are seen done, each by whoever can see it, in order and never before it happened; FUSE operations
    are counted; with pod and claim deleted, the way back is seen to nothing left; and all the while nothing is called stuck."""
    async with watching(target) as watched:
        await asyncio.to_thread(kubectl.apply, objects.claim("data", storage_class))
        key = (await watched.until("the claim is seen", lambda s: find_volume(s, kubectl.namespace))).key
        if storage_class == storage.IMMEDIATE_CLASS:
            # The scheduler of 1.34 tries a pod that comes before its claim is bound some five times at once, and if
            # the claim is bound just after, now and then leaves it until it looks through all unschedulable pods.
            await watched.until("the claim is bound", lambda s: _is_bound(s.volumes[key]))
        await asyncio.to_thread(kubectl.apply, objects.pod("pod", image, WRITING, claims=("data",)))
        await watched.until("the volume is in use", lambda s: _is_in_use(s, key), 120)

        state = watched.state
        volume = state.volumes[key]
        views = {view.step_id: view for view in ladder(state, volume, volume.uses[0])}
        assert {view.step_id: view.status for view in views.values() if not _done(view)} == (
            {"4": StepStatus.NOT_APPLICABLE} if storage_class == storage.IMMEDIATE_CLASS else {}
        )
        assert {step: _seen_by(view) for step, view in views.items() if _done(view)} == {
            step: SEEN_BY[step] & watched.heard for step, view in views.items() if _done(view)
        }
        _assert_in_order(standing(state, volume).order, views)
        _assert_never_done_unseen(watched, key)
        await asyncio.to_thread(_assert_as_the_server_says, kubectl, views)
        if target.cluster is not None:
            _assert_mounted(target.cluster.directory, volume)
        row = volume_row(state, volume, watched.session.now)
        assert (row.severity, row.phases) == (Severity.OK, (StepStatus.DONE,) * 4)
        if D in watched.heard:
            written = _written(state, volume)
            await watched.until("more is written", lambda s: _written(s, s.volumes[key]) > written, 10)

        await asyncio.to_thread(kubectl, "delete", "pod/pod", "persistentvolumeclaim/data", "--wait=false")
        gone = await watched.until("nothing is left", lambda s: _if_gone(s.volumes[key]), 120)
        back = {view.step_id: view.status for view in way_back(watched.state, gone, gone.uses[0])}
        assert set(back.values()) == {StepStatus.DONE}, back
        await asyncio.to_thread(_assert_nothing_left, kubectl, gone)
        if target.cluster is not None:
            assert _volume_mounts(target.cluster.directory, gone) == []

        wrong = {word.sentence for word in watched.verdicts(key) if word.severity is Severity.STUCK}
        assert wrong == set(), "a healthy volume was called stuck"
        assert watched.state.anomalies == ()


def _is_bound(volume: Volume) -> bool:
    return volume.claim is not None and volume.claim.status.phase == "Bound"


def _is_in_use(state: State, key: str) -> bool:
    volume = state.volumes[key]
    return bool(volume.uses) and standing(state, volume).current is None


def _if_gone(volume: Volume) -> Volume | None:
    return volume if volume.gone_at is not None else None


def _done(view: StepView) -> bool:
    return view.status is StepStatus.DONE


def _seen_by(view: StepView) -> set[Witness]:
    """The witnesses that say when it was done."""
    return {w for w, said in view.testimonies.items() if said.status is StepStatus.DONE and said.at}


BESIDE_ATTACH = "15"
"""Kubelet takes the pod up, and tells the node's `volumesInUse`, while the volume is still being attached: step 15 follows
step 9, and nothing after step 9 but the mount follows it."""


def _assert_in_order(order: tuple[str, ...], views: dict[str, StepView]) -> None:
    beside = order.index(BESIDE_ATTACH)
    before = order[: order.index("9") + 1]
    _assert_one_after_another(tuple(step for step in order if step != BESIDE_ATTACH), views)
    _assert_one_after_another((*before, *order[beside:]), views)


def _assert_one_after_another(order: tuple[str, ...], views: dict[str, StepView]) -> None:
    """None has a time before one that it follows, as far as the times can tell: a server's are cut to the second, and what was
    seen to happen was seen after it happened, so such a time says nothing of what a later step may not precede."""
    latest, previous = 0, ""
    for step in order:
        view = views[step]
        if not _done(view):
            continue
        if not _seen_by(view):
            assert (view.at, view.stamp) == (None, Stamp.INFERRED), (
                f"nobody saw step {step}, and yet it has a time"
            )
            continue
        assert view.at is not None, f"step {step} has no time"
        assert view.at >= latest - SERVER_PRECISION_NS, f"step {step} is told as before step {previous}"
        if view.stamp is not Stamp.OBSERVED:
            latest, previous = max(latest, view.at), step


def _assert_never_done_unseen(watched: Watching, key: str) -> None:
    """Replay of what was taken in: no step is done that the facts so far have not proved."""
    history = watched.session.history
    seen, proved = Seen(), set[str]()
    for event in history.events(history.first_seq + 1, history.tail_seq):
        seen.take(event.body)
        state = history.state_at(event.seq)
        if key not in state.changed_keys or key not in state.volumes:
            continue
        volume = state.volumes[key]
        use = volume.uses[0] if volume.uses else None
        proved |= seen.proved(volume, None) | seen.proved(volume, use)
        unseen = {view.step_id for view in ladder(state, volume, use) if _done(view)} - proved
        assert unseen == set(), f"done without a proof after event {event.seq}"


def _assert_as_the_server_says(kubectl: Kubectl, views: dict[str, StepView]) -> None:
    """The times of four steps are those that the API server's own objects carry."""
    pod = kubectl.get("pod/pod")
    pv = kubectl.get("persistentvolume", kubectl.get("pvc/data")["spec"]["volumeName"])
    (attachment,) = _attachments(kubectl, pv["metadata"]["name"])
    conditions = {c["type"]: c["lastTransitionTime"] for c in pod["status"]["conditions"]}
    told = {
        "7": pv["metadata"]["creationTimestamp"],
        "9": conditions["PodScheduled"],
        "11": attachment["metadata"]["creationTimestamp"],
        "17": pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"],
    }
    for step, time in told.items():
        at, server_at = views[step].at, parse_rfc3339(time)
        assert at is not None
        assert server_at is not None
        assert abs(at - server_at) <= 3 * SECOND, f"step {step}: the server says {time}"


def _assert_mounted(directory: Path, volume: Volume) -> None:
    staging, publish = sorted(_volume_mounts(directory, volume))
    assert {str(staging), str(publish)} == {fact.mount.mount_point for fact in volume.mounts}


def _volume_mounts(directory: Path, volume: Volume) -> list[Path]:
    """What the mount table has of a volume, staged or published."""
    assert volume.pv is not None
    names = (staging_digest(volume.volume_id), volume.pv.name)
    return [point for point in mounts.below(directory) if any(name in point.parts for name in names)]


def _written(state: State, volume: Volume) -> int:
    return sum(
        connection.totals["WRITE"].count
        for connection in fuse_states(state, volume)
        if "WRITE" in connection.totals
    )


def _assert_nothing_left(kubectl: Kubectl, volume: Volume) -> None:
    assert volume.pv is not None
    assert volume.pv.name not in {pv["metadata"]["name"] for pv in kubectl.get("persistentvolumes")["items"]}
    assert _attachments(kubectl, volume.pv.name) == []
    assert kubectl.get("pods,persistentvolumeclaims")["items"] == []


def _attachments(kubectl: Kubectl, volume_name: str) -> list[Any]:
    found = kubectl.get("volumeattachments")["items"]
    return [va for va in found if va["spec"]["source"].get("persistentVolumeName") == volume_name]
