"""The facts that concern one volume, found a little at a time so that a long history never holds up the screen."""

from bisect import bisect_right
from collections.abc import Callable

from csitrace.lifecycle.filter import Filter
from csitrace.lifecycle.state import Volume
from csitrace.model.events import TraceEvent
from csitrace.tui.watched import Watched

CHUNK = 4_000
"""Facts looked at per repaint when going back into the history."""


class FactList:
    """Facts of one volume up to the playhead, in order. New ones come at once, old ones in chunks."""

    def __init__(self, watched: Watched, key: str) -> None:
        self._watched, self._key = watched, key
        self._identity: object = None
        self._filter: Filter[TraceEvent] | None = None
        self._found: list[TraceEvent] = []
        self._first = 1  # facts from here on have been looked at …
        self._last = 0  # … up to here

    @property
    def complete(self) -> bool:
        """Whether all that is kept has been looked at."""
        return self._first <= max(self._watched.facts.first_seq, 1)

    def update(self, volume: Volume, chosen: Filter[TraceEvent]) -> list[TraceEvent]:
        """The facts found so far that pass the filter."""
        playhead = self._watched.playhead
        identity = (_identity(volume), chosen.text)
        if identity != self._identity or playhead.seq < self._first - 1:
            self._identity = identity
            self._found, self._first, self._last = [], playhead.seq + 1, playhead.seq
        concerns = self._watched.relevant(self._key)
        wanted = self._wanted(concerns, chosen)
        if playhead.seq < self._last:
            self._found = [event for event in self._found if event.seq <= playhead.seq]
        elif playhead.seq > self._last:
            self._found = self._kept() + wanted(self._last + 1, playhead.seq)
        self._last = playhead.seq
        if not self.complete:
            start = max(self._first - CHUNK, self._watched.facts.first_seq, 1)
            self._found = wanted(start, self._first - 1) + self._found
            self._first = start
        return self._found

    def _kept(self) -> list[TraceEvent]:
        """What was found, without what the history has let go since: a volume may be looked at for days."""
        let_go = bisect_right(self._found, self._watched.facts.first_seq, key=lambda event: event.seq)
        return self._found[let_go:]

    def _wanted(
        self, concerns: Callable[[TraceEvent], bool], chosen: Filter[TraceEvent]
    ) -> Callable[[int, int], list[TraceEvent]]:
        events = self._watched.facts.events
        if not chosen:
            return lambda first, last: [event for event in events(first, last) if concerns(event)]
        return lambda first, last: [
            event for event in events(first, last) if concerns(event) and chosen.matches(event, 0)
        ]


def _identity(volume: Volume) -> object:
    """What decides which facts concern a volume: when it changes, all have to be looked at again."""
    return (
        volume.driver,
        volume.volume_id,
        volume.pv.uid if volume.pv is not None else "",
        tuple(use.pod_uid for use in volume.uses),
        tuple(attachment.uid for attachment, _ in volume.attachments),
    )
