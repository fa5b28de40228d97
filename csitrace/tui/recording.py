"""What key `r` starts and stops, and what the header says of it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RecordingStatus:
    """How a recording goes. `path`: its file; `events` and `size` (bytes) in it so far; `problem`: why not all is in it, in a few
    words (`disk full, 312 facts lost`), empty while all is well. Not `is_on`: what was written before it was stopped."""

    is_on: bool
    path: str = ""
    events: int = 0
    size: int = 0
    problem: str = ""


class RecordingControl(Protocol):
    """The recorder as the screen sees it. `status` is asked for at every repaint and answers at once."""

    @property
    def status(self) -> RecordingStatus: ...

    async def start(self) -> None:
        """Begin a file. Raises `CsitraceError` when that is not possible."""
        ...

    async def stop(self) -> None:
        """End the file; everything taken in so far is in it."""
        ...
