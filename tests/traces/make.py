"""Makes the golden traces of this version: `python -m tests.traces.make DIRECTORY`.

What is in this directory already is never made anew: it must open for ever. A new minor version adds its own.
"""

import sys
from pathlib import Path

from msgspec.structs import replace

from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.snapshot import snapshot
from csitrace.lifecycle.state import State
from csitrace.model import events
from csitrace.model.events import TraceEvent, Witness
from csitrace.trace.writer import TraceWriter, new_header
from tests import fleet, story
from tests.story import Story, straight_road, way_back_road

BLOCK = 20


def main() -> None:
    directory = Path(sys.argv[1])
    road = Story()
    straight_road(road)
    road.tell(events.Marked(text="in use"))
    road.rpc("NodeUnpublishVolume", 13, "target is busy", target_path=story.TARGET)
    way_back_road(road)
    write(directory / "road-1.0.csitrace", (), road.events)
    middle = fleet.fleet()
    cut = len(middle.events) // 2
    state = folded(middle.events[:cut])
    up = events.SourceUp(witness=Witness.KERNEL, scope="n3")
    middle.tell(up)
    write(directory / "middle-1.0.csitrace", list(snapshot(state)), middle.events[cut:])


def folded(told: list[TraceEvent]) -> State:
    state = State()
    for event in told:
        state = fold(state, event)
    return state


def write(path: Path, known: list[TraceEvent] | tuple[()], facts: list[TraceEvent]) -> None:
    """With a gap in the middle that is made good."""
    header = replace(new_header(path.stem, story.START, facts[0].seq, "golden"), writer="csitrace 0.1.0")
    writer = TraceWriter(path, header)
    writer.write_snapshot(known)
    for start in range(0, len(facts), BLOCK):
        writer.write(facts[start : start + BLOCK])
        writer.flush()
    if known:
        state = folded([replace(event, seq=seq) for seq, event in enumerate([*known, *facts], 1)])
        body = events.RecordingGap(reason="the disk is full", lost=3, retold=True)
        gap = TraceEvent(seq=0, observed_at=state.at, occurred_at=state.at, body=body)
        writer.write_snapshot([gap, *snapshot(state)])
        mark = TraceEvent(
            seq=facts[-1].seq + 4, observed_at=state.at, occurred_at=state.at, body=events.Marked(text="on")
        )
        writer.write([mark])
        writer.flush()
    writer.close()


if __name__ == "__main__":
    main()
