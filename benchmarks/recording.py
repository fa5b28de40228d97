"""What is made of a long recording, as multiples of what it costs to fold it once: a replay, its statistics, its whole chronicle.

    python -m benchmarks.recording [--volumes N] [--abreast N]

Whole lives of volumes, from the claim to nothing left, `--abreast` of them at a time on ten nodes. Processor time;
read the ratios, which are of one run. Seeks are to random places of the replay, each from somewhere else.
"""

import argparse
import random
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from csitrace.lifecycle.chronicle import chronicle
from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.history import History
from csitrace.lifecycle.paths import staging_digest
from csitrace.lifecycle.samples import gather
from csitrace.lifecycle.state import State
from csitrace.model import events
from csitrace.model.events import Body, TraceEvent
from csitrace.model.times import MILLISECOND
from tests import story
from tests.story import Story, straight_road, way_back_road

NODES = 10
SEEKS = 40


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--volumes", type=int, default=300)
    parser.add_argument("--abreast", type=int, default=50)
    arguments = parser.parse_args()
    told = list(recording(arguments.volumes, arguments.abreast))
    print(f"{len(told):,} events of {arguments.volumes} volumes, {arguments.abreast} abreast")
    ways: dict[str, Callable[[list[TraceEvent]], object]] = {
        "fold": folded,
        "replay": replayed,
        "stats": gather,
        "export": chronicle,
    }
    print(f"{'':>8} {'us/event':>9} {'x fold':>7}")
    fold_cost = 0.0
    for name, way in ways.items():
        cost = min(_cost(way, told) for _ in range(2)) / len(told)
        fold_cost = fold_cost or cost
        print(f"{name:>8} {cost * 1e6:>9.0f} {cost / fold_cost:>7.2f}")
    _seeking(told)


def folded(told: Iterable[TraceEvent]) -> State:
    state = State()
    for event in told:
        state = fold(state, event)
    return state


def replayed(told: Iterable[TraceEvent]) -> History:
    history = History(events_kept=None)
    for event in told:
        history.append(event)
    return history


def _cost(way: Callable[[list[TraceEvent]], object], told: list[TraceEvent]) -> float:
    started = time.process_time()
    way(told)
    return time.process_time() - started


def _seeking(told: list[TraceEvent]) -> None:
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    history = replayed(told)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    chance, took = random.Random(3), []
    for _ in range(SEEKS):
        seq = chance.randrange(1, history.tail_seq)
        started = time.process_time()
        history.state_at(seq)
        took.append(time.process_time() - started)
    took.sort()
    print(
        f"a replay holds {(after - before) / 2**20:.1f} MiB, {(after - before) / len(told):.0f} bytes an event"
    )
    print(f"a seek: median {took[len(took) // 2] * 1e3:.0f} ms, longest {took[-1] * 1e3:.0f} ms")


def recording(volumes: int, abreast: int) -> Iterator[TraceEvent]:
    """The events of whole lives, `abreast` of them at a time in turn, in `seq` order."""
    for seq, body in enumerate(_bodies(volumes, abreast), 1):
        at = story.START + seq * 20 * MILLISECOND
        yield TraceEvent(seq=seq, observed_at=at, occurred_at=at, body=body)


def _bodies(volumes: int, abreast: int) -> Iterator[Body]:
    for number in range(NODES):
        heard = Story().hear_everyone(f"n{number}")
        yield from (event.body for event in heard.events)
    told = way_back_road(straight_road()[-1][1]).events[len(Story().hear_everyone().events) :]
    shared = [event.body for event in told if _kind(event.body) in ("StorageClass", "CSIDriver")]
    yield from shared
    life = [
        msgspec.to_builtins(event.body)
        for event in told
        if event.body not in shared and _kind(event.body) != "Node"
    ]
    for first in range(0, volumes, abreast):
        numbers = range(first, min(first + abreast, volumes))
        for fact in life:
            for number in numbers:
                yield msgspec.convert(_of(number, fact), type=events.Body)


def _kind(body: Body) -> str:
    return body.object.kind if isinstance(body, events.ObjectAdded | events.ObjectModified) else ""


def _of(number: int, fact: Any) -> Any:
    """The fact, told of the volume `number`."""
    return _renamed(
        fact,
        {
            story.CLAIM_UID: f"{number:08d}{story.CLAIM_UID[8:]}",
            story.POD_UID: f"{number:08d}{story.POD_UID[8:]}",
            staging_digest(story.HANDLE): staging_digest(f"vol-{number}."),
            story.HANDLE: f"vol-{number}.",
            "uid-pv": f"uid-pv-{number}",
            "uid-va": f"uid-va-{number}",
            "csi-0123456789": f"csi-{number}",
            "web-0": f"web-{number}",
        },
        number,
    )


_NUMBERED = ("mount_id", "call_id", "minor", "connection")


def _renamed(value: Any, names: dict[str, str], number: int) -> Any:
    if isinstance(value, str):
        if value == "data":
            return f"data-{number}"
        if value == story.NODE:
            return f"n{number % NODES}"
        for old, new in names.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, dict):
        return {
            key: each + 1000 * number
            if key in _NUMBERED and isinstance(each, int)
            else each
            if key == "type"
            else _renamed(each, names, number)
            for key, each in value.items()
        }
    return [_renamed(each, names, number) for each in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    main()
