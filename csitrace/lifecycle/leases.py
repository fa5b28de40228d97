"""Leases: which one says who acts for a component, and when its word is no longer good.

The holder renews it; a component that does not is dead, hangs, or does not reach the API server, and nobody acts in its place
before another one takes the Lease over (client-go, tools/leaderelection).
"""

import re
from collections.abc import Iterator

from csitrace.lifecycle import index
from csitrace.lifecycle.state import State
from csitrace.model.kubernetes import Lease
from csitrace.model.times import SECOND, parse_rfc3339

GRACE_NS = 5 * SECOND
"""How much later than its end a Lease may be renewed: clocks differ, and a watch tells a little late."""

LEADER_SECONDS = 15
"""How long a leader's Lease is good where it does not say (client-go's default, and the sidecars')."""

_SYSTEM = "kube-system"
_SCHEDULER, _CONTROLLERS = (_SYSTEM, "kube-scheduler"), (_SYSTEM, "kube-controller-manager")
_OF_THE_CLUSTER = {
    "scheduler": _SCHEDULER,
    "PV controller": _CONTROLLERS,
    "attach/detach controller": _CONTROLLERS,
    "pvc-protection": _CONTROLLERS,
}


def lease_names(driver: str) -> dict[str, str]:
    """The Lease of each sidecar, by the sidecar's name (kubernetes-csi: the driver's name, with `-` for what names may not have).

    external-provisioner's is the driver's name alone.
    """
    name = re.sub(r"[^a-zA-Z0-9-]", "-", driver)
    return {
        "external-provisioner": name,
        "external-attacher": f"external-attacher-leader-{name}",
        "external-resizer": f"external-resizer-{name}",
        "external-snapshotter": f"external-snapshotter-leader-{name}",
        "external-health-monitor": f"external-health-monitor-leader-{name}",
    }


def leases_of(state: State, actor: str, driver: str) -> Iterator[Lease]:
    """Those that say who acts as a component; `driver`: for whose volumes, where that matters. None where it takes no Lease, runs
    without leader election, or its Lease may not be read."""
    if (place := _OF_THE_CLUSTER.get(actor)) is not None:
        namespace, name = place
        lease = index.by_name(state, Lease, name, namespace)
        if lease is not None:
            yield lease
    elif (name := lease_names(driver).get(actor, "")) and driver:
        for uid in index.members(state, index.LEASES_NAMED, name):
            lease = index.get(state, Lease, uid)
            if lease is not None:
                yield lease


def renewed_at(lease: Lease) -> int | None:
    """When it was renewed last, by its holder's clock, in ns."""
    return parse_rfc3339(lease.spec.renew_time) if lease.spec.renew_time else None


def is_expired(lease: Lease, now: int, seconds: int = LEADER_SECONDS) -> bool:
    """Whether its holder has not renewed it in time; `seconds`: how long it is good where it does not say."""
    at = renewed_at(lease)
    valid = (lease.spec.lease_duration_seconds or seconds) * SECOND + GRACE_NS
    return at is not None and now - at > valid
