"""The recorded facts: `TraceEvent` and its bodies, frozen and in the past tense.

Sources produce `Observation`s (a body and what the origin says of the time); the engine stamps each with `seq`, the only order
there is, and `observed_at`, our own clock. From there on nothing knows whether it is live or replayed.

Scopes name what a source covers, so that silence can be told from absence: a Kubernetes kind (`Pod`, or `Pod/ns` where only a
namespace may be read), a node for the kernel (`node-1`), a feed's address or `driver@node` for a driver.
"""

from enum import StrEnum
from typing import Any

import msgspec

from csitrace.model.fuse import DaemonStatus, OpCount
from csitrace.model.kubernetes import KubernetesObject, PersistentVolume, PersistentVolumeClaim, Pod
from csitrace.model.mounts import Mount

ALL_NODES = "*"
"""The kernel's scope of what is so for every node that nothing else is said of."""


class Witness(StrEnum):
    """Who says it: the cluster claims, the driver was asked and answered, the kernel shows what is."""

    KUBERNETES = "kubernetes"
    DRIVER = "driver"
    KERNEL = "kernel"


class Stamp(StrEnum):
    """Where a time comes from: we saw it happen; the origin's clock; a field of the server's object; concluded from others."""

    OBSERVED = "observed"
    ORIGIN = "origin"
    SERVER = "server"
    INFERRED = "inferred"

    @property
    def is_rough(self) -> bool:
        """Whether it tells whole seconds only, as fields do; what was concluded has no time of its own."""
        return self in (Stamp.SERVER, Stamp.INFERRED)


class _Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag=str):
    """One fact. The class name is its tag in traces."""


class ObjectListed(_Body, frozen=True, kw_only=True):
    """An object that existed when we began (or began again) to look: when it came about is not known from this."""

    object: KubernetesObject


class ObjectAdded(_Body, frozen=True, kw_only=True):
    object: KubernetesObject


class ObjectModified(_Body, frozen=True, kw_only=True):
    object: KubernetesObject


class ObjectDeleted(_Body, frozen=True, kw_only=True):
    """`object` is the last state the server told; after a relist, the last state *we* knew, and `missed` is true."""

    object: KubernetesObject
    missed: bool = False


class ListCompleted(_Body, frozen=True, kw_only=True):
    """The initial facts of a scope are all in: from here on absence means absence."""

    witness: Witness
    scope: str
    count: int = 0
    resource_version: str = ""


class RpcStarted(_Body, frozen=True, kw_only=True):
    """A CSI call reached a driver. `instance`: one run of the driver's process; `call_id`: unique within it.

    `volume_id`, `volume_name` (CreateVolume.name), `node_id`, `staging_target_path`, `target_path` are taken from the request;
    `request` holds the redacted request, `attempt` counts calls of this method for this volume since it last succeeded, from 1.
    """

    driver: str
    instance: str
    call_id: int
    method: str
    node_name: str = ""
    volume_id: str = ""
    volume_name: str = ""
    node_id: str = ""
    staging_target_path: str = ""
    target_path: str = ""
    attempt: int = 1
    request: dict[str, Any] = {}


class RpcFinished(_Body, frozen=True, kw_only=True):
    """The answer to the `RpcStarted` with the same `instance` and `call_id`. `volume_id` is also taken from the response."""

    driver: str
    instance: str
    call_id: int
    method: str
    code: int
    message: str = ""
    duration_ns: int = 0
    node_name: str = ""
    volume_id: str = ""
    volume_name: str = ""
    attempt: int = 1
    response: dict[str, Any] = {}


class MountAppeared(_Body, frozen=True, kw_only=True):
    """A mount in a node's mount table. The first ones after SourceUp were there before us, until ListCompleted.

    Told again, with the same id, for a mount whose options changed in place, such as a bind mount that was made read-only.
    """

    node_name: str
    mount: Mount


class MountVanished(_Body, frozen=True, kw_only=True):
    node_name: str
    mount: Mount


class FuseCounted(_Body, frozen=True, kw_only=True):
    """Operations of one FUSE volume in an interval that ended at the event's time, by kind (`READ`, `LOOKUP`, …)."""

    node_name: str
    connection: int
    volume_id: str = ""
    interval_ns: int = 0
    ops: dict[str, OpCount] = {}


class FuseOpSampled(_Body, frozen=True, kw_only=True):
    """One operation, kept because it was slow, failed or drawn by chance. `errno` is its name, empty on success."""

    node_name: str
    connection: int
    volume_id: str = ""
    op: str = ""
    duration_ns: int = 0
    errno: str = ""
    inode: int = 0
    bytes: int = 0


class FuseObserved(_Body, frozen=True, kw_only=True):
    """The state of a FUSE connection and its daemon, when it changed. `waiting`: requests the kernel holds for the daemon (None:
    not told); `init_answered`: None where nobody knows."""

    node_name: str
    connection: int
    volume_id: str = ""
    waiting: int | None = None
    init_answered: bool | None = None
    aborted: bool = False
    daemon: DaemonStatus | None = None


class SourceUp(_Body, frozen=True, kw_only=True):
    """A source is heard (again) on a scope. `detail`: one line for people, e.g. the server's version. `instance`: which run of
    the origin's process speaks, where it tells: calls that another run had in flight will never be answered.
    `formerly`: the scope under which the same source was missed until it said who it is."""

    witness: Witness
    scope: str
    detail: str = ""
    instance: str = ""
    formerly: str = ""


class SourceDown(_Body, frozen=True, kw_only=True):
    """A source fell silent. `reason`: one line for people, the text behind "unknown, because …". `denied`: it was refused
    (permission, missing API), so it will not come back by itself."""

    witness: Witness
    scope: str
    reason: str
    denied: bool = False


class SourceGap(_Body, frozen=True, kw_only=True):
    """Continuity was lost: facts of this scope are missing before this one. `lost`: how many, None where nobody can tell."""

    witness: Witness
    scope: str
    reason: str
    lost: int | None = None


class Marked(_Body, frozen=True, kw_only=True):
    """A note set by the user."""

    text: str


class RecordingGap(_Body, frozen=True, kw_only=True):
    """Facts that were heard are missing here from the recording. `lost`: how many, None where nobody can tell.

    `retold`: what follows tells all that was known after them (`snapshot`), so nothing that was known before counts any more.
    """

    reason: str
    lost: int | None = None
    retold: bool = False


class StepSeen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a witness first showed a step as done; `at` None: it was so before anyone looked, and no field tells since when."""

    step: str
    witness: Witness
    at: int | None = None
    stamp: Stamp = Stamp.OBSERVED


class UseRecalled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One pod's use of a volume. `pod`: its last version, where the pod is gone (`ended_at`)."""

    pod_uid: str
    volume_name: str = ""
    node_name: str = ""
    pod: Pod | None = None
    ended_at: int | None = None
    seen: tuple[StepSeen, ...] = ()


class ExpansionRecalled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request for more room, sizes as the API spells them; `at` None where it was asked before anyone looked."""

    wanted: str
    before: str
    at: int | None = None
    seen: tuple[StepSeen, ...] = ()


class VolumeRecalled(_Body, frozen=True, kw_only=True):
    """What had been seen of a volume that no object, mount or call tells any more; told where a recording begins in the middle of
    what was heard, after all of these.

    `subjects`: what drivers' calls about it were about (`driver/volume id`, `driver/name:…`); `known_by`: those of them that are
    this volume's now. `claim`, `pv`: their last versions, where they are gone or no longer its own.
    """

    key: str
    driver: str = ""
    volume_id: str = ""
    subjects: tuple[str, ...] = ()
    known_by: tuple[str, ...] = ()
    claim: PersistentVolumeClaim | None = None
    claim_gone_at: int | None = None
    pv: PersistentVolume | None = None
    pv_gone_at: int | None = None
    pv_kept: bool = False
    uses: tuple[UseRecalled, ...] = ()
    seen: tuple[StepSeen, ...] = ()
    expansion: ExpansionRecalled | None = None
    first_seen_at: int = 0
    gone_at: int | None = None


class SourceRecalled(_Body, frozen=True, kw_only=True):
    """How a source was heard, likewise. `since`: up or down; `last_at`: its last fact; `listed`: absence means absence; `gaps`:
    how often continuity was lost; `controls`: a driver's feed that has told calls of the Controller service; `delay_ns`: how late
    its facts were at `delay_at`."""

    witness: Witness
    scope: str
    up: bool
    since: int
    last_at: int
    reason: str = ""
    denied: bool = False
    detail: str = ""
    listed: bool = False
    gaps: int = 0
    controls: bool = False
    delay_ns: int = 0
    delay_at: int = 0


class AnomalyRecalled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step the CSI specification does not allow. `subject`: the volume as its driver knows it."""

    at: int
    subject: str
    text: str


class RecallCompleted(_Body, frozen=True, kw_only=True):
    """All that was known is told: from here on facts are new. `gone`: keys of the volumes that are gone, oldest first."""

    gone: tuple[str, ...] = ()
    anomalies: tuple[AnomalyRecalled, ...] = ()
    events_skipped: int = 0
    events_lost: int = 0


class Unrecognised(_Body, frozen=True, kw_only=True):
    """A recorded fact of a kind that this version does not know: skipped and counted. `told`: its body, as it was recorded."""

    told: dict[str, Any] = {}


Body = (
    ObjectListed
    | ObjectAdded
    | ObjectModified
    | ObjectDeleted
    | ListCompleted
    | RpcStarted
    | RpcFinished
    | MountAppeared
    | MountVanished
    | FuseCounted
    | FuseOpSampled
    | FuseObserved
    | SourceUp
    | SourceDown
    | SourceGap
    | Marked
    | RecordingGap
    | VolumeRecalled
    | SourceRecalled
    | RecallCompleted
    | Unrecognised
)


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What a source yields: a fact not yet in order. `occurred_at`: the origin's time in ns, None where it tells none."""

    body: Body
    occurred_at: int | None = None
    stamp: Stamp = Stamp.OBSERVED


class TraceEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One recorded fact. `seq` counts from 1 without gaps; `occurred_at` equals `observed_at` where the origin told no time."""

    seq: int
    observed_at: int
    occurred_at: int
    stamp: Stamp = Stamp.OBSERVED
    body: Body
