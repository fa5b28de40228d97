"""The expand controller: says of a claim that is to grow that it leaves it to others.

kube-controller-manager 1.34, pkg/controller/volume/expand. Only of a migrated in-tree volume does it also name the resizer on the
claim.
"""

from csitrace.lab import objects
from csitrace.lab.apiserver.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from csitrace.lab.program import Program
from csitrace.lab.quantity import parse_quantity
from csitrace.lab.recorder import EventRecorder
from csitrace.lab.status import Object
from csitrace.lab.workqueue import WorkQueue


class ExpandController:
    def __init__(self, program: Program) -> None:
        self._events = EventRecorder(program.client, "volume_expand")
        self._claims = program.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = program.informer(PERSISTENT_VOLUMES)
        self._queue: WorkQueue[tuple[str, str]] = WorkQueue(self._sync)
        self._requested: dict[str, str] = {}
        """uid -> the request that was last looked at: this controller wakes on a larger one, not on each change."""
        self._claims.on_change(self._claim_changed)
        program.task(self._queue.run)

    def _claim_changed(self, claim: Object, deleted: bool) -> None:
        uid, wanted = claim["metadata"]["uid"], claim["spec"]["resources"]["requests"]["storage"]
        known = self._requested.get(uid)
        if deleted:
            self._requested.pop(uid, None)
            return
        self._requested[uid] = wanted
        if known != wanted and is_to_grow(claim):
            self._queue.add(objects.key_of(claim))

    async def _sync(self, key: tuple[str, str]) -> None:
        claim = self._claims.get(key[1], key[0])
        volume = self._volumes.get(claim["spec"].get("volumeName", "")) if claim else None
        if claim is None or volume is None or not is_to_grow(claim) or "csi" not in volume["spec"]:
            return
        message = "waiting for an external controller to expand this PVC"
        await self._events.normal(claim, "ExternalExpanding", message)


def is_to_grow(claim: Object) -> bool:
    """Bound, and more is asked for than there is."""
    has = (claim["status"].get("capacity") or {}).get("storage")
    wanted = claim["spec"]["resources"]["requests"]["storage"]
    bound = claim["status"].get("phase") == "Bound"
    return bound and has is not None and parse_quantity(wanted) > parse_quantity(has)
