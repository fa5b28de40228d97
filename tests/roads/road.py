"""What a road is, where it can be walked, and what a place has to offer for that."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from csitrace.lifecycle.state import Volume
from tests.cluster.harness.objects import Image

if TYPE_CHECKING:
    from tests.roads.traveller import Traveller

Object = dict[str, Any]

LAB, CLUSTER = "lab", "cluster"
EVERYWHERE = frozenset({LAB, CLUSTER})
CLUSTER_ONLY = frozenset({CLUSTER})


@dataclass(frozen=True, slots=True)
class Road:
    """One way a volume takes. `name` is its id in results and docs, `title` is for readers, the docstring of `drive` its claim.

    `on`: where it can be walked; `nodes`: how many it needs; `stuck`: steps at which a volume on it is rightly called stuck.
    `disturbs`: it kills or stops parts, so nothing else may be on its way meanwhile. `unattached`: it needs the driver that is
    never attached.
    """

    name: str
    title: str
    drive: "Callable[[Traveller], Awaitable[None]]"
    on: frozenset[str] = EVERYWHERE
    nodes: int = 1
    stuck: frozenset[str] = frozenset()
    disturbs: bool = False
    unattached: bool = False

    @property
    def claim(self) -> str:
        return " ".join((self.drive.__doc__ or "").split())


def road(
    name: str,
    title: str,
    *,
    on: frozenset[str] = EVERYWHERE,
    nodes: int = 1,
    stuck: Sequence[str] = (),
    disturbs: bool = False,
    unattached: bool = False,
) -> "Callable[[Callable[[Traveller], Awaitable[None]]], Road]":
    """Make a road of the coroutine that drives it."""

    def made(drive: "Callable[[Traveller], Awaitable[None]]") -> Road:
        return Road(name, title, drive, on, nodes, frozenset(stuck), disturbs, unattached)

    return made


class Place(Protocol):
    """Where roads are walked: a cluster or the lab. All of it may be called from several roads at once."""

    @property
    def kind(self) -> str: ...

    @property
    def patience_s(self) -> float:
        """How long a moment may take to come."""
        ...

    @property
    def nodes(self) -> tuple[str, ...]: ...

    @property
    def image(self) -> Image: ...

    @property
    def unattached_driver(self) -> str:
        """The name of a driver that is never attached and offers inline volumes, for roads that need it."""
        ...

    @property
    def unattached_class(self) -> str:
        """That driver's StorageClass, which waits for the first consumer."""
        ...

    @property
    def cluster(self) -> Any:
        """The harness's `Cluster`, for roads that kill its parts; in the lab as much of it as the lab can do."""
        ...

    async def open_namespace(self, name: str) -> None: ...

    async def close_namespace(self, name: str) -> None:
        """Delete the pods and claims that are left, and wait until they are gone; then the namespace."""
        ...

    async def apply(self, namespace: str, *objects: Object) -> None: ...

    async def delete(self, namespace: str, *names: str) -> None:
        """`pod/x`: asked for, not waited for."""
        ...

    async def patch(self, namespace: str, name: str, change: Object) -> None: ...

    async def get(self, namespace: str, name: str) -> Object | None: ...

    async def make_volume(self, name: str) -> str:
        """With the driver's own CreateVolume, as an administrator does for a PV that he writes; its id."""
        ...

    async def unmake_volume(self, volume_id: str) -> None: ...

    async def fault(self, target: str, effect: str, volume_id: str) -> None: ...

    async def clear_faults(self, volume_id: str) -> None: ...

    async def leftovers(self, namespace: str, volumes: Sequence[Volume]) -> list[str]:
        """What is still there of volumes that ought to be gone: objects, mounts, directories, records, processes."""
        ...
