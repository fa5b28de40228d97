"""How an agent's sources are heard, as it told last: said again when the agent is heard again, unsaid while it is not."""

from collections.abc import Iterable, Iterator

import msgspec

from csitrace.feed.health import HealthBody
from csitrace.model.events import ListCompleted, SourceDown, SourceGap, SourceUp, Witness

Identity = tuple[Witness, str]
"""A source: its witness and its scope."""


class RelayedSources:
    """Pure. `heard_through`: what is added to the detail of each source, for people."""

    def __init__(self) -> None:
        self.heard_through = ""
        self._told: dict[Identity, tuple[SourceUp | SourceDown, ListCompleted | None]] = {}

    def take(self, body: HealthBody) -> HealthBody:
        """What the agent tells of a source, as it is to be passed on."""
        identity = (body.witness, body.scope)
        match body:
            case SourceUp():
                self._told.pop((body.witness, body.formerly), None)
                detail = ", ".join(part for part in (body.detail, self.heard_through) if part)
                body = msgspec.structs.replace(body, detail=detail)
                self._told[identity] = (body, None)
            case SourceDown():
                self._told[identity] = (body, None)
            case ListCompleted():
                known = self._told.get(identity)
                if known is not None and isinstance(known[0], SourceUp):
                    self._told[identity] = (known[0], body)
        return body

    def again(self) -> Iterator[HealthBody]:
        """The agent goes on where it was: all as it was told last."""
        for health, completed in self._told.values():
            yield health
            if completed is not None:
                yield completed

    def silenced(self, reason: str, denied: bool) -> Iterator[SourceDown]:
        """The agent is not heard: neither is any source that was heard through it."""
        for (witness, scope), (health, _) in self._told.items():
            if isinstance(health, SourceUp):
                yield SourceDown(witness=witness, scope=scope, reason=reason, denied=denied)

    def gap(self, reason: str, lost: int | None = None) -> Iterator[SourceGap]:
        """Facts are missing, and nobody knows of which source: of any. The number is told once."""
        for witness, scope in self._told:
            yield SourceGap(witness=witness, scope=scope, reason=reason, lost=lost)
            lost = None

    def only(self, identities: Iterable[Identity], reason: str) -> Iterator[SourceDown]:
        """The agent tells all the sources it has: those known from another run of it that are not among them are silent."""
        for identity in self._told.keys() - set(identities):
            self._told[identity] = (
                SourceDown(witness=identity[0], scope=identity[1], reason=reason),
                None,
            )
            yield SourceDown(witness=identity[0], scope=identity[1], reason=reason)
