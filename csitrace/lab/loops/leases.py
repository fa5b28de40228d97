"""Leases: leader election of the sidecars and kubelet's heartbeat, as far as a watcher sees them."""

import asyncio

from csitrace.lab.apiserver.resources import LEASES
from csitrace.lab.clock import micro_timestamp
from csitrace.lab.program import Program
from csitrace.lab.status import Object


async def hold_lease(program: Program, namespace: str, name: str, holder: str, duration_seconds: int) -> None:
    """Take the lease over from whoever had it, and renew it until cancelled."""
    client = program.client
    now = micro_timestamp()
    lease: Object = {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": duration_seconds,
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": 0,
        },
    }
    found = await client.ensure(LEASES, lease)
    if found["spec"]["acquireTime"] != now:
        transitions = int(found["spec"].get("leaseTransitions") or 0) + 1
        await client.patch(LEASES, lease, {"spec": lease["spec"] | {"leaseTransitions": transitions}})
    while True:
        await asyncio.sleep(program.pace.lease_renewal)
        await client.patch(LEASES, lease, {"spec": {"renewTime": micro_timestamp()}})
