"""One moment of a session as the screens draw it. Screens ask `Watched` and nothing else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from csitrace.lifecycle.state import FuseState, Use, Volume
from csitrace.lifecycle.views import SpanView, StepView, VolumeRow, WitnessView
from csitrace.model.events import TraceEvent, Witness


@dataclass(frozen=True, slots=True)
class Playhead:
    """Where on the time line the screen stands. `mode`: LIVE, PAUSED or REPLAY; `at`: ns; `seq` of `tail_seq` facts."""

    mode: str
    at: int
    seq: int
    tail_seq: int

    @property
    def behind(self) -> int:
        return max(self.tail_seq - self.seq, 0)


@dataclass(frozen=True, slots=True)
class Overview:
    """What the list shows. `now` is the clock while following, else the playhead's time."""

    title: str
    now: int
    playhead: Playhead
    rows: Sequence[VolumeRow]
    witnesses: tuple[WitnessView, ...]
    other_volumes: int = 0  # not CSI: recognised and left out
    skipped: int = 0  # facts nobody could read


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of the witnesses' table: a question, each witness's answer, whether they contradict each other."""

    question: str
    answers: Mapping[Witness, str]
    disagreement: bool = False


@dataclass(frozen=True, slots=True)
class Detail:
    """What one volume's screen shows, for one of its pods (`use`, None: for the volume alone)."""

    volume: Volume
    row: VolumeRow
    use: Use | None = None
    steps: tuple[StepView, ...] = ()
    way_back: tuple[StepView, ...] = ()
    spans: tuple[SpanView, ...] = ()
    answers: tuple[Answer, ...] = ()
    fuse: tuple[FuseState, ...] = ()
    silent_nodes: Mapping[str, int] | None = None  # node whose FUSE facts are stale -> ns of the last one


class FactLog(Protocol):
    """The facts so far, by seq."""

    @property
    def first_seq(self) -> int: ...

    @property
    def tail_seq(self) -> int: ...

    def events(self, first: int, last: int) -> Sequence[TraceEvent]:
        """The facts from `first` to `last`, both included, in order; what is not kept any more is left out."""
        ...


class Watched(Protocol):
    """A session as the screens see it."""

    @property
    def facts(self) -> FactLog: ...

    def overview(self) -> Overview: ...

    def detail(self, key: str, pod_uid: str = "") -> Detail | None:
        """The volume with this key at the playhead; None when there is no such volume (yet, or any more)."""
        ...

    def relevant(self, key: str) -> Callable[[TraceEvent], bool]:
        """Which facts concern the volume."""
        ...

    def describe(self, event: TraceEvent) -> str:
        """A fact in one line for people."""
        ...

    def playhead(self) -> Playhead: ...

    def pause(self) -> None: ...

    def follow(self) -> None: ...

    def step(self, count: int) -> None: ...

    def jump_change(self, direction: int, key: str | None = None) -> None: ...

    def mark(self, text: str) -> None: ...

    def on_change(self, callback: Callable[[], None]) -> None:
        """`callback` is called after changes, at most once per turn of the event loop."""
        ...

    async def run(self) -> None:
        """Take in facts until there are no more."""
        ...
