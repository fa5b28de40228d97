"""Faults on demand: what the driver does wrong on purpose, for a test, a demo or a lesson.

A fault strikes one RPC (`NodeStageVolume`) or one kind of FUSE operation (`fuse.READ`, `fuse.*`), of one volume or of all. Its
effect is written in a small grammar, the same in a StorageClass parameter and in the Faults service:

    fault.NodeStageVolume: "UNAVAILABLE:count=3:delay=2s:after"
    fault.fuse.READ: "EIO:count=10"

Words are separated by colons: a gRPC code (an errno for FUSE), `delay=2s`, `hang`, `kill` (the volume's FUSE process),
`before` (the default) or `after` the work, `count=N` (default: for ever). Counts are kept in memory: a restarted driver
begins anew.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from csitrace.errors import UsageError
from csitrace.model.rpc import RPC_BY_METHOD, Code
from driver_ref.fs.channel import ERRNO_NUMBERS, FAULTABLE_OPS

PARAMETER_PREFIX = "fault."
FUSE_PREFIX = "fuse."

_UNITS = {"ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000}
_DURATION = re.compile(r"(\d{1,9})(ms|s|m)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. `target` and `volume_id` (empty: every volume) say what it strikes, the rest what happens.

    `code`: answer with this instead; `errno`: the same for a FUSE operation; `count`: how often, None for ever.
    """

    target: str
    volume_id: str = ""
    code: Code | None = None
    errno: str = ""
    delay_ns: int = 0
    hang: bool = False
    kill: bool = False
    after: bool = False
    count: int | None = None

    @property
    def is_fuse(self) -> bool:
        """Whether the FUSE process is to do it, not the driver."""
        return self.target.startswith(FUSE_PREFIX)

    @property
    def operation(self) -> str:
        """The kernel's name of the FUSE operation, `*` for all."""
        return self.target.removeprefix(FUSE_PREFIX)

    @property
    def effect(self) -> str:
        """The fault's effect in the grammar above; `parse(target, effect)` gives the fault again."""
        words = [self.code.name] if self.code is not None else []
        words += [self.errno] if self.errno else []
        words += [_duration_word(self.delay_ns)] if self.delay_ns else []
        words += [word for word in ("hang", "kill", "after") if getattr(self, word)]
        words += [f"count={self.count}"] if self.count is not None else []
        return ":".join(words)


def parse(target: str, effect: str, volume_id: str = "") -> Fault:
    """Read a fault. Raises UsageError that says which word is wrong and what may stand there."""
    where = f"fault {target!r}: "
    is_fuse = target.startswith(FUSE_PREFIX)
    if is_fuse and target.removeprefix(FUSE_PREFIX) not in ("*", *FAULTABLE_OPS):
        raise UsageError(f"{where}no such FUSE operation; use fuse.* or one of {', '.join(FAULTABLE_OPS)}")
    if not is_fuse and target not in RPC_BY_METHOD:
        raise UsageError(
            f"{where}no such RPC; name a CSI method (NodeStageVolume) or a FUSE operation (fuse.READ)"
        )
    fault = Fault(target=target, volume_id=volume_id)
    for word in effect.split(":"):
        fault = _with_word(fault, word.strip(), where)
    if not (fault.code or fault.errno or fault.delay_ns or fault.hang or fault.kill):
        raise UsageError(f"{where}{effect!r} has no effect; give a code, delay=…, hang or kill")
    if fault.hang and (fault.code or fault.errno):
        raise UsageError(
            f"{where}what hangs never answers, so it cannot also answer {fault.errno or fault.code!s}"
        )
    if is_fuse and (fault.kill or fault.after):
        raise UsageError(f"{where}'kill' and 'after' are for RPCs only")
    return fault


def from_parameters(parameters: Mapping[str, str], volume_id: str) -> list[Fault]:
    """The faults that a StorageClass asks for. Raises UsageError for the first that cannot be read."""
    return [
        parse(key.removeprefix(PARAMETER_PREFIX), value, volume_id)
        for key, value in sorted(parameters.items())
        if key.startswith(PARAMETER_PREFIX)
    ]


@dataclass(slots=True)
class Armed:
    """A fault in waiting. `remaining`: how often it may still strike; `released` lets what hangs go on."""

    fault: Fault
    remaining: int | None
    released: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def key(self) -> tuple[str, str]:
        """What the fault strikes: there is at most one for a target and a volume."""
        return self.fault.target, self.fault.volume_id


class Faults:
    """The faults in force: at most one per target and volume. A volume's own goes before one for every volume."""

    def __init__(self) -> None:
        self._armed: dict[tuple[str, str], Armed] = {}
        self._hanging: list[Armed] = []
        self._seen: set[str] = set()

    def arm(self, fault: Fault) -> None:
        """Put a fault in force, in place of one for the same target and volume."""
        self.clear(fault.target, fault.volume_id)
        armed = Armed(fault, fault.count)
        self._armed[armed.key] = armed

    def knows(self, volume_id: str) -> bool:
        """Whether the volume's StorageClass faults have been armed."""
        return volume_id in self._seen

    def arm_parameters(self, volume_id: str, parameters: Mapping[str, str]) -> None:
        """Arm a volume's StorageClass faults, once: a retried call must not find its count full again."""
        if volume_id in self._seen:
            return
        for fault in from_parameters(parameters, volume_id):
            self.arm(fault)
        self._seen.add(volume_id)

    def forget(self, volume_id: str) -> None:
        """The volume is gone, and its faults with it."""
        self._seen.discard(volume_id)
        self.clear(volume_id=volume_id)

    def clear(self, target: str = "", volume_id: str = "") -> int:
        """Disarm what matches (empty matches all) and let go what hangs; returns how many."""
        matching = [
            fault
            for fault in {*self._armed, *(armed.key for armed in self._hanging)}
            if (not target or fault[0] == target) and (not volume_id or fault[1] == volume_id)
        ]
        for key in matching:
            self._armed.pop(key, None)
        for armed in self._hanging:
            if armed.key in matching:
                armed.released.set()
        return len(matching)

    async def hang(self, armed: Armed) -> None:
        """Wait until the fault is cleared."""
        self._hanging.append(armed)
        try:
            await armed.released.wait()
        finally:
            self._hanging.remove(armed)

    def take(self, method: str, volume_id: str) -> Armed | None:
        """The fault that strikes this call now, its count less by one; None when the call is spared."""
        for key in ((method, volume_id), (method, "")):
            armed = self._armed.get(key)
            if armed is not None:
                if armed.remaining is not None:
                    armed.remaining -= 1
                    if armed.remaining == 0:
                        del self._armed[key]
                return armed
        return None

    def of_fuse(self, volume_id: str) -> list[Fault]:
        """The FUSE faults that hold for a volume: its own, and those for every volume that it has none against."""
        own = [armed.fault for key, armed in self._armed.items() if key[1] == volume_id]
        common = [armed.fault for key, armed in self._armed.items() if not key[1]]
        targets = {fault.target for fault in own}
        return [
            fault
            for fault in own + [fault for fault in common if fault.target not in targets]
            if fault.is_fuse
        ]

    def __iter__(self) -> Iterator[Fault]:
        """Every fault in force, with the count that is left."""
        for armed in self._armed.values():
            yield replace(armed.fault, count=armed.remaining)


_WORDS: dict[str, Callable[[Fault], Fault]] = {
    "hang": lambda fault: replace(fault, hang=True),
    "kill": lambda fault: replace(fault, kill=True),
    "before": lambda fault: replace(fault, after=False),
    "after": lambda fault: replace(fault, after=True),
}


def _with_word(fault: Fault, word: str, where: str) -> Fault:
    key, equals, value = word.partition("=")
    if word in _WORDS:
        return _WORDS[word](fault)
    if equals and key == "count":
        if not value.isdecimal() or int(value) == 0:
            raise UsageError(f"{where}count={value!r} is not a whole number above 0")
        return replace(fault, count=int(value))
    if equals and key == "delay":
        match = _DURATION.fullmatch(value)
        if match is None:
            raise UsageError(f"{where}delay={value!r} is not a duration such as 500ms, 2s or 1m")
        return replace(fault, delay_ns=int(match[1]) * _UNITS[match[2]])
    if fault.is_fuse and word in ERRNO_NUMBERS:
        return replace(fault, errno=word)
    if not fault.is_fuse and word in Code.__members__ and word != "OK":
        return replace(fault, code=Code[word])
    kind = "an errno (EIO)" if fault.is_fuse else "a gRPC code (UNAVAILABLE)"
    raise UsageError(
        f"{where}cannot read {word!r}; use {kind}, delay=2s, count=3, hang, kill, before or after, separated by ':'"
    )


def _duration_word(delay_ns: int) -> str:
    for unit in ("m", "s", "ms"):
        if delay_ns % _UNITS[unit] == 0:
            return f"delay={delay_ns // _UNITS[unit]}{unit}"
    raise ValueError(f"{delay_ns} ns is no whole number of milliseconds")
