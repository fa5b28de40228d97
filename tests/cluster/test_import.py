"""Dumps that plain kubectl makes of a real cluster with stuck volumes give the verdict that the live cluster gives."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.state import State, Volume
from csitrace.lifecycle.verdict import verdict
from csitrace.lifecycle.views import Verdict
from csitrace.model.events import Witness
from csitrace.sources.imports.importing import open_import
from csitrace.sources.kubernetes.config import ConnectionOptions
from csitrace.sources.kubernetes.source import KubernetesSource
from tests.cluster.harness import objects, storage
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.watching import find_volume, hearing

KINDS = "pvc,pv,volumeattachment,pod,event,csidriver,csinode,storageclass,node,lease"


@pytest.mark.parametrize(
    ("part", "form", "is_stuck"),
    [
        ("csi-provisioner", "yaml", lambda volume: volume.claim.metadata.annotations.storage_provisioner),
        ("csi-attacher", "json", lambda volume: volume.attachments),
        ("csi-attacher", "yaml", lambda volume: volume.attachments),
    ],
)
async def test_a_dump_of_a_stuck_volume_gives_the_live_verdict(
    kubectl: Kubectl,
    image: objects.Image,
    cluster: Cluster,
    tmp_path: Path,
    part: str,
    form: str,
    is_stuck: Callable[[Volume], object],
) -> None:
    """Without its provisioner or attacher a volume stands still: step, holder and sentence are the same from `kubectl get -o`."""
    source = await KubernetesSource.open(ConnectionOptions(kubeconfig=str(kubectl.kubeconfig)))
    async with hearing([source], {Witness.KUBERNETES}) as watched:
        await asyncio.to_thread(cluster.kill, part)
        kubectl.apply(
            objects.claim("data", storage.WAITING_CLASS), objects.pod("pod", image, claims=("data",))
        )

        def stuck(state: State) -> Volume | None:
            volume = find_volume(state, kubectl.namespace)
            return volume if volume is not None and volume.claim is not None and is_stuck(volume) else None

        await watched.until(f"the volume waits for {part}", stuck)
        dump = tmp_path / "dump"
        dump.write_text(await asyncio.to_thread(kubectl, "get", KINDS, "--all-namespaces", "-o", form))
        imported = State()
        for event in open_import([dump]).events:
            imported = fold(imported, event)
        volume = find_volume(imported, kubectl.namespace)
        assert volume is not None
        live = find_volume(watched.state, kubectl.namespace)
        assert live is not None
        # Both at one moment: what is slow by now was not yet when the dump was made, or was already.
        at = imported.at
        assert _essence(verdict(imported, volume, at)) == _essence(verdict(watched.state, live, at))


def _essence(word: Verdict) -> tuple[object, ...]:
    return word.severity, word.step_id, word.holder, word.sentence, word.command
