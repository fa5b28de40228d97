"""`Watched` over a real session: the only place of the screens that asks lifecycle for meaning."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from csitrace.engine.session import SPEEDS, Session
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
from csitrace.tui.recording import RecordingControl, RecordingStatus
from csitrace.tui.timeline import Timeline, timeline
from csitrace.tui.watched import Detail, FactLog, Overview, Playhead

View = TypeVar("View")


class SessionView:
    """A session's moments, as values. `recorder`: what records it, where something can."""

    def __init__(self, session: Session, recorder: RecordingControl | None = None) -> None:
        self._session = session
        self._recorder = recorder
        self._rows = RowCache()
        self._put_at: tuple[int, int] | None = None  # where the playhead was put, and holds
        self._drivers = _OncePerSecond(session, self._all_rows, driver_views)
        self._nodes = _OncePerSecond(session, self._all_rows, node_views)

    @property
    def now(self) -> int:
        return self._session.now

    @property
    def playhead(self) -> Playhead:
        session = self._session
        return Playhead(
            session.mode,
            session.now,
            session.position,
            session.history.tail_seq,
            not session.live,
            session.playing,
            session.speed,
        )

    @property
    def facts(self) -> FactLog:
        return self._session.history

    def overview(self) -> Overview:
        session, state, now = self._session, self._session.state, self._session.now
        rows = self._all_rows(state, now)
        witnesses, others = witness_views(state), len(state.others)
        loading = "" if session.live or session.complete else _note(session)
        return Overview(
            session.title, now, self.playhead, rows, witnesses, others, self._recording(), loading
        )

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

    def play(self) -> None:
        self._session.play()

    def advance(self) -> None:
        self._session.advance()

    def change_speed(self, direction: int) -> None:
        speed = self._session.speed
        others = [each for each in SPEEDS if (each > speed if direction > 0 else each < speed)]
        self._session.set_speed((others[0] if direction > 0 else others[-1]) if others else speed)

    def step(self, events: int) -> None:
        self._session.step(events)

    def seek_time(self, at: int) -> None:
        self._session.seek_time(at)

    def go_to(self, text: str) -> bool:
        return self._session.go_to(text)

    def go_to_begin(self) -> None:
        self._session.seek(self._session.history.first_seq)

    def jump_change(self, direction: int, key: str) -> bool:
        return self._session.jump_change(direction, key)

    def jump_mark(self, direction: int) -> str | None:
        return self._session.jump_mark(direction)

    def mark(self, text: str) -> None:
        self._session.mark(text)

    def timeline(self, cells: int) -> Timeline:
        session = self._session
        return timeline(session.history, session.now, cells, _note(session))

    @property
    def recorder(self) -> RecordingControl | None:
        return self._recorder

    def on_change(self, listener: Callable[[], None]) -> object:
        return self._session.on_change(listener)

    def _recording(self) -> RecordingStatus | None:
        status = self._recorder.status if self._recorder is not None else None
        return status if status is not None and (status.is_on or status.problem) else None

    def _all_rows(self, state: State, now: int) -> list[VolumeRow]:
        """Every row. Where the playhead was put somewhere, all are made anew: what the moment before left is of another time."""
        session = self._session
        put_at = None if session.following or session.playing else (session.position, now)
        if put_at is not None and put_at != self._put_at:
            self._rows = RowCache()
        self._put_at = put_at
        return self._rows.rows(state, now)


class _OncePerSecond(Generic[View]):
    """Views that look at the whole state: while following made anew once a second at most, held at every step."""

    def __init__(
        self,
        session: Session,
        rows: Callable[[State, int], list[VolumeRow]],
        make: Callable[[State, Iterable[VolumeRow], int], list[View]],
    ) -> None:
        self._session, self._rows, self._make = session, rows, make
        self._made_for: object = None
        self._views: list[View] = []

    def views(self) -> list[View]:
        session = self._session
        moves = session.following or session.playing
        moment = (session.mode, session.now // SECOND if moves else (session.position, session.now))
        if moment != self._made_for:
            state, now = session.state, session.now
            self._views, self._made_for = self._make(state, self._rows(state, now), now), moment
        return self._views


def _note(session: Session) -> str:
    """What else is to be said of the time line."""
    if session.awaited:
        return f"loading, looking for {session.awaited} …"
    if session.missed:
        return f"no mark {session.missed!r}"
    return "" if session.live or session.complete else "loading …"


def _use(state: State, volume: Volume, pod_uid: str) -> Use | None:
    """The pod asked for, else the one the verdict is about, else the latest one."""
    asked = next((use for use in volume.uses if use.pod_uid == pod_uid), None)
    return asked or standing(state, volume).use or next(iter(volume.uses), None)


def _silent(state: State, volume: Volume) -> Iterator[tuple[tuple[Witness, str], int]]:
    for (witness, scope), source in state.sources.items():
        driver, _, node_name = scope.rpartition("@")
        if not source.up and driver in ("", volume.driver):
            yield (witness, node_name), source.last_at
