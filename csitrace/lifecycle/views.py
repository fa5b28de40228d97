"""The shapes that screens and printers draw: functions of (state, now) return these, nothing else is drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import msgspec

from csitrace.lifecycle.state import StepStatus
from csitrace.model.events import Stamp, Witness
from csitrace.model.times import SECOND


class Severity(IntEnum):
    """How much a volume wants attention; the list shows the highest first."""

    GONE = 0
    OK = 1
    WAITING = 2  # as asked: nobody is late (e.g. WaitForFirstConsumer without a pod)
    MOVING = 3
    UNKNOWN = 4
    SLOW = 5  # longer in the step than is usual
    STUCK = 6  # refused, failed, or far longer than usual


@dataclass(frozen=True, slots=True)
class Evidence:
    """One fact behind a verdict. `seq` 0: the absence of a fact."""

    witness: Witness
    text: str
    seq: int = 0
    at: int | None = None

    @property
    def stamp(self) -> Stamp:
        """How well its time is known: objects' fields and Events tell whole seconds, and nobody else does."""
        return Stamp.SERVER if self.at is not None and self.at % SECOND == 0 else Stamp.OBSERVED


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a volume stands where it stands. `holder`: who must act now; `command`: what to run next (may be empty); `refused`:
    what is tried has been answered by an error so far, if none that is final.
    """

    severity: Severity
    step_id: str
    sentence: str
    holder: str = ""
    since: int | None = None
    evidence: tuple[Evidence, ...] = ()
    command: str = ""
    refused: bool = False


class Testimony(msgspec.Struct, frozen=True):
    """What one witness says of one step. `text` is short; `at` with `stamp` is None where it gives no time.

    `source`: the field that the time was read from; `at_latest`: it was done by then, and perhaps earlier; `refused`: the last
    answer was an error, if none that is final.
    """

    status: StepStatus
    text: str = ""
    at: int | None = None
    stamp: Stamp = Stamp.OBSERVED
    seq: int = 0
    source: str = ""
    at_latest: bool = False
    refused: bool = False


class StepView(msgspec.Struct, frozen=True):
    """One rung of the ladder. `note`: why n/a, why unknown, or what is waited for. `took_ns`: since the step before was done;
    `took_rough`: one of the two times is known to the second only.

    `passed`: nobody can tell whether it was done or did not apply, but what comes after it was done: it is not waited for.
    """

    step_id: str
    stage: str
    title: str
    actor: str
    status: StepStatus
    at: int | None = None
    stamp: Stamp = Stamp.OBSERVED
    took_ns: int | None = None
    note: str = ""
    testimonies: Mapping[Witness, Testimony] = msgspec.field(default_factory=dict)
    passed: bool = False
    source: str = ""  # as of the testimony whose time this is
    at_latest: bool = False
    took_rough: bool = False


@dataclass(frozen=True, slots=True)
class SpanView:
    """A named interval (provision, attach, stage, publish, expand, and the inverses). `ended_at` None: still open."""

    name: str
    started_at: int
    ended_at: int | None
    outcome: str  # "ok", a gRPC code name, or "" while open
    attempts: int = 1
    node_name: str = ""
    retry_marks: tuple[int, ...] = ()  # when each attempt began


@dataclass(frozen=True, slots=True)
class VolumeRow:
    """One line of the list. `phases`: CREATED, NODE_READY, VOL_READY, PUBLISHED. Rates are None where no witness tells them."""

    key: str
    namespace: str
    name: str
    display_name: str
    pv_name: str
    driver: str
    storage_class: str
    phases: tuple[StepStatus, StepStatus, StepStatus, StepStatus]
    stage: str
    step_id: str
    step_title: str
    since: int | None
    node_names: tuple[str, ...]
    pods: tuple[str, ...]
    severity: Severity
    finding: str  # short; empty when all is well
    verdict: Verdict
    ops_per_second: float | None = None
    p99_ns: int | None = None
    errors: int | None = None
    going: bool = False  # on the way back
    changed_seq: int = 0


@dataclass(frozen=True, slots=True)
class WitnessView:
    """The header's word on one witness: heard on `up` of `total` scopes, silent for how long, and why not."""

    witness: Witness
    up: int
    total: int
    last_at: int | None
    problems: tuple[str, ...] = ()  # "VolumeAttachment: may not list …"
    silent: tuple[tuple[str, int], ...] = ()  # (scope, when it was last heard), the longest silent first
    delay_ns: int = 0  # how late what it tells is, where that is worth a word
