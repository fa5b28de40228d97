"""A volume that one node at a time may have, wanted on one node and attached to another."""

from csitrace.lifecycle.context import Context
from csitrace.lifecycle.state import EventFact, Use
from csitrace.model.times import MINUTE

_MULTI_ATTACH = "Multi-Attach error"
"""How the attach/detach controller's `FailedAttachVolume` begins in that case."""


_MANY_NODES = frozenset({"ReadWriteMany", "ReadOnlyMany"})

FORCE_DETACH_NS = 6 * MINUTE
"""From when no pod wants it on a node that is not ready until it is detached by force (maxWaitForUnmountDuration)."""


def multi_attach(ctx: Context) -> EventFact | None:
    """The refusal to attach it; it stands for a moment longer than the attachment that it speaks of."""
    if ctx.attachment is not None:
        return None
    return ctx.last_event(("FailedAttachVolume",), _MULTI_ATTACH)


def node_elsewhere(ctx: Context) -> str:
    """The other node that it is attached to, "" where there is none."""
    nodes = (attachment.spec.node_name for attachment, _ in ctx.volume.attachments)
    return next((node for node in nodes if node != ctx.node_name), "")


def is_kept_elsewhere(ctx: Context) -> bool:
    """Attached to another node, and may be to one only: the attach/detach controller says so once, and that Event goes after an
    hour, while the reason for it stays."""
    if ctx.attachment is not None or not node_elsewhere(ctx):
        return False
    modes = ctx.pv.spec.access_modes if ctx.pv is not None else ()
    return multi_attach(ctx) is not None or (bool(modes) and not _MANY_NODES.intersection(modes))


def is_of_one_pod(ctx: Context) -> bool:
    """ReadWriteOncePod: the scheduler lets a second pod wait until the first is gone."""
    claim = ctx.claim
    return claim is not None and "ReadWriteOncePod" in claim.spec.access_modes


def other_users(ctx: Context) -> tuple[Use, ...]:
    """The other pods that have a node and are not gone, on whichever node."""
    here = ctx.use.pod_uid if ctx.use is not None else ""
    return tuple(
        use
        for use in ctx.volume.uses
        if use.pod_uid != here and use.node_name and use.ended_at is None and not use.is_finished
    )


def detached_by_force_at(ctx: Context, node_name: str) -> int | None:
    """When the attach/detach controller gives up on a node that does not unmount; None while a pod object keeps it from counting,
    or where it is not known since when it counts."""
    ends = [use.ended_at for use in ctx.volume.uses if use.node_name == node_name]
    seen = [end for end in ends if end is not None]
    return max(seen) + FORCE_DETACH_NS if seen and len(seen) == len(ends) else None


def users_elsewhere(ctx: Context, node_name: str) -> tuple[Use, ...]:
    """The pods on another node that still have it."""
    return tuple(
        use
        for use in ctx.volume.uses
        if use.node_name == node_name and use.ended_at is None and not use.is_finished
    )


def stays_elsewhere(ctx: Context) -> Use | None:
    """A pod that has it on the other node and is not asked to go: until it is, the volume will not move."""
    node = node_elsewhere(ctx)
    users = users_elsewhere(ctx, node) if node else ()
    return next((use for use in users if not use.pod.is_terminating), None)
