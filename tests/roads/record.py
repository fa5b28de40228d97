"""What was seen on the roads that were walked, kept in `walked.json`, and docs/roads.md, which is made of it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from tests.roads.expected import BACK_STEPS
from tests.roads.road import CLUSTER, LAB, Road
from tests.roads.table import SIGNS, Journey, Moment

WALKED = Path(__file__).with_name("walked.json")
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "roads.md"

_HEAD = """\
# The roads a volume can take

Made from runs, not written: `CSITRACE_RECORD=roads` makes it anew. Each road is a coroutine in `tests/roads/`, walked on a real
Kubernetes and, where it can be, in the embedded lab, and judged in both by the same judge: no step is shown as done before a
witness proved it, times are in causal order, no healthy volume is called stuck, and in the end nothing is left in the API
server, on the nodes and in the backing store.

Signs: {legend}. The columns are the stages Schedule (steps 1 to 4), Provision (5 to 9), Attach (10 to 14) and Mount (15, 16a, 16b
and 17), then the way back ({back}) where it counts. What the steps are: [lifecycle.md](lifecycle.md).
"""


def read() -> list[Journey]:
    """The journeys that were kept, by road."""
    return msgspec.json.decode(WALKED.read_bytes(), type=list[Journey]) if WALKED.exists() else []


def keep(journeys: Iterable[Journey], roads: Sequence[Road]) -> None:
    """Put journeys in place of those kept before of the same road and place, drop roads that are no more, and write the docs."""
    kept = {(journey.road, journey.place): journey for journey in read()}
    kept |= {(journey.road, journey.place): journey for journey in journeys}
    order = {road.name: number for number, road in enumerate(roads)}
    known = [journey for journey in kept.values() if journey.road in order]
    known.sort(key=lambda journey: (order[journey.road], journey.place))
    WALKED.write_bytes(msgspec.json.format(msgspec.json.encode(known), indent=1) + b"\n")
    DOCUMENT.write_text(document(known, roads))


def document(journeys: Sequence[Journey], roads: Sequence[Road]) -> str:
    """docs/roads.md. A road's table is of the real cluster where it was walked there."""
    legend = ", ".join(f"{sign} {status}" for status, sign in SIGNS.items())
    parts = [_HEAD.format(legend=legend, back=f"{BACK_STEPS[0]} to {BACK_STEPS[-1]}")]
    for road in roads:
        walked = {journey.place: journey for journey in journeys if journey.road == road.name}
        journey = walked.get(CLUSTER) or walked.get(LAB)
        places = " and ".join({CLUSTER: "a real cluster", LAB: "the lab"}[place] for place in sorted(walked))
        where = f"Walked on {places} (`{road.name}`)." if journey else f"Not recorded yet (`{road.name}`)."
        parts.append(f"## {road.title}\n\n{road.claim} {where}\n")
        if journey:
            parts.append(_table(journey))
    return "\n".join(parts)


def _table(journey: Journey) -> str:
    several = len({moment.of for moment in journey.moments if moment.of}) > 1
    head = ["moment", *(["volume"] if several else []), "steps", "back", "waits for"]
    rows = [_row(moment, several) for moment in journey.moments]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _row(moment: Moment, several: bool) -> list[str]:
    forward = f"`{moment.forward}`" if moment.statuses else ""
    back = f"`{moment.back}`" if moment.back else ""
    return [moment.name, *([moment.of] if several else []), forward, back, moment.waits.replace("|", "\\|")]


if __name__ == "__main__":
    from tests.roads.catalogue import ROADS

    keep((), ROADS)  # after a change of titles and claims alone
