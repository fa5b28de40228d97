"""The recorder: what a session takes in is written to a file, by a thread of its own, so that no disk holds up a screen.

Facts wait in a bounded queue. Where the disk is too slow for them, or full, they are let go and counted; once it takes some
again, the recording says how many are missing, and tells all that is known by then anew.
"""

import asyncio
import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from csitrace.engine.session import Session
from csitrace.errors import TraceError
from csitrace.lifecycle.eventlog import Kept
from csitrace.lifecycle.snapshot import snapshot
from csitrace.lifecycle.state import State
from csitrace.model.events import RecordingGap, TraceEvent
from csitrace.trace.rotation import Bounds, RotatingWriter

QUEUED = 50_000
"""Facts that may wait for the disk."""

BLOCK_SECONDS = 0.5
"""How long a fact may wait for others to share a block with; what waits is lost when the process is killed."""

RETRY_SECONDS = 1.0
"""How often a disk that failed is tried again."""

TOO_SLOW = "the disk is too slow"

_WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file may not grow any more",
}


@dataclass(frozen=True, slots=True)
class RecorderStatus:
    """How a recording fares. `events`, `bytes`: with the operating system, in all parts; `lost`: facts that were not written
    so far; `trouble`: why facts are being lost now, in words, else ""; `ended_at`: when it was ended."""

    path: Path
    recording: bool
    since: int
    events: int = 0
    bytes: int = 0
    parts: int = 1
    lost: int = 0
    trouble: str = ""
    ended_at: int | None = None


class Recorder:
    """One recording of a session, from `start` to `stop`; both are called in the session's thread."""

    def __init__(
        self, session: Session, path: Path, bounds: Bounds | None = None, *, overwrite: bool = False, queued: int = QUEUED
    ) -> None:  # fmt: skip
        self._session, self._path, self._overwrite = session, path, overwrite
        self._bounds, self._limit = bounds or Bounds(), queued
        self._since = session.clock()
        self._ended_at: int | None = None
        self._wake = threading.Condition()  # guards what follows
        self._queue: deque[tuple[Sequence[TraceEvent], State]] = deque()
        self._queued = 0
        self._state = State()  # after all that was heard, written or not
        self._heard = 0
        self._lost = 0
        self._trouble = ""
        self._ending = False
        self._retry_at = 0.0  # the thread's own, as is the next
        self._told = 0  # of those lost, the ones that the recording tells of
        self._writer: RotatingWriter | None = None
        self._thread: threading.Thread | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    @property
    def status(self) -> RecorderStatus:
        """How it fares now; at any time, also before and after."""
        writer, thread = self._writer, self._thread
        recording = thread is not None and thread.is_alive() and not self._ending
        status = RecorderStatus(
            self._path,
            recording,
            self._since,
            lost=self._lost,
            trouble=self._trouble,
            ended_at=self._ended_at,
        )
        if writer is None:
            return status
        return replace(status, events=writer.events, bytes=writer.bytes, parts=writer.parts)

    def start(self) -> None:
        """Begin, with all that the session's history still has. Raises `TraceError` when the file cannot be made."""
        history = self._session.history
        kept = history.kept()
        before = history.state_at(history.first_seq) if history.first_seq else None
        first_seq = kept.first_seq or history.tail_seq + 1
        self._since, self._state, self._heard = self._session.clock(), history.tail, len(kept)
        try:
            self._writer = RotatingWriter(
                self._path, self._session.title, self._since, first_seq, self._bounds, overwrite=self._overwrite
            )  # fmt: skip
        except OSError as error:
            raise TraceError(f"cannot write {self._path}: {error.strerror}") from error
        self._unsubscribe = self._session.on_events(self._hear)
        work = (self._writer, before, kept)
        self._thread = threading.Thread(target=self._run, args=work, name="recorder", daemon=True)
        self._thread.start()

    async def stop(self) -> RecorderStatus:
        """End: what was heard until now is written, as far as the disk takes it. The loop goes on meanwhile."""
        self._end()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        return self.status

    def _end(self) -> None:
        self._unsubscribe()
        self._ended_at = self._session.clock()
        with self._wake:
            self._ending = True
            self._wake.notify()

    def _hear(self, events: Sequence[TraceEvent], state: State) -> None:
        """In the session's thread: never waits for the disk."""
        with self._wake:
            self._state = state
            self._heard += len(events)
            if not self._trouble and self._queued + len(events) > self._limit:
                self._trouble = TOO_SLOW
            if self._trouble:
                self._lost += len(events)
            else:
                self._queue.append((events, state))
                self._queued += len(events)
            if len(self._queue) <= 1:
                self._wake.notify()

    def _run(self, writer: RotatingWriter, before: State | None, kept: Kept) -> None:
        try:
            self._begin(writer, before, kept)
            self._write_all(writer)
            with self._wake:
                self._lost = self._heard - writer.facts
            writer.sync()
        except Exception as error:  # noqa: BLE001 - the thread's boundary: what ends it is told, and the session goes on
            with self._wake:
                self._trouble, self._ending = f"it ended: {error}", True
                self._queue.clear()
        finally:
            writer.close()

    def _begin(self, writer: RotatingWriter, before: State | None, kept: Kept) -> None:
        try:
            if before is not None:
                writer.write_snapshot(snapshot(before))
            writer.write(kept)
            writer.flush()
        except OSError as error:
            self._fail(writer, error)

    def _write_all(self, writer: RotatingWriter) -> None:
        """Until it is ended and nothing waits any more."""
        opened = 0.0  # since when facts wait to share a block
        state: State | None = None  # after the last fact that was written
        while True:
            work, ending = self._take(writer, opened)
            try:
                for events, _ in work:
                    opened = opened if writer.waiting else time.monotonic()
                    writer.write(events)
                if writer.waiting and (ending or time.monotonic() - opened >= BLOCK_SECONDS):
                    writer.flush()
                state = work[-1][1] if work else state
                now = self._session.clock()
                if state is not None and writer.is_due(now):
                    writer.rotate(now, state.seq + 1, snapshot(state))
            except (OSError, TraceError) as error:
                self._fail(writer, error)
            if self._trouble:
                self._resume(writer)
            if ending and not self._queue:
                return

    def _take(
        self, writer: RotatingWriter, opened: float
    ) -> tuple[list[tuple[Sequence[TraceEvent], State]], bool]:
        """All that waits, once something does, it is time to look again, or it is ended."""
        with self._wake:
            if not self._queue and not self._ending:
                patience = RETRY_SECONDS
                if writer.waiting:
                    patience = max(opened + BLOCK_SECONDS - time.monotonic(), 0)
                self._wake.wait(patience)
            work = list(self._queue)
            self._queue.clear()
            self._queued = 0
            return work, self._ending

    def _fail(self, writer: RotatingWriter, error: OSError | TraceError) -> None:
        """What waits is lost: the disk takes no more."""
        told = str(error)
        if isinstance(error, OSError):
            told = _WORDS.get(error.errno or 0, f"the disk fails: {error.strerror}")
        with self._wake:
            self._queue.clear()
            self._queued = 0
            self._trouble = told
            self._lost = self._heard - writer.facts
        self._retry_at = time.monotonic() + RETRY_SECONDS

    def _resume(self, writer: RotatingWriter) -> None:
        """Once all is written that waited before facts were lost: say how many are missing, and tell anew what is known."""
        with self._wake:
            if self._queue:
                return
            state, reason = self._state, self._trouble
            missing = self._heard - writer.facts - writer.waiting - self._told
            if time.monotonic() < self._retry_at and not self._ending:
                return
            self._trouble = ""
        body = RecordingGap(reason=reason, lost=missing, retold=True)
        gap = TraceEvent(seq=0, observed_at=state.at, occurred_at=state.at, body=body)
        try:
            writer.flush()
            writer.write_snapshot([gap])
            self._told += missing
            writer.write_snapshot(snapshot(state))
        except OSError as error:
            self._fail(writer, error)
