"""One moment of a session as the screens draw it: values, and the protocol through which the screens ask for them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from csitrace.lifecycle.daemon_pods import DaemonPod
from csitrace.lifecycle.drivers import DriverView
from csitrace.lifecycle.facts import Fact
from csitrace.lifecycle.nodes import NodeView
from csitrace.lifecycle.state import FuseState, Use, Volume
from csitrace.lifecycle.views import SpanView, StepView, VolumeRow, WitnessView
from csitrace.lifecycle.witnesses import QuestionView
from csitrace.model.events import TraceEvent, Witness
from csitrace.tui.recording import RecordingControl, RecordingStatus
from csitrace.tui.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Playhead:
    """Where on the time line the screen stands. `mode`: LIVE, PAUSED or REPLAY; `at`: ns; `seq`: of `tail_seq` facts.

    `recorded`: of a recording, which nothing is added to; `playing`: it moves on by itself, `speed` times as fast as it was.
    """

    mode: str
    at: int
    seq: int
    tail_seq: int
    recorded: bool = False
    playing: bool = False
    speed: float = 1.0

    @property
    def behind(self) -> int:
        """How many facts have come in that are not shown."""
        return max(self.tail_seq - self.seq, 0)


@dataclass(frozen=True, slots=True)
class Overview:
    """What the list shows. `now`: the clock while following, else the playhead's time."""

    title: str
    now: int
    playhead: Playhead
    rows: Sequence[VolumeRow]
    witnesses: tuple[WitnessView, ...]
    other_volumes: int = 0  # not served by CSI: recognised and left out
    recording: RecordingStatus | None = None  # None: nothing is or was recorded
    loading: str = ""  # of a recording whose facts are not all here yet: what is done meanwhile

    @property
    def stale_since(self) -> int | None:
        """When Kubernetes was last heard, if it is not heard now: then nothing here is live."""
        for view in self.witnesses:
            if view.witness is Witness.KUBERNETES and view.total and not view.up:
                return view.last_at or 0
        return None


@dataclass(frozen=True, slots=True)
class Detail:
    """What one volume's screen shows, for one of its pods (`use`; None: for the volume alone).

    `silent`: per (witness, node) that is not heard, when it was last heard (ns): what it told before is as of then.
    """

    now: int
    volume: Volume
    row: VolumeRow
    use: Use | None = None
    steps: tuple[StepView, ...] = ()
    way_back: tuple[StepView, ...] = ()
    spans: tuple[SpanView, ...] = ()
    questions: tuple[QuestionView, ...] = ()
    fuse: tuple[FuseState, ...] = ()
    daemon_pods: tuple[DaemonPod, ...] = ()
    silent: Mapping[tuple[Witness, str], int] = field(default_factory=dict)


class FactLog(Protocol):
    """The facts so far, by seq. What is not kept any more is left out."""

    @property
    def first_seq(self) -> int: ...

    @property
    def tail_seq(self) -> int: ...

    def event(self, seq: int) -> TraceEvent | None: ...

    def events(self, first: int, last: int) -> Iterable[TraceEvent]:
        """Those with first <= seq <= last, in order."""
        ...


class Watched(Protocol):
    """A session as the screens see it."""

    @property
    def now(self) -> int: ...

    @property
    def playhead(self) -> Playhead: ...

    @property
    def facts(self) -> FactLog: ...

    def overview(self) -> Overview: ...

    def detail(self, key: str, pod_uid: str = "") -> Detail | None:
        """The volume at the playhead; None where there is no such volume (yet, or any more)."""
        ...

    def drivers(self) -> Sequence[DriverView]:
        """Every CSI driver at the playhead."""
        ...

    def nodes(self) -> Sequence[NodeView]:
        """Every node at the playhead."""
        ...

    def relevant(self, key: str) -> Callable[[TraceEvent], bool]:
        """Which facts concern the volume, by what is known of it at the playhead."""
        ...

    def describe(self, event: TraceEvent) -> Fact:
        """Who says it, and the fact in one line."""
        ...

    def pause(self) -> None: ...

    def follow(self) -> None: ...

    def play(self) -> None: ...

    def advance(self) -> None:
        """Move a playing playhead to where it is by now."""
        ...

    def change_speed(self, direction: int) -> None:
        """One faster, or with a negative direction one slower."""
        ...

    def step(self, events: int) -> None: ...

    def seek_time(self, at: int) -> None: ...

    def go_to(self, text: str) -> bool:
        """To the moment that is named (`moments`); False where there is none."""
        ...

    def go_to_begin(self) -> None: ...

    def jump_change(self, direction: int, key: str) -> bool: ...

    def jump_mark(self, direction: int) -> str | None:
        """To the next or last mark: its text; None where there is none."""
        ...

    def mark(self, text: str) -> None: ...

    def timeline(self, cells: int) -> Timeline:
        """The whole time line in so many cells."""
        ...

    @property
    def recorder(self) -> RecordingControl | None:
        """What records, where something can."""
        ...

    def on_change(self, listener: Callable[[], None]) -> object:
        """`listener` is called after changes, at most once per turn of the event loop."""
        ...
