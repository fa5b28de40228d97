"""Walk one road: in a namespace of its own, judged all the while, and nothing left at its end."""

import asyncio
import contextlib
import uuid
from collections.abc import Callable

from csitrace.engine.session import Session
from csitrace.lifecycle.state import State
from tests.roads.judge import Judge
from tests.roads.road import Place, Road
from tests.roads.table import Journey
from tests.roads.traveller import Told, Traveller

MOST_SHOWN = 12


async def walk(road: Road, place: Place, session: Session) -> Journey:
    """The moments of a road. AssertionError with what was wrong: a moment that did not come, what the judge found, what is left.

    `session` takes in what every witness of the place says; its history is a `Told`.
    """
    assert isinstance(session.history, Told)
    namespace = f"road-{uuid.uuid4().hex[:8]}"
    judge = Judge(road, namespace, session.history.seen)
    await place.open_namespace(namespace)
    traveller = Traveller(road, place, session, namespace, judge)
    session.history.listeners.append(traveller.take)
    try:
        await road.drive(traveller)
        for handle in traveller.handles:
            await place.unmake_volume(handle)
        await _until_nothing_is_left(traveller)
    except BaseException:
        await _give_up(traveller)
        raise
    finally:
        session.history.listeners.remove(traveller.take)
        await place.close_namespace(namespace)
    assert not judge.wrong, "\n".join([f"{road.name}: {len(judge.wrong)} wrong", *judge.wrong[:MOST_SHOWN]])
    assert traveller.moments, f"{road.name}: a road without a moment shows nothing"
    session.history.awaited += traveller.awaited
    return Journey(road.name, place.kind, tuple(traveller.moments))


async def _give_up(traveller: Traveller) -> None:
    """What a road that failed would leave in others' way: faults, and PVs that nobody deletes."""
    judge, place = traveller.judge, traveller.place
    if traveller.road.disturbs and place.cluster is not None:
        await asyncio.to_thread(place.cluster.revive)
    names = {volume.pv.name for volume in judge.volumes.values() if volume.pv is not None} | judge.pvs
    for volume in judge.volumes.values():
        if volume.volume_id:
            await place.clear_faults(volume.volume_id)
    for name in names:
        with contextlib.suppress(Exception):  # it is gone, or goes by itself
            await place.patch(
                "", f"persistentvolume/{name}", {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}
            )
            await place.delete("", f"persistentvolume/{name}")


async def _until_nothing_is_left(traveller: Traveller) -> None:
    """Kubelet and driver clear away for a while after the last object is gone; what is there then is left for ever."""
    deadline = asyncio.get_running_loop().time() + traveller.place.patience_s
    volumes = tuple(traveller.judge.volumes.values())
    while left := await traveller.place.leftovers(traveller.namespace, volumes):
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError("\n".join([f"{traveller.road.name}: left behind", *left]))
        await asyncio.sleep(0.2)  # directories and processes tell nobody that they go
    await traveller.until("csitrace knows that nothing is left", _all_gone(traveller))


def _all_gone(traveller: Traveller) -> Callable[[State], bool]:
    def holds(state: State) -> bool:
        ours = (volume for volume in state.volumes.values() if traveller.judge.concerns(volume))
        return all(volume.gone_at is not None for volume in ours)

    return holds
