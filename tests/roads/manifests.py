"""The objects that roads apply, as plain dicts; the same for the lab and a cluster."""

from typing import Any

from tests.cluster.harness import objects
from tests.cluster.harness.storage import DRIVER_NAME, IMMEDIATE_CLASS, WAITING_CLASS

Object = dict[str, Any]
Image = objects.Image

IMMEDIATE, WAITING, DRIVER = IMMEDIATE_CLASS, WAITING_CLASS, DRIVER_NAME

WRITING = "trap 'exit 0' TERM; while :; do date > /data/now; sleep 0.2; done"
"""A workload that uses its volume all the while and ends when told to."""

IDLE = "trap 'exit 0' TERM; while :; do sleep 0.2; done"

claim = objects.claim
