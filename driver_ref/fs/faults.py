"""Faults on demand: which operation is to be delayed, hung or refused, and how many times."""

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from driver_ref.fs.channel import ERRNO_NUMBERS, Fault


@dataclass
class _Armed:
    fault: Fault
    remaining: int | None

    def spend(self) -> bool:
        """Whether it applies once more; counted down."""
        if self.remaining is None:
            return True
        self.remaining -= 1
        return self.remaining >= 0


class Faults:
    """The faults in force. ``active`` is false in the usual case, so that an operation pays one attribute look-up."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []
        self._replaced = trio.Event()
        self.active = False

    def replace(self, faults: Sequence[Fault]) -> None:
        """Put these faults in force instead of the former ones, and let go of what those held."""
        self._armed = [_Armed(fault, fault.count) for fault in faults]
        self.active = bool(faults)
        self._replaced.set()
        self._replaced = trio.Event()

    def take(self, op: str) -> list[Fault]:
        """The faults that apply to this one operation; each is spent by one."""
        taken = [armed.fault for armed in self._armed if armed.fault.op in ("*", op) and armed.spend()]
        self._armed = [armed for armed in self._armed if armed.remaining is None or armed.remaining > 0]
        self.active = bool(self._armed)
        return taken

    async def suffer(self, op: str) -> None:
        """Wait as the faults for ``op`` demand; raise :class:`OSError` where one says so.

        A hang ends when the faults are replaced (the operation is then carried out) or when the daemon stops, which
        cancels it.
        """
        replaced = self._replaced
        for fault in self.take(op):
            if fault.delay_ms:
                with trio.move_on_after(fault.delay_ms / 1000):
                    await replaced.wait()
            if fault.hang:
                await replaced.wait()
            if fault.errno is not None and not replaced.is_set():
                raise OSError(ERRNO_NUMBERS[fault.errno], "fault on demand")
