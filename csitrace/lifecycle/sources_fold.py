"""Folding what sources say of themselves: heard or silent, since when, and whether their absence of facts counts."""

from msgspec.structs import replace

from csitrace.lifecycle import index
from csitrace.lifecycle.state import SourceState, State
from csitrace.model.events import ListCompleted, SourceDown, SourceGap, SourceUp, TraceEvent, Witness


def fold_source(
    state: State, event: TraceEvent, body: SourceUp | SourceDown | SourceGap | ListCompleted
) -> State:
    """The state with one (witness, scope) updated; a scope first heard of by whatever body begins here."""
    identity = (body.witness, body.scope)
    at = event.occurred_at
    source = state.sources.get(identity) or SourceState(
        body.witness, body.scope, False, at, event.observed_at
    )
    match body:
        case SourceUp():
            since = source.since if source.up else at
            source = replace(
                source,
                up=True,
                since=since,
                last_at=event.observed_at,
                reason="",
                denied=False,
                detail=body.detail,
            )
        case SourceDown():
            since = at if source.up or not source.reason else source.since
            source = replace(
                source, up=False, since=since, reason=body.reason, denied=body.denied, listed=False
            )
        case SourceGap():
            source = replace(source, gaps=source.gaps + 1, last_at=event.observed_at)
        case ListCompleted():
            source = replace(source, listed=True, last_at=event.observed_at)
    sources = state.sources
    if isinstance(body, SourceUp) and (body.witness, body.formerly) in sources:
        sources = sources.delete((body.witness, body.formerly))
    state = replace(state, sources=sources.set(identity, source))
    return with_feed(state, body.scope) if body.witness is Witness.DRIVER else state


def with_feed(state: State, scope: str, *, controls: bool = False) -> State:
    """The state that knows a feed by its driver, once it has said who it is. `controls`: it has told a controller's call."""
    driver, at, _ = scope.partition("@")
    known = index.members(state, index.FEEDS_OF, driver).get(scope)
    if not (driver and at) or known or (known is False and not controls):
        return state
    link = (index.FEEDS_OF, driver, scope, controls)
    return replace(state, links=index.relink(state.links, (), [link]))
