"""The CSI volume life cycle as a table of transitions (CSI specification, "Volume Lifecycle", figures 5 to 8).

A volume's phase is hierarchical: CREATED is the volume's, NODE_READY and VOL_READY belong to a (volume, node), PUBLISHED to a
(volume, node, target path). The table therefore speaks of one (volume, node, target). Drivers leave parts out (no
PUBLISH_UNPUBLISH_VOLUME, no STAGE_UNSTAGE_VOLUME), which is why a call may skip a phase; what no figure allows is an anomaly,
told and never raised.
"""

from collections.abc import Iterable
from enum import StrEnum

from csitrace.lifecycle.state import Call


class Phase(StrEnum):
    """`UNKNOWN`: we came later than the volume. `ABSENT`: before CreateVolume, after DeleteVolume."""

    UNKNOWN = "unknown"
    ABSENT = "absent"
    CREATED = "CREATED"
    NODE_READY = "NODE_READY"
    VOL_READY = "VOL_READY"
    PUBLISHED = "PUBLISHED"


_U, _A, _C, _N, _V, _P = Phase

TRANSITIONS: dict[tuple[Phase, str], Phase] = {
    # forward, with the phases a driver's capabilities let it skip
    (_A, "CreateVolume"): _C,
    (_C, "ControllerPublishVolume"): _N,
    (_C, "NodeStageVolume"): _V,
    (_C, "NodePublishVolume"): _P,
    (_N, "NodeStageVolume"): _V,
    (_N, "NodePublishVolume"): _P,
    (_V, "NodePublishVolume"): _P,
    # repeated: every call is idempotent
    (_C, "CreateVolume"): _C,
    (_N, "CreateVolume"): _N,
    (_V, "CreateVolume"): _V,
    (_P, "CreateVolume"): _P,
    (_N, "ControllerPublishVolume"): _N,
    (_V, "ControllerPublishVolume"): _V,
    (_P, "ControllerPublishVolume"): _P,
    (_V, "NodeStageVolume"): _V,
    (_P, "NodeStageVolume"): _P,
    (_P, "NodePublishVolume"): _P,
    # the way back; a phase that was skipped forward is skipped back, see `phase_of`
    (_P, "NodeUnpublishVolume"): _V,
    (_V, "NodeUnpublishVolume"): _V,
    (_N, "NodeUnpublishVolume"): _N,
    (_C, "NodeUnpublishVolume"): _C,
    (_V, "NodeUnstageVolume"): _N,
    (_N, "NodeUnstageVolume"): _N,
    (_C, "NodeUnstageVolume"): _C,
    (_N, "ControllerUnpublishVolume"): _C,
    (_C, "ControllerUnpublishVolume"): _C,
    (_C, "DeleteVolume"): _A,
    (_A, "DeleteVolume"): _A,
}
"""(phase, call that was answered OK) -> phase. Every pair that is missing is a step the specification does not allow."""

LEADS_TO: dict[str, Phase] = {
    "CreateVolume": _C,
    "ControllerPublishVolume": _N,
    "NodeStageVolume": _V,
    "NodePublishVolume": _P,
    "DeleteVolume": _A,
}
"""What a call proves when the phase before it is not known. A call on the way back proves nothing of the other targets."""


def after(phase: Phase, method: str) -> Phase | None:
    """The phase after `method` was answered OK; None where the specification does not allow it in `phase`."""
    if method not in _LIFECYCLE_METHODS:
        return phase
    if phase is Phase.UNKNOWN:
        return LEADS_TO.get(method, Phase.UNKNOWN)
    return TRANSITIONS.get((phase, method))


def phase_of(calls: Iterable[Call]) -> Phase:
    """The phase that a sequence of calls about one (volume, node, target), oldest first, has led to."""
    phase, seen = Phase.UNKNOWN, set()
    for call in calls:
        if call.code == 0:
            seen.add(call.method)
            phase = after(phase, call.method) or LEADS_TO.get(call.method, Phase.UNKNOWN)
            for skipped, entrance in _ENTRANCES.items():
                if phase is skipped and entrance not in seen:
                    phase = _BELOW[skipped]
    return phase


def check_call(call: Call, earlier: Iterable[Call]) -> str:
    """What is wrong with a call that was answered OK after `earlier` ones about the same volume; "" when nothing is.

    Only what the same process answered is held against it: what the drivers of two nodes tell comes in in no certain order.
    """
    if call.code != 0 or call.method not in _LIFECYCLE_METHODS:
        return ""
    before = (o for o in earlier if o is not call and _same_teller(o, call) and _same_place(o, call))
    phase = phase_of(before)
    if after(phase, call.method) is not None:
        return ""
    place = f" on {call.node_name or call.node_id}" if call.node_name or call.node_id else ""
    return (
        f"{call.method} of {call.volume_id} was answered OK{place} in phase {phase}, which CSI does not allow"
    )


def _same_teller(other: Call, call: Call) -> bool:
    """Whether one process answered both, or a process and its successor on a node."""
    if other.instance == call.instance:
        return True
    return other.driver == call.driver and other.node_name == call.node_name != ""


def _node_of(call: Call) -> str:
    """The node a call is about: the one that its request names, or the one it was made on; "" for the volume as such."""
    return call.node_id or (call.node_name if call.method.startswith("Node") else "")


def _same_place(other: Call, call: Call) -> bool:
    """Node calls concern one node, publish calls one target; a call without them concerns the whole volume.

    A node's id, as its driver knows it, need not be its name: then calls about the node are not seen to belong together.
    """
    if _node_of(other) and _node_of(call) and _node_of(other) != _node_of(call):
        return False
    if other.target_path and call.target_path and other.target_path != call.target_path:
        return False
    if (
        other.staging_target_path
        and call.staging_target_path
        and not other.target_path
        and not call.target_path
    ):
        return other.staging_target_path == call.staging_target_path
    return True


_ENTRANCES = {_V: "NodeStageVolume", _N: "ControllerPublishVolume", _C: "CreateVolume"}
"""The call that leads into a phase: without it, the driver (or our knowledge) has no such phase to come back to."""

_BELOW = {_V: _N, _N: _C, _C: _U}

_LIFECYCLE_METHODS = frozenset(method for _, method in TRANSITIONS)
