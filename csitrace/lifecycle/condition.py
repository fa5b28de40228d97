"""What may be waited for of a volume: `phase=PUBLISHED`, `bound`, `attached`, `mounted`, `deleted`, `step=13`."""

from collections.abc import Callable
from dataclasses import dataclass

from csitrace.errors import UsageError
from csitrace.lifecycle.ladder import SETTLED, expansion, ladder, way_back
from csitrace.lifecycle.row import volume_row
from csitrace.lifecycle.state import State, StepStatus, Volume
from csitrace.lifecycle.steps import STEP_BY_ID
from csitrace.lifecycle.verdict import standing
from csitrace.lifecycle.witnesses import PHASE_NAMES

STEP_OF_WORD = {"bound": "8", "attached": "14", "mounted": "16b"}
"""The conditions that are a step of their own name."""

DELETED = "deleted"

KNOWN = (
    f"phase={'|'.join(PHASE_NAMES)}, {', '.join(STEP_OF_WORD)}, {DELETED}, or step=1 … 17, b1 … b13, e1 … e6"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One that was understood. `is_met` of a volume in a state at a time; one that is gone meets no other than `deleted`."""

    text: str
    is_met: Callable[[State, Volume, int], bool]

    @property
    def is_deletion(self) -> bool:
        return self.text == DELETED


def parse_condition(text: str) -> Condition:
    """Raises `UsageError` that says what there is."""
    name, equals, value = text.strip().partition("=")
    name = name.lower()
    if name == DELETED and not equals:
        return Condition(DELETED, lambda state, volume, now: volume.gone_at is not None)
    if name == "phase" and value.upper() in PHASE_NAMES:
        wanted = PHASE_NAMES.index(value.upper())
        return Condition(text, lambda state, volume, now: _has_phase(state, volume, now, wanted))
    step_id = STEP_OF_WORD.get(name, "") if not equals else value.lower() if name == "step" else ""
    step_id = {"16": "16b"}.get(step_id, step_id)
    if step_id not in STEP_BY_ID:
        raise UsageError(f"--for {text!r} is nothing that can be waited for; there is {KNOWN}")
    return Condition(text, lambda state, volume, now: _has_step(state, volume, step_id))


def _has_phase(state: State, volume: Volume, now: int, wanted: int) -> bool:
    """In it, or beyond: what a volume needs no more is not waited for."""
    if volume.gone_at is not None:
        return False
    return StepStatus.DONE in volume_row(state, volume, now).phases[wanted:]


def _has_step(state: State, volume: Volume, step_id: str) -> bool:
    """Done, or not to be done at all. On the way back and of an expansion only what was done: it may not have begun."""
    if volume.gone_at is not None:
        return False
    use = standing(state, volume).use
    if step_id[0] == "b":
        return any(v.step_id == step_id and v.status is StepStatus.DONE for v in way_back(state, volume, use))
    views = expansion(state, volume, use) if step_id[0] == "e" else ladder(state, volume, use)
    return any(view.step_id == step_id and view.status in SETTLED for view in views)
