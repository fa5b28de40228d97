"""The calm roads on a real Kubernetes, several at a time: they mostly wait, so together they take little longer than one. A watch
that records them is killed at their end, and its recording has to show them again."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from csitrace.engine.session import Session
from tests.cluster.conftest import Target
from tests.cluster.harness import objects, storage
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.killed_watch import Watch, recording_watch
from tests.cluster.recorded import Recorded, recording
from tests.roads.abreast import Abreast
from tests.roads.catalogue import CALM_ON_CLUSTER
from tests.roads.on_cluster import OnCluster, on_cluster
from tests.roads.plugin import note
from tests.roads.road import Road
from tests.tour import WHOLE

_LONGEST_S = 900
"""All of them together, on two cores; each has a deadline of its own for every moment."""

_IN_USE_WITHIN_S = 120.0

_ON_THEIR_WAY = 4
"""So many volumes are on the screen when its pictures are taken first, one of them mounted."""

_MOUNTED = "● ● ● ●"


@dataclass
class Walking:
    """All roads that this run has selected, on their way, and the recording of who watches them in this process."""

    roads: Abreast
    recorded: list[Recorded]


@pytest.fixture(scope="module")
def watch(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """One of all namespaces and witnesses."""
    with recording_watch(target, tmp_path_factory.mktemp("watch")) as watch:
        yield watch


@pytest.fixture(scope="module")
def walking(
    target: Target, watch: Watch, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Walking]:
    """The roads, on their way since the first of them was asked for."""
    selected: list[Road] = [
        item.callspec.params["road"]
        for item in request.session.items
        if item.path == request.path and isinstance(item, pytest.Function) and hasattr(item, "callspec")
    ]
    directory, found = tmp_path_factory.mktemp("recording"), list[Recorded]()

    @asynccontextmanager
    async def place() -> AsyncIterator[tuple[OnCluster, Session]]:
        async with on_cluster(target) as (there, session), recording(session, directory) as recorded:
            found.append(recorded)
            yield there, session

    with Abreast(selected, place) as roads:
        watch.terminal.until("volumes on their way", _is_busy, _LONGEST_S)
        watch.mark("on their way")
        watch.look("on their way", WHOLE)
        yield Walking(roads, found)


def _is_busy(screen: list[str]) -> bool:
    roads = [line for line in screen if " road-" in line]
    return len(roads) >= _ON_THEIR_WAY and any(_MOUNTED in line for line in roads)


@pytest.mark.timeout(_LONGEST_S)
@pytest.mark.parametrize("road", CALM_ON_CLUSTER, ids=lambda road: road.name)
def test_road_on_the_cluster(walking: Walking, road: Road, request: pytest.FixtureRequest) -> None:
    """Every moment of the road comes, with every step as said, and the judge of all roads finds nothing wrong."""
    note(request.config, walking.roads.result(road))


@pytest.mark.timeout(_LONGEST_S)
def test_a_recording_has_every_moment_of_every_road(walking: Walking) -> None:
    """Each road's in their order, once all roads are over, and without the recording having been ended."""
    walking.roads.wait()
    asyncio.run(walking.recorded[0].expect())


@pytest.mark.timeout(_LONGEST_S)
def test_the_recording_of_a_watch_that_was_killed_shows_its_screens(
    walking: Walking, watch: Watch, kubectl: Kubectl, image: objects.Image
) -> None:
    """`watch --record` is killed with SIGKILL when all roads are over: at each mark, in the midst of the roads and after them,
    `replay` shows what the killed watch showed, lists and details, of volumes, nodes and drivers."""
    walking.roads.wait()
    claims = [objects.claim(name, storage.WAITING_CLASS) for name in ("data", "logs", "spare")]
    kubectl.apply(*claims, objects.pod("pod", image, claims=("data", "logs")))
    watch.terminal.until(
        "both in use", lambda screen: _in_use(screen, kubectl.namespace) == 2, _IN_USE_WITHIN_S
    )
    watch.mark("all over")
    watch.look("all over", WHOLE)
    watch.expect_recorded()


def _in_use(screen: list[str], namespace: str) -> int:
    return sum(f"{namespace}/" in line and "in use" in line for line in screen)
