"""The state of everything, as a value: what `fold` builds, what views read. All of it is immutable and shares structure
with the states before and after it, so keeping many of them is cheap. (Structs rather than dataclasses: `replace` is what a
fold does most, and `msgspec.structs.replace` is far cheaper than `dataclasses.replace`.)
"""

from enum import StrEnum
from typing import Any

import msgspec
from immutables import Map

from csitrace.model.events import FuseOpSampled, Stamp, Witness
from csitrace.model.fuse import DaemonStatus, OpCount
from csitrace.model.kubernetes import (
    Event,
    KubernetesObject,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    VolumeAttachment,
)
from csitrace.model.mounts import Mount

EMPTY: Map[Any, Any] = Map()
"""The empty map; immutable, so one serves all."""


class StepStatus(StrEnum):
    """Where a step stands. `NOT_APPLICABLE` is never `PENDING`, and `UNKNOWN` is never either."""

    DONE = "done"
    MOVING = "moving"
    PENDING = "pending"
    FAILED = "failed"
    NOT_APPLICABLE = "n/a"
    UNKNOWN = "unknown"


class Mark(msgspec.Struct, frozen=True):
    """When a witness first showed a step as done; `at` is None where it was so before we came and no field tells since when.

    `seq` is the event that told us. `source`: the field that `at` was read from, where nobody saw it happen; `at_latest`: it was
    done by then, and perhaps earlier.
    """

    at: int | None
    stamp: Stamp
    seq: int
    source: str = ""
    at_latest: bool = False


class Call(msgspec.Struct, frozen=True):
    """One CSI call to a driver. `code` is None while it is in flight; `finished_at` then, too."""

    method: str
    driver: str
    instance: str
    call_id: int
    started_at: int
    seq: int
    node_name: str = ""
    node_id: str = ""
    volume_id: str = ""
    staging_target_path: str = ""
    target_path: str = ""
    attempt: int = 1
    finished_at: int | None = None
    finished_seq: int | None = None
    duration_ns: int | None = None
    code: int | None = None
    message: str = ""
    abandoned: bool = False  # in flight when the driver's process went away: the answer will never come

    @property
    def in_flight(self) -> bool:
        return self.code is None and not self.abandoned


class MountFact(msgspec.Struct, frozen=True):
    """A mount that belongs to a volume. `role`: "staging", "publish", "subpath" or "map" (see `paths`)."""

    node_name: str
    mount: Mount
    role: str
    at: int
    stamp: Stamp
    seq: int
    pod_uid: str = ""

    @property
    def name(self) -> str:
        """What tells it from all other mounts, of all nodes."""
        return f"{self.node_name}/{self.mount.mount_id}"


class Use(msgspec.Struct, frozen=True):
    """One pod that uses a volume. `marks`: when each (step id, witness) was first done. `ended_at`: the pod object is gone."""

    pod: Pod
    volume_name: str  # the name in pod.spec.volumes
    node_name: str
    seq: int  # of the event that last changed the pod
    marks: Map[tuple[str, Witness], Mark]
    ended_at: int | None = None
    ended_seq: int | None = None

    @property
    def pod_uid(self) -> str:
        return self.pod.uid

    @property
    def is_finished(self) -> bool:
        """The pod's containers have ended for good: kubelet lets its volumes go, while the object may stay for ever."""
        return self.pod.status.phase in ("Succeeded", "Failed")


class Expansion(msgspec.Struct, frozen=True):
    """The latest request for more room that was seen while the claim did not have it yet.

    `wanted` and `before` as the API spells sizes; `at` None where it was asked before we came; `marks` as in `Use`, of the
    expansion's own steps.
    """

    wanted: str
    before: str
    at: int | None
    seq: int
    marks: Map[tuple[str, Witness], Mark] = EMPTY


class EventFact(msgspec.Struct, frozen=True):
    """A Kubernetes Event about one of the volume's objects, with the seq of its latest version."""

    event: Event
    at: int
    seq: int


class Volume(msgspec.Struct, frozen=True):
    """Everything known of one volume, joined across witnesses.

    `key`: `claim/<uid>`, `pv/<uid>` (never claimed), `inline/<pod uid>/<volume>` or `handle/<driver>/<volume id>` (seen by a
    driver or kernel only). The claim and PV kept here may be deleted already: `claim_gone_at`, `pv_gone_at` then say when.
    `gone_at`: nothing of it is left anywhere that we can see.
    """

    key: str
    driver: str = ""
    volume_id: str = ""
    claim: PersistentVolumeClaim | None = None
    claim_seq: int = 0
    claim_gone_at: int | None = None
    pv: PersistentVolume | None = None
    pv_seq: int = 0
    pv_gone_at: int | None = None
    pv_kept: bool = False  # the PV itself stayed when it ceased to be this claim's
    attachments: tuple[tuple[VolumeAttachment, int], ...] = ()  # (object, seq), by node name
    uses: tuple[Use, ...] = ()  # living pods first, then ended ones, newest first
    calls: tuple[Call, ...] = ()  # oldest first, bounded
    mounts: tuple[MountFact, ...] = ()
    events: tuple[EventFact, ...] = ()  # oldest first, bounded
    marks: Map[tuple[str, Witness], Mark] = EMPTY  # steps that concern the volume as a whole
    expansion: Expansion | None = None
    first_seen_at: int = 0
    changed_seq: int = 0
    gone_at: int | None = None

    @property
    def namespace(self) -> str:
        if self.claim is not None:
            return self.claim.namespace
        if self.pv is not None and self.pv.spec.claim_ref is not None:
            return self.pv.spec.claim_ref.namespace
        return self.uses[0].pod.namespace if self.uses else ""

    @property
    def pv_name(self) -> str:
        """The PV's name, also where only the claim that is bound to it may be read; "" where there is none yet."""
        if self.pv is not None:
            return self.pv.name
        return self.claim.spec.volume_name if self.claim is not None else ""

    @property
    def name(self) -> str:
        """What people call it: the claim's name, else the pod's and volume's, the PV's, or the driver's id."""
        if self.claim is not None:
            return self.claim.name
        if self.pv is not None:
            return self.pv.spec.claim_ref.name if self.pv.spec.claim_ref is not None else self.pv.name
        if self.uses:
            return f"{self.uses[0].pod.name}:{self.uses[0].volume_name}"
        return self.volume_id or self.key

    @property
    def display_name(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class FuseWindow(msgspec.Struct, frozen=True):
    """Counts of one interval, for rates. `at` is its end."""

    at: int
    interval_ns: int
    ops: dict[str, OpCount]


class FuseState(msgspec.Struct, frozen=True):
    """One FUSE connection: totals since it was first seen, the latest windows (bounded, oldest first), samples (likewise)."""

    node_name: str
    connection: int
    volume_id: str = ""
    totals: Map[str, OpCount] = EMPTY
    windows: tuple[FuseWindow, ...] = ()
    samples: tuple[tuple[int, int, FuseOpSampled], ...] = ()  # (at, seq, sample)
    waiting: int | None = None
    waiting_since: int | None = None  # since when `waiting` has not been 0
    init_answered: bool | None = None
    aborted: bool = False
    daemon: DaemonStatus | None = None
    first_op_at: int | None = None
    last_op_at: int | None = None
    changed_at: int = 0
    changed_seq: int = 0

    @property
    def ended(self) -> bool:
        """Its daemon is gone, or the kernel has given it up: nothing on it is answered any more."""
        return self.aborted or (self.daemon is not None and bool(self.daemon.exited))


class SourceState(msgspec.Struct, frozen=True):
    """How one source is heard on one scope. `since`: since when up or down; `last_at`: last fact; `listed`: absence counts.

    `delay_ns`: how late its facts were at `delay_at`, by others' clocks; 0 where nothing tells (see `delays`).
    """

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
    delay_ns: int = 0
    delay_at: int = 0


class Anomaly(msgspec.Struct, frozen=True):
    """A step the CSI specification does not allow. A value, never an exception. `subject`: the volume as its driver knows it."""

    seq: int
    at: int
    subject: str
    text: str


class Stored(msgspec.Struct, frozen=True):
    """An object as last told, with the event that told it."""

    object: KubernetesObject
    seq: int
    at: int


class State(msgspec.Struct, frozen=True):
    """Everything known after event `seq`; `at` is that event's `observed_at`.

    `volumes` is what views read. `objects`: by (kind, uid). The other maps are the correlation indexes of `index`.
    """

    seq: int = 0
    at: int = 0
    volumes: Map[str, Volume] = EMPTY
    objects: Map[tuple[str, str], Stored] = EMPTY
    names: Map[tuple[str, str, str], str] = EMPTY  # (kind, namespace, name) -> uid
    sources: Map[tuple[Witness, str], SourceState] = EMPTY
    fuse: Map[tuple[str, int], FuseState] = EMPTY  # by (node name, connection)
    mounts: Map[tuple[str, int], MountFact] = EMPTY  # by (node name, mount id)
    links: Map[tuple[str, str], Map[Any, Any]] = EMPTY  # one-to-many relations, see `index`
    calls: Map[str, tuple[Call, ...]] = EMPTY  # by subject (`index.subject`), oldest first, bounded
    in_flight: Map[tuple[str, int], str] = EMPTY  # (instance, call id) -> subject
    others: Map[str, str] = EMPTY  # keys of claims and PVs that are none of ours -> why (`left_out.Reason`)
    gone: tuple[str, ...] = ()  # keys of volumes that are gone, oldest first, bounded
    changed_keys: tuple[str, ...] = ()  # volumes that the last event may have changed
    anomalies: tuple[Anomaly, ...] = ()  # bounded, oldest first
    events_skipped: int = 0
    events_lost: int = 0  # facts that were heard, and are missing from the recording this was read from
