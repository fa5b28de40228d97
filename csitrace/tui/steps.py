"""The ladder of steps: each with who acts, when, how long it took, and what every witness says of it."""

from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import StepView
from csitrace.model.events import Witness
from csitrace.tui.columns import GAP, Column, place
from csitrace.tui.lines import Line, Span, Tone, fit, line, wrap
from csitrace.tui.signs import STATUS, STATUS_WORDS, WITNESS_LETTERS, status_sign
from csitrace.tui.text import moment_text, took_text

_LABEL = 14
_TONES = {
    StepStatus.PENDING: Tone.DIM,
    StepStatus.NOT_APPLICABLE: Tone.DIM,
    StepStatus.MOVING: Tone.STRONG,
    StepStatus.FAILED: Tone.BAD,
}


ROAD_SIGNS = {"b": "↩", "e": "↑"}


def number_text(step_id: str) -> str:
    """`16a`; on the way back and for an expansion, which have no numbers in the article's list, `↩3` and `↑3`."""
    return step_id if step_id[:1].isdigit() else f"{ROAD_SIGNS[step_id[0]]}{step_id[1:]}"


def _number(step: StepView, now: int, width: int) -> Line:
    return line((number_text(step.step_id), _TONES.get(step.status, Tone.PLAIN)))


def _title(step: StepView, now: int, width: int) -> Line:
    return line((step.title, _TONES.get(step.status, Tone.PLAIN)))


def _note(step: StepView, now: int, width: int) -> Line:
    return line((note_text(step), Tone.BAD if step.status is StepStatus.FAILED else Tone.DIM))


def _testimony_signs(step: StepView, now: int, width: int) -> Line:
    spans: list[Span] = []
    for witness in Witness:
        testimony = step.testimonies.get(witness)
        spans += [STATUS[testimony.status] if testimony is not None else (" ", Tone.PLAIN), (" ", Tone.PLAIN)]
    return tuple(spans[:-1])


def note_text(step: StepView) -> str:
    """What is said of a step that is not simply done: the complaint, what goes on, or what is waited for."""
    for status in (StepStatus.FAILED, StepStatus.MOVING):
        if step.status is status:
            said = [
                testimony.text
                for testimony in step.testimonies.values()
                if testimony.status is status and testimony.text
            ]
            if said:
                return said[-1]
    return step.note


STEP_COLUMNS: tuple[Column[StepView], ...] = (
    Column("#", _number, 3, 3, right=True),
    Column("", lambda step, now, width: status_sign(step.status), 1, 1),
    Column("STAGE", lambda step, now, width: line((step.stage, Tone.DIM)), 9, 9, priority=2),
    Column("STEP", _title, 20, 25),
    Column("WHO ACTS", lambda step, now, width: line((step.actor, Tone.DIM)), 14, 29, priority=1),
    Column("AT", lambda step, now, width: line(moment_text(step.at, step.stamp, now, step.at_latest)), 12, 13),
    Column("AFTER", lambda step, now, width: line(took_text(step.took_ns, step.took_rough)), 6, 6,
           right=True),
    Column(" ".join(WITNESS_LETTERS[witness] for witness in Witness), _testimony_signs, 5, 5),
    Column("", _note, 16, 24, weight=1),
)  # fmt: skip


def ladder_lines(steps: tuple[StepView, ...], now: int, width: int) -> list[Line]:
    """The whole ladder without a cursor, one line per step: what the Steps pane shows, as far as there is room."""
    columns = place(STEP_COLUMNS, width)
    lines = [line((" STEPS", Tone.TITLE))]
    for step in steps:
        cells = (fit(p.column.cell(step, now, p.width), p.width, p.column.right) for p in columns)
        lines.append(line(*(line(cell, " " * GAP) for cell in cells))[:-1])
    return lines


def step_lines(step: StepView, now: int, width: int) -> list[Line]:
    """One step in full: what it is, how it stands, and each witness's words."""
    number, sign = number_text(step.step_id), STATUS[step.status]
    note = f": {step.note}" if step.note and step.status is not StepStatus.FAILED else ""
    state = line(sign, f" {STATUS_WORDS[step.status]}{note}")
    lines = wrap(
        line((f" {number} {step.title}", Tone.STRONG), "   ", (step.actor, Tone.DIM), "   ", state),
        width - 1,
        1,
    )
    for witness in Witness:
        testimony = step.testimonies.get(witness)
        label = fit(line(f"   {witness}"), _LABEL)
        if testimony is None:
            lines.append(line(label, ("says nothing of this step", Tone.DIM)))
            continue
        when = moment_text(testimony.at, testimony.stamp, now, testimony.at_latest)
        when += f" ({testimony.source})" if testimony.source else ""
        words = line(STATUS[testimony.status], " ", testimony.text or STATUS_WORDS[testimony.status])
        lines += wrap(line(label, words, "  ", (when, Tone.DIM)), width - 1, indent=_LABEL + 2)
    return lines


def decisive_seq(step: StepView) -> int:
    """The fact that speaks for the step's status; 0 where none does."""
    said = [testimony.seq for testimony in step.testimonies.values() if testimony.status is step.status]
    return max(said, default=0)
