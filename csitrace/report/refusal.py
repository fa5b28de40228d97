"""Whether there is nothing to be shown, and never will be: then the program says so and ends."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from csitrace.engine.session import Session
from csitrace.errors import NotAllowedError
from csitrace.lifecycle.state import State
from csitrace.model.events import Observation, Witness
from csitrace.model.kinds import KINDS, PERSISTENT_VOLUME_CLAIM, Kind


async def unless_refused(
    session: Session, batches: AsyncGenerator[list[Observation], None]
) -> AsyncGenerator[list[Observation], None]:
    """The same batches; raises `NotAllowedError` when the session has been told by them that nothing may be read."""
    has_read = False
    async with aclosing(batches):
        async for batch in batches:
            yield batch
            state = session.history.tail
            has_read = has_read or bool(state.objects)
            if not has_read and (reason := refusal(state)):
                raise NotAllowedError(reason)


def refusal(state: State) -> str:
    """Why nothing can be shown: the API server refuses every kind, in the cluster and in the namespace, and no driver is heard.
    "" where something can, or may yet be."""
    if state.volumes or any(
        who is Witness.DRIVER and source.up for (who, _), source in state.sources.items()
    ):
        return ""
    if not all(_is_refused(state, kind) for kind in KINDS):
        return ""
    claims = next(
        source.reason
        for (_, scope), source in sorted(state.sources.items(), reverse=True)
        if scope.partition("/")[0] == PERSISTENT_VOLUME_CLAIM.name
    )
    return f"{claims}, nor anything else: ask for the role that `rbac` prints, or name your namespace with -n"


def _is_refused(state: State, kind: Kind) -> bool:
    """Refused in the narrowest place that is tried: one namespace, where the kind's objects are in namespaces."""
    told = {
        scope: source
        for (who, scope), source in state.sources.items()
        if who is Witness.KUBERNETES and scope.partition("/")[0] == kind.name
    }
    if kind.namespaced and not any("/" in scope for scope in told):
        return False
    return bool(told) and all(source.denied and not source.up for source in told.values())
