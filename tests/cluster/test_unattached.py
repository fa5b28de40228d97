"""The roads of a driver that is never attached, on a real Kubernetes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import Target
from tests.cluster.harness.unattached import Unattached
from tests.cluster.killed_watch import Watch, recording_watch
from tests.cluster.recorded import recording
from tests.roads.catalogue import UNATTACHED_ON_CLUSTER
from tests.roads.on_cluster import on_cluster
from tests.roads.plugin import note
from tests.roads.road import Road
from tests.roads.walk import walk

_LONGEST_S = 600


@pytest.fixture(scope="module")
def unattached(target: Target) -> Iterator[Unattached]:
    """The driver on every node; gone afterwards."""
    if target.cluster is None:
        pytest.skip(
            "starts a driver on the nodes of the harness, and CSITRACE_TEST_KUBECONFIG is another cluster"
        )
    driver = Unattached(target.cluster)
    try:
        driver.up()
        yield driver
    finally:
        driver.down()


@pytest.fixture(scope="module")
def watch(
    target: Target, unattached: Unattached, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watch]:
    """One that is marked at each moment of the roads."""
    with recording_watch(target, tmp_path_factory.mktemp("watch"), unattached.feeds) as watch:
        yield watch


@pytest.mark.timeout(_LONGEST_S, func_only=True)
@pytest.mark.parametrize("road", UNATTACHED_ON_CLUSTER, ids=lambda road: road.name)
async def test_road_of_an_unattached_driver(
    target: Target,
    unattached: Unattached,
    watch: Watch,
    road: Road,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """Every moment of the road comes, with every step as said, and the judge of all roads finds nothing wrong; a recording has
    every moment."""
    async with (
        on_cluster(target, unattached.feeds) as (place, session),
        recording(session, tmp_path) as recorded,
    ):
        watch.mark_moments_of(session)
        note(request.config, await walk(road, place, session))
        await recorded.expect()


@pytest.mark.timeout(_LONGEST_S, func_only=True)
def test_the_recording_of_a_watch_that_was_killed_shows_its_screens(watch: Watch) -> None:
    """`watch --record` is killed with SIGKILL when all these roads are over: at each of their moments `replay` shows what it
    showed."""
    watch.expect_recorded()
