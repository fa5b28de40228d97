"""What one event costs the fold, with few volumes and with many: it must not grow with their number.

Ratios within this run. `--volumes` sets the largest number.
"""

import argparse
import time
from collections.abc import Iterator

import msgspec

from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.state import State
from csitrace.model import events
from csitrace.model.events import Body, TraceEvent
from csitrace.model.kubernetes import KubernetesObject
from tests import story

EVENTS = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, default=20_000)
    largest = parser.parse_args().volumes
    sizes = sorted({100, largest // 10, largest})
    costs = {size: cost_per_event(size) for size in sizes}
    smallest = costs[sizes[0]]
    print(f"{'volumes':>10} {'us/event':>10} {'ratio':>7}")
    for size, cost in costs.items():
        print(f"{size:>10} {cost * 1e6:>10.1f} {cost / smallest:>7.2f}")


def cost_per_event(volumes: int) -> float:
    """Seconds per event of a mix of pod, claim, attachment and call events, over `volumes` volumes in use."""
    state = State()
    for number in range(volumes):
        for body in volume_facts(number):
            state = step(state, body)
    changes = [body for number in range(min(volumes, EVENTS // 5)) for body in volume_facts(number)][:EVENTS]
    started = time.perf_counter()
    for body in changes:
        state = step(state, body)
    return (time.perf_counter() - started) / len(changes)


def step(state: State, body: Body) -> State:
    at = story.START + state.seq
    return fold(state, TraceEvent(seq=state.seq + 1, observed_at=at, occurred_at=at, body=body))


def volume_facts(number: int) -> Iterator[Body]:
    """A volume in use, its names made its own."""
    objects: tuple[KubernetesObject, ...] = (
        story.claim("Bound", story.PV_NAME),
        story.pv(),
        story.pod(story.NODE, "running", "Running", started=True),
        story.attachment(attached=True, finalizer=True),
    )
    for obj in objects:
        raw = msgspec.json.encode(obj).decode()
        for name in (story.CLAIM_UID, story.POD_UID, "uid-pv", "uid-va", story.HANDLE):
            raw = raw.replace(name, f"{name[:-8]}{number:08d}" if len(name) > 30 else f"{name}-{number}")
        raw = raw.replace('"data"', f'"data-{number}"').replace('"web-0"', f'"web-{number}"')
        yield events.ObjectModified(object=msgspec.json.decode(raw, type=type(obj)))
    yield events.RpcFinished(
        driver=story.DRIVER, instance="i", call_id=number, method="/csi.v1.Node/NodeStageVolume", code=0,
        volume_id=f"{story.HANDLE}-{number}",
    )  # fmt: skip


if __name__ == "__main__":
    main()
