"""`Watched` over a real session: the only place of the screens that asks lifecycle for meaning."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from csitrace.engine.session import Session
from csitrace.lifecycle.daemon_pods import daemon_pods
from csitrace.lifecycle.drivers import DriverView, driver_views
from csitrace.lifecycle.facts import Fact, concerns, describe
from csitrace.lifecycle.fuse import fuse_states
from csitrace.lifecycle.ladder import expansion, ladder, way_back
from csitrace.lifecycle.nodes import NodeView, node_views
from csitrace.lifecycle.row import volume_row
from csitrace.lifecycle.rowcache import RowCache
from csitrace.lifecycle.spans import hangs, spans
from csitrace.lifecycle.state import State, Use, Volume
from csitrace.lifecycle.verdict import standing
from csitrace.lifecycle.views import VolumeRow
from csitrace.lifecycle.witnesses import questions, witness_views
from csitrace.model.events import TraceEvent, Witness
from csitrace.model.times import SECOND
from csitrace.tui.watched import Detail, FactLog, Overview, Playhead

View = TypeVar("View")


class SessionView:
    """A session's moments, as values."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._rows = RowCache()
        self._drivers = _OncePerSecond(session, self._rows, driver_views)
        self._nodes = _OncePerSecond(session, self._rows, node_views)

    @property
    def now(self) -> int:
        return self._session.now

    @property
    def playhead(self) -> Playhead:
        session = self._session
        return Playhead(session.mode, session.now, session.position, session.history.tail_seq)

    @property
    def facts(self) -> FactLog:
        return self._session.history

    def overview(self) -> Overview:
        session, state, now = self._session, self._session.state, self._session.now
        rows = self._rows.rows(state, now)
        return Overview(session.title, now, self.playhead, rows, witness_views(state), len(state.others))

    def detail(self, key: str, pod_uid: str = "") -> Detail | None:
        state, now = self._session.state, self._session.now
        volume = state.volumes.get(key)
        if volume is None:
            return None
        use = _use(state, volume, pod_uid)
        connections = fuse_states(state, volume)
        return Detail(
            now,
            volume,
            volume_row(state, volume, now),
            use,
            (*ladder(state, volume, use), *expansion(state, volume, use)),
            way_back(state, volume, use),
            (*spans(volume), *hangs(connections, now)),
            questions(state, volume, use),
            connections,
            daemon_pods(state, volume),
            dict(_silent(state, volume)),
        )

    def drivers(self) -> Sequence[DriverView]:
        return self._drivers.views()

    def nodes(self) -> Sequence[NodeView]:
        return self._nodes.views()

    def relevant(self, key: str) -> Callable[[TraceEvent], bool]:
        state = self._session.state
        volume = state.volumes.get(key)
        return lambda event: volume is not None and concerns(state, volume, event)

    def describe(self, event: TraceEvent) -> Fact:
        return describe(event)

    def pause(self) -> None:
        self._session.pause()

    def follow(self) -> None:
        self._session.follow()

    def step(self, events: int) -> None:
        self._session.step(events)

    def jump_change(self, direction: int, key: str) -> bool:
        return self._session.jump_change(direction, key)

    def mark(self, text: str) -> None:
        self._session.mark(text)

    def on_change(self, listener: Callable[[], None]) -> object:
        return self._session.on_change(listener)


class _OncePerSecond(Generic[View]):
    """Views that look at the whole state: while following made anew once a second at most, held at every step."""

    def __init__(
        self, session: Session, rows: RowCache, make: Callable[[State, Iterable[VolumeRow], int], list[View]]
    ) -> None:
        self._session, self._rows, self._make = session, rows, make
        self._made_for: object = None
        self._views: list[View] = []

    def views(self) -> list[View]:
        session = self._session
        moment = (session.following, session.now // SECOND if session.following else session.position)
        if moment != self._made_for:
            state, now = session.state, session.now
            self._views, self._made_for = self._make(state, self._rows.rows(state, now), now), moment
        return self._views


def _use(state: State, volume: Volume, pod_uid: str) -> Use | None:
    """The pod asked for, else the one the verdict is about, else the latest one."""
    asked = next((use for use in volume.uses if use.pod_uid == pod_uid), None)
    return asked or standing(state, volume).use or next(iter(volume.uses), None)


def _silent(state: State, volume: Volume) -> Iterator[tuple[tuple[Witness, str], int]]:
    for (witness, scope), source in state.sources.items():
        driver, _, node_name = scope.rpartition("@")
        if not source.up and driver in ("", volume.driver):
            yield (witness, node_name), source.last_at
