"""The roads on which a node fails. Kubernetes is patient with nodes, so they take minutes: they are on their way, on a cluster of
their own, from the beginning of the test run on, and are asked for at its end."""

import pytest

from tests.roads.abreast import Abreast
from tests.roads.catalogue import FAILING_NODES_ON_CLUSTER
from tests.roads.plugin import note
from tests.roads.road import Road

_LONGEST_S = 1200


@pytest.mark.timeout(_LONGEST_S, func_only=True)
@pytest.mark.parametrize("road", FAILING_NODES_ON_CLUSTER, ids=lambda road: road.name)
def test_road_on_which_a_node_fails(
    machine: None, failing_nodes: Abreast | None, road: Road, request: pytest.FixtureRequest
) -> None:
    """Every moment of the road comes, with every step as said, and the judge of all roads finds nothing wrong."""
    assert failing_nodes is not None
    note(request.config, failing_nodes.result(road))


@pytest.mark.timeout(_LONGEST_S, func_only=True)
def test_a_recording_of_failing_nodes(machine: None, failing_nodes: Abreast | None) -> None:
    """It has every moment of these roads; that of a watch that was killed shows what the watch showed at each."""
    assert failing_nodes is not None
    failing_nodes.end()
