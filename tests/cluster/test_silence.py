"""Parts of a real cluster are killed while volumes move: csitrace says within two seconds who is silent or where each volume
stands, and when the part is back everything is heard again and goes on, in the same session."""

import asyncio
import json
import signal
from typing import Any

from csitrace.lifecycle.fuse import fuse_states
from csitrace.lifecycle.state import State, Volume
from csitrace.lifecycle.verdict import standing, verdict
from csitrace.lifecycle.views import Severity, Verdict
from csitrace.lifecycle.witnesses import witness_views
from csitrace.model.events import Witness
from csitrace.model.kinds import KINDS
from csitrace.model.times import SECOND
from tests.cluster.conftest import Target
from tests.cluster.harness import objects, storage
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.harness.processes import ProcessId, marked
from tests.cluster.watching import Watching, find_volume, is_heard, watching

TOLD_WITHIN_S = 2.0
"""From the death of a part until csitrace says so."""

RECOVERED_WITHIN_S = 120.0
"""From a part's restart until volumes have moved on: the parts of Kubernetes try again with a back-off of their own."""

OUTAGE_NS = 30 * SECOND

WRITING = "while :; do date > /{claim}/now; sleep 0.2; done"


async def test_a_killed_attacher(
    target: Target, kubectl: Kubectl, image: objects.Image, cluster: Cluster
) -> None:
    """A volume to be attached stands at "attacher sees it" and names external-attacher as holder; its successor attaches."""
    async with watching(target) as watched:
        await _use(watched, kubectl, image, "old")
        await asyncio.to_thread(cluster.kill, "csi-attacher")
        await _send(kubectl, image, "new")
        await watched.until("an attach is asked for", lambda s: _volume(s, kubectl, "new").attachments)
        word = await watched.until(
            "the volume waits for the attacher",
            lambda s: _held(_verdict(watched, s, kubectl, "new"), "12", "external-attacher"),
            TOLD_WITHIN_S,
        )
        assert "waits for external-attacher" in word.sentence
        assert "nobody has touched it" in word.evidence[0].text
        assert _verdict(watched, watched.state, kubectl, "old").severity is Severity.OK
        await asyncio.to_thread(cluster.restart, "csi-attacher")
        await _assert_recovered(watched, kubectl, "old", "new")


async def test_a_killed_provisioner(
    target: Target, kubectl: Kubectl, image: objects.Image, cluster: Cluster
) -> None:
    """A claim that needs a volume stands at CreateVolume and names external-provisioner as holder; its successor provisions."""
    async with watching(target) as watched:
        await _use(watched, kubectl, image, "old")
        await asyncio.to_thread(cluster.kill, "csi-provisioner")
        await _send(kubectl, image, "new")
        await watched.until("a provisioner is named", lambda s: _provisioner_named(s, kubectl, "new"))
        word = await watched.until(
            "the claim waits for the provisioner",
            lambda s: _held(_verdict(watched, s, kubectl, "new"), "6", "external-provisioner → driver"),
            TOLD_WITHIN_S,
        )
        assert word.severity is Severity.MOVING
        assert _verdict(watched, watched.state, kubectl, "old").severity is Severity.OK
        await asyncio.to_thread(cluster.restart, "csi-provisioner")
        await _assert_recovered(watched, kubectl, "old", "new")


async def test_a_killed_driver(
    target: Target, kubectl: Kubectl, image: objects.Image, cluster: Cluster
) -> None:
    """The driver is told as silent, with the reason; a volume that needs it names the step and that its driver is not heard,
    one in use stays well; the restarted driver is heard as a new process and takes up both."""
    async with watching(target) as watched:
        await _use(watched, kubectl, image, "old")
        await asyncio.to_thread(cluster.kill, "driver")
        problem = await watched.until(
            "the driver is silent", lambda s: _problems(s, Witness.DRIVER), TOLD_WITHIN_S
        )
        assert f"{storage.DRIVER_NAME}@{cluster.nodes[0].name}: cannot hear the driver's feed" in problem[0]
        assert is_heard(watched.state, Witness.KUBERNETES, Witness.KERNEL)
        assert _verdict(watched, watched.state, kubectl, "old").severity is Severity.OK
        await _send(kubectl, image, "new")
        await watched.until("a provisioner is named", lambda s: _provisioner_named(s, kubectl, "new"))
        word = await watched.until(
            "the claim waits for the driver",
            lambda s: _held(_verdict(watched, s, kubectl, "new"), "6", "external-provisioner → driver"),
            TOLD_WITHIN_S,
        )
        assert "cannot hear the driver's feed" in {e.witness: e.text for e in word.evidence}[Witness.DRIVER]
        await asyncio.to_thread(cluster.restart, "driver")
        await _assert_recovered(watched, kubectl, "old", "new")


async def test_a_killed_fuse_process(
    target: Target, kubectl: Kubectl, image: objects.Image, cluster: Cluster
) -> None:
    """The volume is stuck, by name and pid of the process and how it ended, while its neighbour stays well; used by a new
    pod it is staged anew and well again."""
    async with watching(target) as watched:
        await _use(watched, kubectl, image, "old")
        await _use(watched, kubectl, image, "hurt")
        daemon = await watched.until("its daemon is known", lambda s: _daemon(s, kubectl, "hurt"), 10)
        await asyncio.to_thread(_kill, cluster, daemon)
        word = await watched.until(
            "its death is told", lambda s: _stuck(_verdict(watched, s, kubectl, "hurt")), TOLD_WITHIN_S
        )
        assert word.sentence.startswith(f"FUSE daemon (pid {daemon}) is gone")
        assert word.holder == "FUSE daemon"
        assert _verdict(watched, watched.state, kubectl, "old").severity is Severity.OK
        await asyncio.to_thread(kubectl, "delete", "pod/hurt", timeout_s=100)
        await asyncio.to_thread(kubectl.apply, _pod(image, "hurt"))
        await _assert_recovered(watched, kubectl, "old", "hurt")
        assert _daemon(watched.state, kubectl, "hurt") not in (None, daemon)


async def test_a_killed_api_server(
    target: Target, kubectl: Kubectl, image: objects.Image, cluster: Cluster
) -> None:
    """Every kind of object is told as unheard, with the reason, and a moving volume as unknown because of it, while driver and
    kernel go on counting; back after 30 s, all is heard again, and what csitrace knows is what the server has."""
    async with watching(target) as watched:
        await _use(watched, kubectl, image, "old")
        await _send(kubectl, image, "new")
        await watched.until("the new claim is seen", lambda s: find_volume(s, kubectl.namespace, "new"))
        await asyncio.to_thread(cluster.kill, "kube-apiserver")
        killed_at = watched.session.now
        problems = await watched.until("every kind is silent", _all_kinds_silent, TOLD_WITHIN_S)
        assert all("API server https://127.0.0.1" in problem for problem in problems)
        word = _verdict(watched, watched.state, kubectl, "new")
        assert word.severity is Severity.UNKNOWN
        assert "unknown, because" in word.sentence
        assert is_heard(watched.state, Witness.DRIVER, Witness.KERNEL)
        await watched.until(
            "operations are counted until the outage has lasted",
            lambda s: _last_operation_at(s, _volume(s, kubectl, "old")) > killed_at + OUTAGE_NS,
            within_s=2 * OUTAGE_NS / SECOND,
        )
        assert _all_kinds_silent(watched.state)
        await asyncio.to_thread(cluster.restart, "kube-apiserver")
        await _assert_recovered(watched, kubectl, "old", "new")


def _pod(image: objects.Image, claim: str) -> dict[str, Any]:
    return objects.pod(claim, image, WRITING.format(claim=claim), claims=(claim,))


async def _send(kubectl: Kubectl, image: objects.Image, name: str) -> None:
    """A claim, and a pod of the same name that writes to it for ever, are on their way."""
    await asyncio.to_thread(kubectl.apply, objects.claim(name, storage.WAITING_CLASS), _pod(image, name))


async def _use(watched: Watching, kubectl: Kubectl, image: objects.Image, name: str) -> None:
    """The same, and the volume is in use."""
    await _send(kubectl, image, name)
    await watched.until(f"{name} is in use", lambda s: _is_in_use(s, kubectl, name), RECOVERED_WITHIN_S)


async def _assert_recovered(watched: Watching, kubectl: Kubectl, *names: str) -> None:
    """Every witness is heard, the volumes are in use and well, and the state holds just what the API server has."""
    await watched.until(
        "all is heard and in use again",
        lambda s: is_heard(s, *watched.heard) and all(_is_well(watched, s, kubectl, name) for name in names),
        RECOVERED_WITHIN_S,
    )
    for tries_left in reversed(range(5)):
        served = await asyncio.to_thread(_served, kubectl)
        try:
            await watched.until(
                "the state is the server's", lambda s, served=served: not _differences(s, served), 2
            )
            return
        except AssertionError as error:
            # What is deleted after it was listed, as earlier tests' objects are, would be missed for ever: list anew.
            if not tries_left:
                raise AssertionError(f"not the server's: {_differences(watched.state, served)}") from error


def _volume(state: State, kubectl: Kubectl, name: str) -> Volume:
    return find_volume(state, kubectl.namespace, name) or Volume(key="")


def _verdict(watched: Watching, state: State, kubectl: Kubectl, name: str) -> Verdict:
    return verdict(state, _volume(state, kubectl, name), watched.session.now)


def _held(word: Verdict, step_id: str, holder: str) -> Verdict | None:
    return word if (word.step_id, word.holder) == (step_id, holder) else None


def _stuck(word: Verdict) -> Verdict | None:
    return word if word.severity is Severity.STUCK else None


def _is_in_use(state: State, kubectl: Kubectl, name: str) -> bool:
    volume = _volume(state, kubectl, name)
    return bool(volume.uses) and standing(state, volume).current is None


def _is_well(watched: Watching, state: State, kubectl: Kubectl, name: str) -> bool:
    well = _verdict(watched, state, kubectl, name).severity is Severity.OK
    return well and _is_in_use(state, kubectl, name)


def _provisioner_named(state: State, kubectl: Kubectl, name: str) -> bool:
    claim = _volume(state, kubectl, name).claim
    return claim is not None and claim.metadata.annotations.storage_provisioner == storage.DRIVER_NAME


def _problems(state: State, witness: Witness) -> tuple[str, ...]:
    """What the header says of a witness that is not heard."""
    return next(view.problems for view in witness_views(state) if view.witness is witness)


def _all_kinds_silent(state: State) -> tuple[str, ...] | None:
    problems = _problems(state, Witness.KUBERNETES)
    return problems if len(problems) == len(KINDS) else None


def _daemon(state: State, kubectl: Kubectl, name: str) -> int | None:
    """The process that serves a volume."""
    for connection in fuse_states(state, _volume(state, kubectl, name)):
        if connection.daemon is not None and connection.daemon.pid and not connection.daemon.exited:
            return connection.daemon.pid
    return None


def _kill(cluster: Cluster, pid: int) -> None:
    process = ProcessId.of(pid)
    assert process in marked(cluster.directory), f"pid {pid} is no process of the cluster"
    process.signal(signal.SIGKILL)


def _last_operation_at(state: State, volume: Volume) -> int:
    return max((connection.last_op_at or 0 for connection in fuse_states(state, volume)), default=0)


Served = dict[str, tuple[int, dict[str, int]]]
"""By kind: the version of its list, and each object's version by uid."""


def _served(kubectl: Kubectl) -> Served:
    """What the API server has of every kind that csitrace follows."""
    served = {}
    for kind in KINDS:
        answer = json.loads(kubectl("get", "--raw", kind.path()))
        versions = {
            item["metadata"]["uid"]: int(item["metadata"]["resourceVersion"]) for item in answer["items"]
        }
        served[kind.name] = (int(answer["metadata"]["resourceVersion"]), versions)
    return served


def _differences(state: State, served: Served) -> dict[str, set[tuple[str, str]]]:
    """Kind and uid of what the state does not have as served or newer, and of what it has and the server had no more."""
    known = {
        identity: int(stored.object.metadata.resource_version) for identity, stored in state.objects.items()
    }
    missing = {
        (kind, uid)
        for kind, (_, versions) in served.items()
        for uid, version in versions.items()
        if known.get((kind, uid), 0) < version
    }
    stale = {
        (kind, uid)
        for (kind, uid), version in known.items()
        if uid not in served[kind][1] and version <= served[kind][0]
    }
    return {name: which for name, which in (("missing", missing), ("stale", stale)) if which}
