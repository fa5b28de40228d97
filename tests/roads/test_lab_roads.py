"""The roads in the embedded lab: the fast half. tests/cluster/test_roads.py walks them on a real Kubernetes."""

import asyncio
from collections.abc import Callable

import pytest

from tests.integration.lab.conftest import LabProcess, mounts_allowed, new_lab
from tests.roads.catalogue import IN_LAB
from tests.roads.in_lab import in_lab
from tests.roads.road import Road
from tests.roads.walk import walk

__all__ = ["mounts_allowed", "new_lab"]


@pytest.mark.parametrize("road", IN_LAB, ids=lambda road: road.name)
async def test_road_in_the_lab(new_lab: Callable[..., LabProcess], road: Road) -> None:
    """Every moment of the road comes, with every step as said, and the judge of all roads finds nothing wrong."""
    lab = await asyncio.to_thread(new_lab, "--scenario", "none", "--speed", "20", "--nodes", str(road.nodes))
    async with in_lab(lab) as (place, session):
        await walk(road, place, session)
