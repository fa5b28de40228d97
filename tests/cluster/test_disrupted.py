"""The roads on which parts of the cluster end, on a real Kubernetes: one by one, since each disturbs all that is on its way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import Target
from tests.cluster.harness.cluster import Cluster
from tests.cluster.killed_watch import Watch, recording_watch
from tests.cluster.recorded import recording
from tests.roads.catalogue import DISTURBING_ON_CLUSTER
from tests.roads.on_cluster import on_cluster
from tests.roads.plugin import note
from tests.roads.road import Road
from tests.roads.walk import walk

_LONGEST_S = 600


@pytest.fixture(scope="module")
def watch(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """One that is marked at each moment of the roads."""
    with recording_watch(target, tmp_path_factory.mktemp("watch")) as watch:
        yield watch


@pytest.mark.timeout(_LONGEST_S, func_only=True)
@pytest.mark.parametrize("road", DISTURBING_ON_CLUSTER, ids=lambda road: road.name)
async def test_road_with_a_part_that_ends(
    target: Target, cluster: Cluster, watch: Watch, road: Road, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Every moment of the road comes, with every step as said, and the judge of all roads finds nothing wrong; a recording has
    every moment."""
    async with on_cluster(target) as (place, session), recording(session, tmp_path) as recorded:
        watch.mark_moments_of(session)
        note(request.config, await walk(road, place, session))
        await recorded.expect()


@pytest.mark.timeout(_LONGEST_S, func_only=True)
def test_the_recording_of_a_watch_that_was_killed_shows_its_screens(watch: Watch) -> None:
    """`watch --record` is killed with SIGKILL when all these roads are over: at each of their moments `replay` shows what it
    showed."""
    watch.expect_recorded()
