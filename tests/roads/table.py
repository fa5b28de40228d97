"""What was seen of a road, for readers: a line of signs per moment, and whom the volume waits for."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from csitrace.lifecycle.state import StepStatus
from tests.roads.expected import BACK_STEPS, STEPS

SIGNS = {
    StepStatus.DONE: "●",
    StepStatus.MOVING: "◐",
    StepStatus.PENDING: "○",
    StepStatus.FAILED: "✗",
    StepStatus.NOT_APPLICABLE: "–",
    StepStatus.UNKNOWN: "?",
}

_STAGES = (("Schedule", 4), ("Provision", 5), ("Attach", 5), ("Mount", 4))


class Moment(msgspec.Struct, frozen=True):
    """How every step stood in one moment. `statuses` is without the way back where that does not count yet, and empty for a
    remark."""

    name: str
    of: str
    statuses: dict[str, StepStatus]
    step: str
    holder: str
    severity: str
    sentence: str

    @property
    def forward(self) -> str:
        """The signs of the seventeen steps, stage by stage."""
        signs = [SIGNS[self.statuses[step]] if step in self.statuses else " " for step in STEPS]
        parts = []
        for _, length in _STAGES:
            parts.append("".join(signs[:length]))
            signs = signs[length:]
        return " ".join(parts)

    @property
    def back(self) -> str:
        """The signs of the way back; "" where the volume is not going."""
        return "".join(SIGNS[self.statuses[step]] for step in BACK_STEPS if step in self.statuses)

    @property
    def waits(self) -> str:
        """Whom it waits for, and at which step."""
        if self.severity in ("OK", "GONE"):
            return self.sentence
        held = f"{self.step} {self.holder}".strip()
        return (
            f"{held} ({self.severity.lower()})" if self.severity in ("STUCK", "UNKNOWN", "WAITING") else held
        )


class Journey(msgspec.Struct, frozen=True):
    """A road as it was walked in one place."""

    road: str
    place: str
    moments: tuple[Moment, ...] = ()


def lines(journey: Journey, titles: Mapping[str, str]) -> Iterable[str]:
    """For a terminal: the road, then its moments in columns."""
    yield f"{titles.get(journey.road, journey.road)} [{journey.road}, {journey.place}]"
    several = len({moment.of for moment in journey.moments}) > 1
    names = [f"{m.of}: {m.name}" if several and m.of else m.name for m in journey.moments]
    width = max(map(len, names), default=0)
    for name, moment in zip(names, journey.moments, strict=True):
        yield f"  {name:<{width}}  {moment.forward}  {moment.back:<{len(BACK_STEPS)}}  {moment.waits}"


def terminal(journeys: Sequence[Journey], titles: Mapping[str, str]) -> str:
    """All roads, one under another."""
    legend = "  ".join(f"{sign} {status}" for status, sign in SIGNS.items())
    heads = ", ".join(f"{name} {length}" for name, length in _STAGES)
    text = [f"{legend}    (signs per stage: {heads}; then the way back, {len(BACK_STEPS)})"]
    for journey in journeys:
        text += ["", *lines(journey, titles)]
    return "\n".join(text)
