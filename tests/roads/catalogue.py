"""All roads. A road that is not here is not walked."""

from tests.roads import calm
from tests.roads.road import CLUSTER, LAB, Road

ROADS: tuple[Road, ...] = calm.CALM

BY_NAME = {road.name: road for road in ROADS}

IN_LAB = tuple(road for road in ROADS if LAB in road.on)
CALM_ON_CLUSTER = tuple(road for road in ROADS if CLUSTER in road.on and not road.disturbs)
