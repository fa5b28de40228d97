"""A volume that one node at a time may have, wanted on one node and attached to another."""

from csitrace.lifecycle.context import Context
from csitrace.lifecycle.state import EventFact, Use

_MULTI_ATTACH = "Multi-Attach error"
"""How the attach/detach controller's `FailedAttachVolume` begins in that case."""


def multi_attach(ctx: Context) -> EventFact | None:
    """The refusal to attach it; it stands for a moment longer than the attachment that it speaks of."""
    if ctx.attachment is not None:
        return None
    return ctx.last_event(("FailedAttachVolume",), _MULTI_ATTACH)


def node_elsewhere(ctx: Context) -> str:
    """The other node that it is attached to, "" where there is none."""
    nodes = (attachment.spec.node_name for attachment, _ in ctx.volume.attachments)
    return next((node for node in nodes if node != ctx.node_name), "")


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
