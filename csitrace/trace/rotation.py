"""A recording in parts, so that it stays within bounds: each part can be read alone, all of them as one."""

import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from csitrace.model.events import TraceEvent
from csitrace.trace.writer import TraceWriter, new_header


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one part: its bytes and its age (ns); of all parts: their bytes. 0: no bound."""

    part_bytes: int = 0
    part_age_ns: int = 0
    total_bytes: int = 0

    @property
    def rotates_at(self) -> int:
        """The bytes at which a part ends: a quarter of the whole, where only that is bounded."""
        return self.part_bytes or self.total_bytes // 4


class RotatingWriter:
    """Writes `path`, always the latest part; those before it are called `<name>.<number><suffix>`, in their order.

    Raises what `TraceWriter` raises. Not shared between threads.
    """

    def __init__(
        self, path: Path, title: str, created_at: int, first_seq: int, bounds: Bounds, *, overwrite: bool = False
    ) -> None:  # fmt: skip
        self.path = path
        self.parts = 1
        self._bounds = bounds
        self._former: deque[tuple[Path, int]] = deque()  # (file, bytes), oldest first
        self._gone = (0, 0)  # events and bytes of former parts
        self._facts_gone = 0
        self._snapshot_bytes = 0
        self._part = TraceWriter(path, new_header(title, created_at, first_seq), overwrite=overwrite)

    @property
    def events(self) -> int:
        return self._gone[0] + self._part.events

    @property
    def bytes(self) -> int:
        """Written in all parts, also those that were let go."""
        return self._gone[1] + self._part.bytes

    @property
    def facts(self) -> int:
        return self._facts_gone + self._part.facts

    @property
    def waiting(self) -> int:
        return self._part.waiting

    def write(self, events: Iterable[TraceEvent]) -> None:
        self._part.write(events)

    def write_snapshot(self, events: Iterable[TraceEvent]) -> None:
        self._part.write_snapshot(events)

    def flush(self) -> None:
        self._part.flush()

    def sync(self) -> None:
        self._part.sync()

    def close(self) -> None:
        self._part.close()

    def is_due(self, now: int) -> bool:
        """Whether a part has reached its bound. `now`: by the clock that `created_at` was read from.

        One that has nothing but what was known before it, or by size not as much again, has not.
        """
        at, age = self._bounds.rotates_at, self._bounds.part_age_ns
        is_large = bool(at) and self._part.bytes >= max(at, 2 * self._snapshot_bytes)
        is_old = bool(age) and now - self._part.header.created_at >= age
        return bool(self._part.facts) and (is_large or is_old)

    def rotate(self, now: int, first_seq: int, known: Iterable[TraceEvent]) -> None:
        """Begin a new part: with what is known, before the fact `first_seq`. The oldest parts go where all would be too large."""
        self._part.flush()
        part, header, former = self._part, self._part.header, self._free_name()
        following = new_header(header.title, now, first_seq, header.recording, header.part + 1)
        os.rename(self.path, former)
        try:
            self._part = TraceWriter(self.path, following)
        except BaseException:
            os.rename(former, self.path)
            raise
        part.close()
        self._former.append((former, part.bytes))
        self._gone = (self._gone[0] + part.events, self._gone[1] + part.bytes)
        self._facts_gone += part.facts
        self.parts += 1
        self._let_go()
        self._part.write_snapshot(known)
        self._snapshot_bytes = self._part.bytes

    def _let_go(self) -> None:
        bound = self._bounds.total_bytes
        while bound and self._former and sum(size for _, size in self._former) + self._bounds.rotates_at > bound:  # fmt: skip
            self._former.popleft()[0].unlink(missing_ok=True)

    def _free_name(self) -> Path:
        number = self._part.header.part
        while True:
            name = self.path.with_name(f"{self.path.stem}.{number:04d}{self.path.suffix}")
            if not os.path.lexists(name):
                return name
            number += 1
