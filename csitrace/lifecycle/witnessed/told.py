"""When something happened that nobody saw, as the API server still tells it: which field of which object, and how sure that is.

The server's times are whole seconds: what is told as 14:02:11 happened in that second. A time that is of something later than
the step (the last write of a manager that has written more since, a PV that CreateVolume came before) bounds it: `at_latest`.

* `metadata.creationTimestamp`, conditions, `startedAt`, `finishedAt`, `lastPhaseTransitionTime`: the moment itself.
* `metadata.deletionTimestamp`: the moment it was asked for, plus the grace period that was given (`deletion_asked`).
* `metadata.managedFields[].time`: when that manager last changed a field of its own there; never that it changed a given one.
"""

import msgspec

from csitrace.model.kubernetes import (
    Condition,
    ContainerStatus,
    Event,
    Manager,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    VolumeAttachment,
)
from csitrace.model.times import SECOND, parse_rfc3339

Written = PersistentVolumeClaim | PersistentVolume | VolumeAttachment | Pod


class Told(msgspec.Struct, frozen=True, gc=False):
    """A time (ns) with the field it was read from; `at` None: no field tells."""

    at: int | None = None
    source: str = ""
    at_latest: bool = False


UNTOLD = Told()


def field(time: str | None, source: str, *, at_latest: bool = False) -> Told:
    """What a field that holds a time says."""
    at = parse_rfc3339(time)
    return UNTOLD if at is None else Told(at, source, at_latest)


def created(obj: Written, *, at_latest: bool = False) -> Told:
    return field(obj.metadata.creation_timestamp, f"creationTimestamp of {obj.kind}", at_latest=at_latest)


def deletion_asked(obj: Written) -> Told:
    """When its deletion was asked for: the field holds the end of the grace period."""
    told = field(obj.metadata.deletion_timestamp, f"deletionTimestamp of {obj.kind}")
    grace = obj.metadata.deletion_grace_period_seconds or 0
    if told.at is None or not grace:
        return told
    return Told(told.at - grace * SECOND, f"{told.source} less its grace period of {grace} s")


def wrote(obj: Written, manager: Manager, subresource: str = "", *, exactly: bool = False) -> Told:
    """When a manager last wrote the object, or a subresource of it. `exactly`: it writes there but once, so this was it."""
    times = [
        (entry.time or "")
        for entry in obj.metadata.managed_fields
        if (entry.manager, entry.subresource) == (manager, subresource)
    ]
    place = f"{obj.kind}/{subresource}" if subresource else obj.kind
    return field(max(times, default=""), f"managedFields of {manager} on {place}", at_latest=not exactly)


def turned(condition: Condition | None, *, at_latest: bool = False) -> Told:
    """When a condition became what it is."""
    if condition is None:
        return UNTOLD
    return field(condition.last_transition_time, f"condition {condition.type}", at_latest=at_latest)


def first_said(event: Event | None) -> Told:
    """When an Event was first said: what it tells of had happened by then."""
    return UNTOLD if event is None else field(event.first_time, f"Event {event.reason}", at_latest=True)


def first_started(status: ContainerStatus) -> Told:
    """When a container was first started: of several starts the last two are told, so the third is no more than a bound."""
    last = status.last_state.terminated
    state = status.state.running or status.state.terminated
    if status.restart_count == 0:
        return field(state.started_at if state is not None else None, "startedAt of containers")
    bound = status.restart_count > 1
    started = field(last.started_at if last is not None else None, "startedAt of containers", at_latest=bound)
    if started.at is None and state is not None:
        return field(state.started_at, "startedAt of containers", at_latest=True)
    return started


def earliest(*told: Told) -> Told:
    """The best of several that tell of one thing: an exact one, else the lowest bound."""
    known = [each for each in told if each.at is not None]
    return min(known, key=lambda each: (each.at_latest, each.at or 0), default=UNTOLD)


def latest(*told: Told) -> Told:
    """When all of several things had happened; UNTOLD where one of them is not told."""
    if not told or any(each.at is None for each in told):
        return UNTOLD
    last = max(told, key=lambda each: each.at or 0)
    return Told(last.at, last.source, any(each.at_latest for each in told))
