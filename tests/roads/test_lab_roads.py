"""The roads in the embedded lab: the fast half. tests/cluster/test_roads.py walks them on a real Kubernetes."""

from collections.abc import Callable, Iterator

import pytest

from tests.integration.lab.conftest import LabProcess, mounts_allowed, new_lab
from tests.roads.catalogue import DISTURBING_IN_LAB, IN_LAB, UNATTACHED_IN_LAB
from tests.roads.in_lab import in_lab
from tests.roads.plugin import note
from tests.roads.road import Road
from tests.roads.walk import walk

__all__ = ["mounts_allowed", "new_lab"]


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., LabProcess]) -> LabProcess:
    """One for all roads, of which each has a namespace of its own; with as many nodes as any of them needs."""
    nodes = max(road.nodes for road in IN_LAB)
    return new_lab("--scenario", "none", "--speed", "20", "--nodes", str(nodes))


@pytest.mark.parametrize("road", IN_LAB, ids=lambda road: road.name)
async def test_road_in_the_lab(lab: LabProcess, road: Road, request: pytest.FixtureRequest) -> None:
    """Every moment of the road comes, with every step as said, and the judge of all roads finds nothing wrong."""
    async with in_lab(lab) as (place, session):
        note(request.config, await walk(road, place, session))


@pytest.fixture(scope="module")
def unattached_lab(new_lab: Callable[..., LabProcess]) -> LabProcess:
    """One with a driver that is never attached, and that its node knows: nothing but kubelet comes before an inline volume."""
    lab = new_lab("--scenario", "none", "--speed", "20", "--unattached")
    lab.wait_registered()
    return lab


@pytest.mark.parametrize("road", UNATTACHED_IN_LAB, ids=lambda road: road.name)
async def test_road_of_an_unattached_driver_in_the_lab(
    unattached_lab: LabProcess, road: Road, request: pytest.FixtureRequest
) -> None:
    """The same for the roads of a driver that is never attached."""
    async with in_lab(unattached_lab) as (place, session):
        note(request.config, await walk(road, place, session))


@pytest.fixture
def disturbed_lab(new_lab: Callable[..., LabProcess], road: Road) -> Iterator[LabProcess]:
    """One of the road's own: its parts end on it."""
    lab = new_lab("--scenario", "none", "--speed", "20", "--nodes", str(road.nodes))
    lab.wait_registered()
    yield lab
    lab.close()


@pytest.mark.parametrize("road", DISTURBING_IN_LAB, ids=lambda road: road.name)
async def test_road_with_a_part_that_ends_in_the_lab(
    disturbed_lab: LabProcess, road: Road, request: pytest.FixtureRequest
) -> None:
    """The same for the roads on which parts end and come back."""
    async with in_lab(disturbed_lab) as (place, session):
        note(request.config, await walk(road, place, session))
