"""What the commands that record and replay share: the flags, and a session that is recorded while something else goes on."""

import argparse
import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from csitrace.errors import UsageError
from csitrace.model.sizes import format_size
from csitrace.model.times import DAY, HOUR, MINUTE, SECOND, format_duration, format_rfc3339

if TYPE_CHECKING:
    from csitrace.engine.recorder import Recorder, RecorderStatus
    from csitrace.engine.session import Session
    from csitrace.trace.rotation import Bounds
    from csitrace.tui.recording import RecordingStatus

SUFFIX = ".csitrace"
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_TIMES = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_SIZE = re.compile(r"(\d+)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_TIME = re.compile(r"(\d+)([smhd])")

SMALLEST_PART = 64 << 10


def add_recording_flags(parser: argparse.ArgumentParser) -> None:
    """How a recording is kept within bounds."""
    group = parser.add_argument_group("the recording")
    group.add_argument("--overwrite", action="store_true", help="where the file is there already")
    group.add_argument("--rotate-size", default="", metavar="SIZE", help="begin a new file at it, e.g. 100M")
    group.add_argument("--rotate-age", default="", metavar="TIME", help="begin a new file after it, e.g. 1h")
    group.add_argument(
        "--keep", default="", metavar="SIZE", help="of all files together, e.g. 1G: the oldest are deleted"
    )


def bounds(arguments: argparse.Namespace) -> "Bounds":
    """What `add_recording_flags` were given. Raises `UsageError`."""
    from csitrace.trace.rotation import Bounds

    part, total = size_of("--rotate-size", arguments.rotate_size), size_of("--keep", arguments.keep)
    if 0 < part < SMALLEST_PART or 0 < total < 4 * SMALLEST_PART:
        raise UsageError("--rotate-size is 64k at least, and --keep 256k")
    if part and 0 < total < 2 * part:
        raise UsageError(
            "--keep must be at least twice --rotate-size: a new file begins before the old one goes"
        )
    return Bounds(part, age_of("--rotate-age", arguments.rotate_age), total)


def size_of(flag: str, text: str) -> int:
    """Bytes of `100M`, `64k`, `1GiB` (powers of 1024); 0 for "". Raises `UsageError`."""
    match = _SIZE.fullmatch(text)
    if text and match is None:
        raise UsageError(f"{flag} {text!r} is no size: say 100M or 1G")
    return int(match[1]) * _UNITS[match[2].lower()] if match is not None else 0


def age_of(flag: str, text: str) -> int:
    """Nanoseconds of `30s`, `10m`, `1h`, `1d`; 0 for "". Raises `UsageError`."""
    match = _TIME.fullmatch(text)
    if text and match is None:
        raise UsageError(f"{flag} {text!r} is no time: say 10m or 1h")
    return int(match[1]) * _TIMES[match[2]] if match is not None else 0


@asynccontextmanager
async def recorded(
    session: "Session", path: Path, limits: "Bounds", *, overwrite: bool
) -> AsyncIterator["Recorder"]:
    """Record the session meanwhile; in the end, say what was recorded. Raises `TraceError` when the file cannot be made."""
    from csitrace.engine.recorder import Recorder

    recorder = Recorder(session, path, limits, overwrite=overwrite)
    recorder.start()
    try:
        yield recorder
    finally:
        status = await recorder.stop()
        print(summary(status, session.clock()), file=sys.stderr)


class Recordings:
    """What `watch --record` begins, and key `r` begins and ends: one file after the other (`tui.recording.RecordingControl`).

    `path`: of the first one; None: each is named by when it began, in the current directory.
    """

    def __init__(
        self, session: "Session", limits: "Bounds", path: Path | None = None, *, overwrite: bool = False
    ) -> None:
        self._session, self._limits, self._path, self._overwrite = session, limits, path, overwrite
        self._recorder: Recorder | None = None
        self.ended: list[RecorderStatus] = []

    @property
    def status(self) -> "RecordingStatus":
        from csitrace.tui.recording import RecordingStatus

        if self._recorder is None:
            return RecordingStatus(is_on=False)
        now = self._recorder.status
        lost = f"{now.lost:,} facts lost" if now.lost else ""
        problem = ", ".join(text for text in (now.trouble, lost) if text)
        return RecordingStatus(now.recording, str(now.path), now.events, now.bytes, problem)

    async def start(self) -> None:
        """Begin a file. Raises `TraceError`."""
        from csitrace.engine.recorder import Recorder

        path, self._path = self._path or self._named(), None
        recorder = Recorder(self._session, path, self._limits, overwrite=self._overwrite)
        recorder.start()
        self._recorder = recorder

    async def stop(self) -> None:
        """End the file, if there is one; everything taken in so far is in it."""
        if self._recorder is not None and self._recorder.status.recording:
            self.ended.append(await self._recorder.stop())

    def _named(self) -> Path:
        began = format_rfc3339(self._session.clock()).partition(".")[0].rstrip("Z")
        return Path(f"csitrace-{began.replace('-', '').replace(':', '')}Z{SUFFIX}")


@asynccontextmanager
async def recordings(
    session: "Session", limits: "Bounds | None" = None, path: Path | None = None, *, overwrite: bool = False
) -> AsyncIterator[Recordings]:
    """What records the session meanwhile, from the beginning where a `path` is given; in the end, say what was recorded."""
    from csitrace.trace.rotation import Bounds

    control = Recordings(session, limits or Bounds(), path, overwrite=overwrite)
    if path is not None:
        await control.start()
    try:
        yield control
    finally:
        await control.stop()
        for status in control.ended:
            print(summary(status, session.clock()), file=sys.stderr)


def summary(status: "RecorderStatus", now: int) -> str:
    """One line: what is in the file, and what is not."""
    took = format_duration((status.ended_at or now) - status.since)
    parts = f" in {status.parts} files, the last of them" if status.parts > 1 else " in"
    text = f"{status.events:,} events, {format_size(status.bytes)}, {took}{parts} {status.path}"
    if status.lost:
        text += f"; {status.lost:,} facts are missing from it"
    return text + (f": {status.trouble}" if status.trouble else "")


def leave_on_termination() -> None:
    """SIGTERM ends the running task like Ctrl-C does, so that what is open is closed."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
