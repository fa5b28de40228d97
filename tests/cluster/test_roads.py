"""The calm roads on a real Kubernetes, several at a time: they mostly wait, so together they take little longer than one."""

from collections.abc import Iterator

import pytest

from tests.cluster.conftest import Target
from tests.roads.abreast import Abreast
from tests.roads.catalogue import CALM_ON_CLUSTER
from tests.roads.on_cluster import on_cluster
from tests.roads.plugin import note
from tests.roads.road import Road

_LONGEST_S = 900
"""All of them together, on two cores; each has a deadline of its own for every moment."""


@pytest.fixture(scope="module")
def walking(target: Target, request: pytest.FixtureRequest) -> Iterator[Abreast]:
    """All roads that this run has selected, on their way since the first of them was asked for."""
    selected: list[Road] = [
        item.callspec.params["road"]  # type: ignore[misc]
        for item in request.session.items
        if item.path == request.path and isinstance(item, pytest.Function)
    ]
    with Abreast(selected, lambda: on_cluster(target)) as abreast:
        yield abreast


@pytest.mark.timeout(_LONGEST_S)
@pytest.mark.parametrize("road", CALM_ON_CLUSTER, ids=lambda road: road.name)
def test_road_on_the_cluster(walking: Abreast, road: Road, request: pytest.FixtureRequest) -> None:
    """Every moment of the road comes, with every step as said, and the judge of all roads finds nothing wrong."""
    note(request.config, walking.result(road))
