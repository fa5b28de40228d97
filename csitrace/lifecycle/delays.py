"""How late the API server's facts reach us: on a slow link, or where one of us is short of processor time, minutes.

A watch carries no times of its own. Leases do: whoever holds one writes the time into it at which he renews it, every few seconds
(a kubelet every ten). What a watch tells of a renewal that long ago, it tells late, or the two clocks differ.
"""

from msgspec.structs import replace

from csitrace.lifecycle.leases import renewed_at
from csitrace.lifecycle.state import SourceState, State, Stored
from csitrace.model.events import TraceEvent, Witness
from csitrace.model.kubernetes import KubernetesObject, Lease
from csitrace.model.times import SECOND

WINDOW_NS = 30 * SECOND
"""The least delay of so long counts: one holder whose clock is behind, or who was held up while he wrote, makes nobody late."""

STEADY_NS = 60 * SECOND
"""Only renewals that are told one after the other count: the later of two dumps tells of the last one, whenever that was."""

WORTH_SAYING_NS = 15 * SECOND
"""Of less than this, clocks that differ and an API server that is busy are the likelier cause."""


def with_delay(state: State, event: TraceEvent, before: Stored, new: KubernetesObject) -> State:
    """The state that knows how late a change of a Lease was told, if the change is that it was renewed."""
    old = before.object
    if not isinstance(old, Lease) or not isinstance(new, Lease) or event.observed_at - before.at > STEADY_NS:
        return state
    earlier, renewed = renewed_at(old), renewed_at(new)
    if earlier is None or renewed is None or renewed <= earlier:
        return state
    at, told = event.observed_at, event.observed_at - renewed
    for scope in (new.kind, f"{new.kind}/{new.namespace}"):
        source = state.sources.get((Witness.KUBERNETES, scope))
        if source is not None and source.up and (told <= source.delay_ns or at - source.delay_at > WINDOW_NS):
            late = replace(source, delay_ns=max(told, 0), delay_at=at)
            state = replace(state, sources=state.sources.set((source.witness, scope), late))
    return state


def delay_of(source: SourceState) -> int:
    """How late the source's facts are, in ns; 0 where they are in time, or nothing tells."""
    return source.delay_ns if source.up and source.delay_ns >= WORTH_SAYING_NS else 0
