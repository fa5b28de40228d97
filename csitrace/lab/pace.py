"""How long the lab waits where the real programs wait: the real periods, divided by one factor. Order is never changed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """`speed`: 1 waits as a cluster does, 5 a fifth of it. All values in seconds."""

    speed: float = 1.0

    def scaled(self, seconds: float) -> float:
        return seconds / self.speed

    @property
    def node_status(self) -> float:
        """kubelet looks for a changed node status this often (nodeStatusUpdateFrequency)."""
        return self.scaled(10)

    @property
    def claim_resync(self) -> float:
        """PV controller's resync: how often its events about a waiting claim are repeated."""
        return self.scaled(15)

    @property
    def lease_renewal(self) -> float:
        """Leader election's retry period; leases last 15 s."""
        return self.scaled(5)

    @property
    def heartbeat(self) -> float:
        """kubelet renews its Lease, and the node controller looks at it (5 s; kubelet really renews every 10 s)."""
        return self.scaled(5)

    @property
    def force_detach(self) -> float:
        """Attach/detach controller gives up waiting for a node that is not ready to unmount."""
        return self.scaled(360)

    @property
    def garbage(self) -> float:
        """Pod garbage collector's period."""
        return self.scaled(20)

    @property
    def attach_timeout(self) -> float:
        """Attach/detach controller gives up waiting for the attacher."""
        return self.scaled(120)

    @property
    def bind_timeout(self) -> float:
        """Scheduler's VolumeBinding gives up in PreBind."""
        return self.scaled(600)

    @property
    def bind_poll(self) -> float:
        """How often PreBind looks whether the claims are bound."""
        return self.scaled(1)

    @property
    def mount_timeout(self) -> float:
        """kubelet's time-out of one NodeStage or NodePublish call (2 min); a loaded machine must not meet it by itself."""
        return max(self.scaled(120), 15)

    @property
    def call_timeout(self) -> float:
        """The sidecars' time-out of one controller call (15 s)."""
        return max(self.scaled(15), 5)

    @property
    def reconcile(self) -> float:
        """The reconciler loops of kubelet's volume manager and of the attach/detach controller; short enough as it is."""
        return 0.1
