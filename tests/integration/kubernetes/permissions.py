"""What csitrace shows to whom: three volumes, seen through a real Kubernetes source from an API server that refuses something.

`python -m tests.integration.kubernetes.permissions` writes the table of docs/permissions.md.
"""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

from csitrace.engine.merge import merge
from csitrace.engine.session import Session
from csitrace.lifecycle.ladder import ladder
from csitrace.lifecycle.row import volume_row
from csitrace.lifecycle.state import State, StepStatus
from csitrace.lifecycle.verdict import standing
from csitrace.model import events
from csitrace.model.events import Observation, Witness
from csitrace.model.kinds import EVENT, KINDS, PERSISTENT_VOLUME_CLAIM, POD
from csitrace.model.kubernetes import CSINode, CSINodeDriver, CSINodeSpec, KubernetesObject
from csitrace.model.times import SECOND
from csitrace.report.lines import LEVELS
from csitrace.report.printer import has_begun
from csitrace.sources.kubernetes.access import Access
from csitrace.sources.kubernetes.source import KubernetesSource
from tests import story
from tests.integration.kubernetes.api_server import ApiServer

DOCUMENT = Path(__file__).parents[3] / "docs" / "permissions.md"
PATIENCE_S = 60.0
AFTER_NS = 60 * SECOND
"""When the volumes are looked at, since they were created."""


@dataclass(frozen=True, slots=True)
class Case:
    """Somebody who lacks something. `refused`: resources that may not be read at all; `narrow`: only in the namespace `shop`;
    `heard`: the agents of the nodes are, too."""

    lacks: str
    refused: frozenset[str] = frozenset()
    narrow: bool = False
    heard: bool = False


OWN = (PERSISTENT_VOLUME_CLAIM, POD, EVENT)
_CLUSTER_SCOPED = frozenset(kind.resource for kind in KINDS if not kind.namespaced)
_FOREIGN = frozenset(kind.resource for kind in KINDS if kind not in OWN)

CASES: tuple[Case, ...] = (
    Case("nothing", heard=True),
    Case("agents, or the right to forward a port to them"),
    *(Case(kind.resource, frozenset({kind.resource}), heard=True) for kind in KINDS),
    Case("everything cluster-scoped", _CLUSTER_SCOPED, heard=True),
    Case("all but the Role of its namespace, also agents", _FOREIGN, narrow=True),
)

MOMENTS = ("in use", "attach is refused", "cannot be provisioned")


def objects(moment: str) -> list[KubernetesObject]:
    """What the API server has at each moment."""
    selected = {"selected_node": story.NODE, "storage_provisioner": story.DRIVER}
    registered = CSINodeSpec(drivers=(CSINodeDriver(name=story.DRIVER, node_id=story.NODE),))
    around: list[KubernetesObject] = [
        story.storage_class(),
        story.csi_driver(),
        CSINode(metadata=story.meta(story.NODE, "uid-csinode"), spec=registered),
    ]
    if moment == "cannot be provisioned":
        claim = story.claim(**selected)
        said = 'failed to provision volume with StorageClass "fast": rpc error: code = Internal desc = the pool is full'
        return [*around, story.node(), claim, story.pod(), story.happened("ProvisioningFailed", said, claim)]
    bound: list[KubernetesObject] = [story.claim("Bound", story.PV_NAME, **selected), story.pv(), *around]
    if moment == "in use":
        running = story.pod(story.NODE, "running", "Running", started=True)
        return [*bound, story.node(True, True), running, story.attachment(attached=True, finalizer=True)]
    waiting = story.pod(story.NODE, "waiting", started=True)
    refused = "rpc error: code = Internal desc = no slot is free"
    said = f'AttachVolume.Attach failed for volume "{story.PV_NAME}" : {refused}'
    attachment = story.attachment(error=refused, finalizer=True)
    return [
        *bound,
        story.node(in_use=True),
        waiting,
        attachment,
        story.happened("FailedAttachVolume", said, waiting),
    ]


async def seen(case: Case, moment: str) -> State:
    """The state of somebody who lacks what `case` says, when the first lists are there."""
    async with ApiServer() as server:
        for obj in objects(moment):
            server.load(obj)
        server.refusals = dict.fromkeys(case.refused, 403)
        server.refusals |= {
            f"{resource}/{namespace}": 403 for resource in case.refused for namespace in ("shop", "default")
        }
        if case.narrow:
            server.refusals |= {kind.resource: 403 for kind in OWN}
        session = Session("test", lambda: story.START + AFTER_NS)
        if case.heard:
            session.take(Observation(body=body) for body in heard(moment))
        source = KubernetesSource(Access(server=server.url, namespace="shop", near=True))
        begun = asyncio.Event()
        session.on_change(lambda: begun.set() if has_begun(session.state) else None)
        running = asyncio.create_task(session.run(merge([source])))
        try:
            await asyncio.wait_for(begun.wait(), PATIENCE_S)
        finally:
            running.cancel()
            await asyncio.wait({running})
        return session.state


def heard(moment: str) -> list[events.Body]:
    """What driver and kernel tell."""
    told = story.Story().hear_everyone()
    told.tell(events.ListCompleted(witness=Witness.DRIVER, scope=f"{story.DRIVER}@{story.NODE}"))
    told.events = [event for event in told.events if _is_of_the_node(event.body)]
    if moment == "in use":
        told.mount(story.STAGING, 100).mount(story.TARGET, 101)
    return [event.body for event in told.events]


def _is_of_the_node(body: events.Body) -> bool:
    return getattr(body, "witness", Witness.KUBERNETES) is not Witness.KUBERNETES


def shown(state: State) -> str:
    """How the volume is shown, and which of its steps are unknown for which reason."""
    volume = state.volumes.get(story.KEY)
    if volume is None:
        return "not shown"
    row = volume_row(state, volume, story.START + AFTER_NS)
    use = standing(state, volume).use
    unknown: dict[str, list[str]] = {}
    for view in ladder(state, volume, use):
        if view.status is StepStatus.UNKNOWN:
            unknown.setdefault(_plain(view.note), []).append(view.step_id)
    sentence = _plain(row.verdict.sentence)
    told = f"**{LEVELS[row.severity]}** {row.step_id}: {sentence}"
    for reason, steps in unknown.items():
        told += f"; unknown {', '.join(steps)}" + (f": {reason}" if reason not in sentence else "")
    return told


def _plain(text: str) -> str:
    """Without what the server of this run said, and as short as a cell of a table must be."""
    text = re.sub(r" \(API server [^)]*\)", "", text).replace(story.PV_NAME, "pvc-1…5")
    return re.sub(
        r"may not list and watch (\w+)\S* (?:at the cluster scope|in namespace \w+)", r"may not list \1", text
    )


States = dict[tuple[Case, str], State]


async def all_seen() -> States:
    """Every case at every moment."""
    cases = [(case, moment) for case in CASES for moment in MOMENTS]
    return dict(zip(cases, await asyncio.gather(*(seen(*case) for case in cases)), strict=True))


def table(states: States) -> str:
    """The table, in Markdown."""
    lines = ["| lacks | " + " | ".join(MOMENTS) + " |", "|---" * (len(MOMENTS) + 1) + "|"]
    for case in CASES:
        cells = [shown(states[case, moment]) for moment in MOMENTS]
        lines.append("| " + " | ".join([case.lacks, *cells]) + " |")
    return "\n".join(lines) + "\n"


def write() -> None:
    """Put the table of now in the place of the one in docs/permissions.md."""
    text = DOCUMENT.read_text()
    begin = text.index("| lacks |")
    end = text.index("\n\n", begin) + 1
    DOCUMENT.write_text(text[:begin] + table(asyncio.run(all_seen())) + text[end:])


if __name__ == "__main__":
    write()
