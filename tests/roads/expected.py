"""What is expected of all steps in one moment, written compactly, and how it differs from what is shown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.steps import BACKWARD, FORWARD
from csitrace.lifecycle.views import Severity, StepView, Verdict

STEPS = tuple(step.id for step in FORWARD)
BACK_STEPS = tuple(step.id for step in BACKWARD)
_ORDER = (*STEPS, *BACK_STEPS)
_FIRST_HALF = {"16": "16a"}
_SECOND_HALF = {"16": "16b"}


@dataclass(frozen=True, slots=True)
class Waits:
    """Whom a volume waits for: the verdict's step and a part of its holder's name. Empty: no matter."""

    step: str = ""
    holder: str = ""
    severities: tuple[Severity, ...] = ()

    def allows(self, word: Verdict) -> bool:
        return (
            self.step in ("", word.step_id)
            and self.holder in word.holder
            and (not self.severities or word.severity in self.severities)
        )

    def __str__(self) -> str:
        severities = "/".join(severity.name for severity in self.severities)
        return (
            " ".join(part for part in (self.step, self.holder, severities) if part) or "nothing in particular"
        )


IN_USE = AT_REST = Waits(severities=(Severity.OK,))
"""Nothing is waited for."""

GONE = Waits(severities=(Severity.GONE,))


def steps(text: str) -> tuple[str, ...]:
    """`"1-9 11 b1-b4"` as ids of steps, in their order; 16 is both halves. ValueError for what is no step."""
    found: list[str] = []
    for part in text.split():
        first, _, last = part.partition("-")
        begin = _ORDER.index(_FIRST_HALF.get(first, first))
        end = _ORDER.index(_SECOND_HALF.get(last or first, last or first))
        if begin > end or (first[0] == "b") != ((last or first)[0] == "b"):
            raise ValueError(f"no range of steps: {part}")
        found += _ORDER[begin : end + 1]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Expected:
    """By step the statuses that are right; a step that is not here has to be pending. `going`: the way back counts, too."""

    statuses: Mapping[str, frozenset[StepStatus]]
    waits: Waits
    going: bool

    def differences(
        self, forward: Iterable[StepView], back: Sequence[StepView], going: bool, word: Verdict
    ) -> list[str]:
        """What stands otherwise, one sentence each; empty when all is as expected."""
        wrong = [] if going == self.going else ["it is going" if going else "it is not going"]
        for view in (*forward, *(back if self.going else ())):
            right = self.statuses.get(view.step_id, frozenset({StepStatus.PENDING}))
            if view.status not in right:
                wanted = " or ".join(sorted(right))
                wrong.append(f"{view.step_id} {view.title} is {view.status}, not {wanted}: {view.note}")
        if not self.waits.allows(word):
            wrong.append(
                f"it waits for {word.step_id} {word.holder} ({word.severity.name}: {word.sentence}), not for {self.waits}"
            )
        return wrong


def expected(
    *,
    done: str = "",
    moving: str = "",
    failed: str = "",
    na: str = "",
    unknown: str = "",
    either: str = "",
    waits: Waits | tuple[str, str] = Waits(),
    severity: Severity | None = None,
) -> Expected:
    """See `tests.roads`. `either`: steps that may be done, under way, or to come, since nobody can say which is first."""
    under_way = frozenset({StepStatus.DONE, StepStatus.MOVING, StepStatus.PENDING})
    statuses: dict[str, frozenset[StepStatus]] = {}
    for text, right in (
        (done, frozenset({StepStatus.DONE})),
        (moving, frozenset({StepStatus.MOVING})),
        (failed, frozenset({StepStatus.FAILED})),
        (na, frozenset({StepStatus.NOT_APPLICABLE})),
        (unknown, frozenset({StepStatus.UNKNOWN})),
        (either, under_way),
    ):
        for step in steps(text):
            if step in statuses:
                raise ValueError(f"step {step} is expected to be two things")
            statuses[step] = right
    if isinstance(waits, tuple):
        waits = Waits(*waits)
    if severity is not None:
        waits = Waits(waits.step, waits.holder, (severity,))
    return Expected(statuses, waits, going=any(step in BACK_STEPS for step in statuses))
