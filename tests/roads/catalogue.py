"""All roads. A road that is not here is not walked."""

from tests.roads import calm, disrupted, ephemeral, failing_nodes, moving, pods
from tests.roads.road import CLUSTER, LAB, Road

ROADS: tuple[Road, ...] = (
    *calm.CALM,
    *pods.PODS,
    *ephemeral.EPHEMERAL,
    *moving.MOVING,
    *disrupted.DISRUPTED,
    *failing_nodes.FAILING_NODES,
)

BY_NAME = {road.name: road for road in ROADS}

IN_LAB = tuple(road for road in ROADS if LAB in road.on and not road.unattached)
UNATTACHED_IN_LAB = tuple(road for road in ROADS if LAB in road.on and road.unattached)
CALM_ON_CLUSTER = tuple(
    road for road in ROADS if CLUSTER in road.on and not road.disturbs and not road.unattached
)
UNATTACHED_ON_CLUSTER = tuple(road for road in ROADS if CLUSTER in road.on and road.unattached)
DISTURBING_ON_CLUSTER = disrupted.DISRUPTED
FAILING_NODES_ON_CLUSTER = failing_nodes.FAILING_NODES
