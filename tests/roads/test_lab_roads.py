"""The roads in the embedded lab: the fast half. tests/cluster/test_roads.py walks them on a real Kubernetes."""

from collections.abc import Callable

import pytest

from tests.integration.lab.conftest import LabProcess, mounts_allowed, new_lab
from tests.roads.catalogue import IN_LAB, UNATTACHED_IN_LAB
from tests.roads.in_lab import in_lab
from tests.roads.plugin import note
from tests.roads.road import Road
from tests.roads.walk import walk

__all__ = ["mounts_allowed", "new_lab"]


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., LabProcess]) -> LabProcess:
    """One for all roads, one after the other, of which each has a namespace of its own, and starts again what it ended; with as
    many nodes as any of them needs."""
    nodes = max(road.nodes for road in IN_LAB)
    lab = new_lab("--scenario", "none", "--speed", "20", "--nodes", str(nodes))
    lab.wait_registered()
    return lab


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
