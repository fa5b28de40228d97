"""Who drives a road: acts as a user does, waits for moments, and writes down how every step stands in each."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from msgspec.structs import replace

from csitrace.engine.session import Session
from csitrace.lifecycle.history import History
from csitrace.lifecycle.state import State, Volume
from csitrace.lifecycle.views import Severity
from csitrace.model.events import TraceEvent
from tests.cluster.harness import objects
from tests.cluster.watching import describe
from tests.roads.expected import Expected, Waits, expected
from tests.roads.judge import Judge
from tests.roads.manifests import IDLE, Object
from tests.roads.road import Place, Road
from tests.roads.seen import Seen
from tests.roads.shown import Awaited, Shown, find
from tests.roads.table import SIGNS, Moment

T = TypeVar("T")


class Told(History):
    """A history that tells each fact on, with the states before and after it; `seen`: what the facts prove by themselves;
    `awaited`: the moments that came, of the roads that were walked to their end, each road's in their order; `at_moments`: told
    of each moment as it has come, by a name that it alone has; the road goes on after them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = Seen()
        self.awaited: list[Awaited] = []
        self.listeners: list[Callable[[State, TraceEvent, State], None]] = []
        self.at_moments: list[Callable[[str], Awaitable[None]]] = []

    def append(self, event: TraceEvent) -> State:
        before = self.tail
        after = super().append(event)
        self.seen.take(event.body)
        for listener in tuple(self.listeners):
            listener(before, event, after)
        return after


@dataclass
class Traveller:
    """See `tests.roads`. `states`: those since the last action or moment, oldest first, each with its event's time."""

    road: Road
    place: Place
    session: Session
    namespace: str
    judge: Judge
    moments: list[Moment] = field(default_factory=list)
    awaited: list[Awaited] = field(default_factory=list)
    handles: list[str] = field(default_factory=list)
    _states: list[State] = field(default_factory=list)
    _last_matters: bool = True
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def state(self) -> State:
        """As it is now."""
        return self.session.state

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.place.nodes

    def take(self, before: State, event: TraceEvent, after: State) -> None:
        self.judge.take(before, event, after)
        matters = any(key in self.judge.volumes or key in after.others for key in after.changed_keys)
        if not matters and not self._last_matters and self._states:
            self._states[-1] = after  # of what concerns others the latest is enough
        else:
            self._states.append(after)
        self._last_matters = matters
        self._changed.set()

    # What a user does.

    def pod(
        self, name: str, claims: tuple[str, ...] = (), *, script: str = IDLE, node: str = "", **spec: object
    ) -> Object:
        """A pod of this place's image with each claim mounted at `/<claim>`; `spec` is merged over its spec."""
        made = objects.pod(name, self.place.image, script, claims=claims, node=node)
        made["spec"] |= spec
        return made

    async def apply(self, *manifests: Object) -> None:
        """Create or change objects. PVs and other cluster-wide ones are the road's to take away again."""
        self._from_now()
        for manifest in manifests:
            if manifest["kind"] == "PersistentVolume":
                self.judge.pvs.add(manifest["metadata"]["name"])
        await self.place.apply(self.namespace, *manifests)

    async def delete(self, *names: str) -> None:
        """`pod/x`, `persistentvolumeclaim/y`: asked for, not waited for."""
        self._from_now()
        await self.place.delete(self.namespace, *names)

    async def patch(self, name: str, change: Object) -> None:
        """Merge `change` (RFC 7386) into an object, `pod/x`."""
        self._from_now()
        await self.place.patch(self.namespace, name, change)

    async def get(self, name: str) -> Object | None:
        """An object as the API server has it now, None where there is none."""
        return await self.place.get(self.namespace, name)

    async def make_volume(self, name: str) -> str:
        """The handle of a volume that an administrator makes by hand, by the driver's own CreateVolume; it goes with the road."""
        handle = await self.place.make_volume(name)
        self.handles.append(handle)
        return handle

    async def part(self, action: str, name: str) -> None:
        """`kill`, `restart`, `suspend` or `resume` a part of the cluster, by the name that the harness knows it by."""
        self._from_now()
        await asyncio.to_thread(getattr(self.place.cluster, action), name)

    async def fault(self, target: str, effect: str, volume_id: str = "") -> None:
        """From now on the driver does this wrong (grammar: driver_ref.faults). Name the volume: others are on their way, too."""
        await self.place.fault(target, effect, volume_id)

    async def clear_faults(self, volume_id: str = "") -> None:
        self._from_now()
        await self.place.clear_faults(volume_id)

    # What is seen.

    def volume(self, of: str = "data", state: State | None = None) -> Volume:
        """The volume of a claim of this road, of `pod:volume` when inline, or of `pv/<name>`. AssertionError without one."""
        found = self.find(of, state or self.state)
        assert found is not None, f"csitrace knows no volume {of}\n{self.describe()}"
        return found

    def find(self, of: str, state: State) -> Volume | None:
        """The newest of that name, also when it is gone."""
        return find(state, self.namespace, of)

    async def until(self, what: str, holds: Callable[[State], T | None], within_s: float | None = None) -> T:
        """What `holds` returns for the first state of which it is true; `within_s`: instead of the place's patience."""
        within_s = within_s or self.place.patience_s
        found = await self._first(holds, within_s)
        if found is None:
            raise AssertionError(f"{self.road.name}: not within {within_s:g} s: {what}\n{self.describe()}")
        return found

    async def moment(
        self,
        name: str,
        *,
        of: str = "data",
        pod: str = "",
        done: str = "",
        moving: str = "",
        failed: str = "",
        na: str = "",
        unknown: str = "",
        either: str = "",
        waits: Waits | tuple[str, str] = Waits(),  # noqa: B008 - immutable
        severity: Severity | None = None,
        within_s: float | None = None,
    ) -> Volume:
        """Wait until every step of a volume stands as said, and write that down. `pod`: for which pod; else the one that has come
        least far. See `tests.roads` for the rest. Returns the volume as it then is."""
        within_s = within_s or self.place.patience_s
        right = expected(
            done=done,
            moving=moving,
            failed=failed,
            na=na,
            unknown=unknown,
            either=either,
            waits=waits,
            severity=severity,
        )

        def holds(state: State) -> Moment | None:
            volume = self.find(of, state)
            if volume is None:
                return None
            shown = Shown.of(state, volume, pod)
            if shown is None or shown.differences(right):
                return None
            return shown.moment(name, f"{of} in {pod}" if pod else of)

        found = await self._first(holds, within_s)
        if found is None:
            raise AssertionError(
                f"{self.road.name}: not within {within_s:g} s: {name}, of {of}\n{self._told_otherwise(of, pod, right)}"
            )
        self.awaited.append(Awaited(self.namespace, name, of, pod, right))
        self.moments.append(found)
        assert isinstance(self.session.history, Told)
        for tell in self.session.history.at_moments:
            await tell(f"{self.road.name} {len(self.moments)}")
        return self.volume(of, self._states[0] if self._states else self.state)

    def remark(self, name: str, sentence: str) -> None:
        """Write down what was seen where there is no ladder to show."""
        self.moments.append(Moment(name, "", {}, "", "", Severity.OK.name, sentence))

    async def _first(self, holds: Callable[[State], T | None], within_s: float) -> T | None:
        """Every state is looked at once; the one that is found stays the first of those that the next question looks at."""
        if not self._states:
            self._states.append(self.state)
        place = 0
        try:
            async with asyncio.timeout(within_s):
                while True:
                    self._changed.clear()
                    while place < len(self._states):
                        if found := holds(self._states[place]):
                            del self._states[:place]
                            return found
                        place += 1
                    await self._changed.wait()
                    place = max(place - 1, 0)
        except TimeoutError:
            return None

    def _from_now(self) -> None:
        """What was so before an action is no answer to what comes of it."""
        self._states = [self.state]

    def _told_otherwise(self, of: str, pod: str, right: Expected) -> str:
        volume = self.find(of, self.state)
        shown = Shown.of(self.state, volume, pod) if volume is not None else None
        if shown is None:
            return f"there is no such volume, or no such pod of it\n{self.describe()}"
        strip = "".join(SIGNS[status] for status in shown.moment("", "").statuses.values())
        return "\n".join([f"it stands so: {strip}", *shown.differences(right), self.describe()])

    def describe(self) -> str:
        """How the volumes of this road stand, for the message of a failed test."""
        ours = self.state.volumes
        for key, volume in self.state.volumes.items():
            if not self.judge.concerns(volume):
                ours = ours.delete(key)
        return describe(replace(self.state, volumes=ours), self.session.now)
