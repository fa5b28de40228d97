"""What is let go: a volume that is gone is kept for a while, and then goes with everything that was known of it alone.

A watch runs for days while volumes come and go, so whatever a volume brought into the state has to leave with it.
"""

from immutables import Map
from msgspec.structs import replace

from csitrace.lifecycle import index
from csitrace.lifecycle.fuse_fold import forget_connection
from csitrace.lifecycle.state import Call, State

CALLS_KEPT = 64
GONE_KEPT = 256


def keep_calls(state: State, subject: str, calls: tuple[Call, ...]) -> State:
    """The state with the latest of `calls`, which are oldest first, as those about `subject`."""
    dropped = calls[:-CALLS_KEPT]
    return replace(
        state,
        calls=state.calls.set(subject, calls[-CALLS_KEPT:]),
        in_flight=_without(state, dropped) if dropped else state.in_flight,
    )


def note_gone(state: State, key: str) -> State:
    """The state with the volume as the latest of those that are gone, and without the oldest of them."""
    if key in state.gone:
        return state
    gone = (*state.gone, key)
    state = replace(state, gone=gone[-GONE_KEPT:])
    for oldest in gone[:-GONE_KEPT]:
        volume = state.volumes.get(oldest)
        if volume is None or volume.gone_at is not None:
            state = _let_go(state, oldest)
    return state


def hand_over(state: State, former: str, key: str) -> State:
    """The state in which the volume `former`, known by a driver's calls only, has turned out to be `key`."""
    volume = state.volumes.get(former)
    subjects = index.members(state, index.SUBJECTS_OF, former)
    old: list[index.Link] = [
        (index.HOLDERS_OF, fact.name, former, None) for fact in (volume.mounts if volume else ())
    ]
    new: list[index.Link] = []
    for subject, driver in subjects.items():
        old += [(index.SUBJECTS_OF, former, subject, driver), (index.KEY_OF_SUBJECT, subject, former, None)]
        new += [(index.SUBJECTS_OF, key, subject, driver), (index.KEY_OF_SUBJECT, subject, key, None)]
    return replace(
        state,
        volumes=state.volumes.delete(former) if volume is not None else state.volumes,
        links=index.relink(state.links, old, new),
    )


def _let_go(state: State, key: str) -> State:
    """The state without the volume, its calls, its links and its FUSE connections. What is another volume's by now (a driver may
    give an id again, a PV may be claimed again) stays."""
    volume = state.volumes.get(key)
    subjects = dict.fromkeys(index.members(state, index.SUBJECTS_OF, key))
    old: list[index.Link] = [(index.SUBJECTS_OF, key, subject, None) for subject in subjects]
    if volume is not None and volume.volume_id:
        subjects[index.subject(volume.driver, volume.volume_id)] = None
    old += [(index.KEY_OF_SUBJECT, subject, key, None) for subject in subjects]
    state = replace(
        state,
        volumes=state.volumes.delete(key) if volume is not None else state.volumes,
        links=index.relink(state.links, old, ()),
    )
    for subject in subjects:
        if not index.members(state, index.KEY_OF_SUBJECT, subject) and subject in state.calls:
            in_flight = _without(state, state.calls[subject])
            state = replace(state, calls=state.calls.delete(subject), in_flight=in_flight)
    if volume is not None and not index.is_known(state, volume.driver, volume.volume_id):
        for identity in index.members(state, index.FUSE_OF, volume.volume_id):
            state = forget_connection(state, state.fuse[identity])
    return state


def _without(state: State, calls: tuple[Call, ...]) -> Map[tuple[str, int], str]:
    """The calls in flight, but for some."""
    in_flight = state.in_flight
    for call in calls:
        identity = (call.instance, call.call_id)
        if identity in in_flight:
            in_flight = in_flight.delete(identity)
    return in_flight
