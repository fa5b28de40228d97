"""`csitrace watch --record` beside roads, and killed when they are over: its recording has to show what it showed."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock

from csitrace.engine.session import Session
from csitrace.model.events import Marked
from csitrace.trace.reader import TraceReader
from tests.cluster.conftest import Target
from tests.roads.traveller import Told
from tests.terminal import Terminal
from tests.tour import BRIEF, Pictures, Tour, expect, hold_at, mark, pictures

_CSITRACE = (sys.executable, "-m", "csitrace")


@dataclass
class Watch:
    """A watch in a terminal, the file that it records, the marks that were set, and what it showed when it was taken back to
    some of them."""

    terminal: Terminal
    recording: Path
    marks: list[str] = field(default_factory=list)
    _seen: dict[str, tuple[Tour, Pictures]] = field(default_factory=dict)
    _turn: Lock = field(default_factory=Lock)

    def mark(self, name: str) -> None:
        """Set a mark now, while it goes on. Roads that are walked abreast may do so at the same time."""
        with self._turn:
            mark(self.terminal, name)
            self.marks.append(name)

    def mark_moments_of(self, session: Session) -> None:
        """Set a mark at each moment of the roads that are seen by this session, from now on."""
        assert isinstance(session.history, Told)
        session.history.at_moments.append(partial(asyncio.to_thread, self.mark))

    def look(self, name: str, tour: Tour) -> None:
        """Go back to a mark and take pictures, while facts go on coming in; then follow again."""
        hold_at(self.terminal, name)
        self._seen[name] = tour, pictures(self.terminal, tour)
        self.terminal.press(")")
        self.terminal.until("that it follows", lambda screen: "LIVE" in screen[0])

    def expect_recorded(self) -> None:
        """SIGKILL to it: at every mark `replay` shows what it showed; where it was not looked at yet, it is first, briefly."""
        assert self.marks, "no road was walked"
        for name in self.marks:
            if name not in self._seen:
                self.look(name, BRIEF)
        self.terminal.until("the marks in the file", lambda _: set(self.marks) <= _recorded(self.recording))
        self.terminal.kill()
        command = [*_CSITRACE, "replay", str(self.recording), "--at", self.marks[0]]
        with Terminal(self.recording.parent, command) as replayed:
            replayed.until("the recording", lambda screen: "REPLAY" in screen[0])
            for name, (tour, seen) in self._seen.items():
                hold_at(replayed, name)
                try:
                    expect(replayed, tour, seen)
                except AssertionError as error:
                    raise AssertionError(f"at {name}: {error}") from None


@contextmanager
def recording_watch(target: Target, directory: Path, feeds: Sequence[str] = ()) -> Iterator[Watch]:
    """One of all namespaces and witnesses, in a directory of its own. `feeds`: of drivers besides the usual one."""
    recording = directory / "watch.csitrace"
    heard = target.cluster.hearing() if target.cluster is not None else []
    command = [*_CSITRACE, "watch", "--record", str(recording), *heard, *(f"--feed={feed}" for feed in feeds)]
    with Terminal(directory, command, {"KUBECONFIG": str(target.kubectl.kubeconfig)}) as terminal:
        terminal.until("that it records", lambda screen: "REC" in screen[0])
        yield Watch(terminal, recording)


def _recorded(recording: Path) -> set[str]:
    with TraceReader.open(recording) as reader:
        return {event.body.text for event in reader.events() if isinstance(event.body, Marked)}
