"""The witnesses side by side: what each says of one volume, and where they contradict each other."""

from csitrace.lifecycle.views import WitnessView
from csitrace.lifecycle.witnesses import QuestionView
from csitrace.model.events import Witness
from csitrace.tui.header import WITNESS_NAMES, folded
from csitrace.tui.lines import Line, Tone, dimmed, fit, line, wrap
from csitrace.tui.text import seconds_text

_LABEL = 12
_GAP = 2


def witnesses_lines(
    questions: tuple[QuestionView, ...], witnesses: tuple[WitnessView, ...], now: int, width: int
) -> list[Line]:
    """A row per question, a column per witness; then how each witness is heard at all."""
    lines = question_lines(questions, width)
    lines.append(line((" HOW THEY ARE HEARD", Tone.TITLE)))
    for view in witnesses:
        lines += _heard(view, now, width)
    return lines


def question_lines(questions: tuple[QuestionView, ...], width: int) -> list[Line]:
    """A row per question, a column per witness."""
    column = max((width - 1 - _LABEL) // len(Witness) - _GAP, 8)
    lines = [_row(line(), [line((str(witness), Tone.TITLE)) for witness in Witness], column)]
    for question in questions:
        sign = ("≠", Tone.BAD) if question.disagreement else (" ", Tone.PLAIN)
        label = line(sign, " ", (question.question, Tone.STRONG))
        cells = [wrap(_answer(question.answers.get(witness, "")), column) for witness in Witness]
        for index in range(max(len(cell) for cell in cells)):
            parts = [cell[index] if index < len(cell) else line() for cell in cells]
            lines.append(_row(label if index == 0 else line(), parts, column))
        lines.append(line())
    if any(question.disagreement for question in questions):
        lines += [
            line(
                (" ≠", Tone.BAD),
                " the witnesses contradict each other: one says it is so, another that it is not",
            ),
            line(),
        ]
    return lines


def _row(label: Line, cells: list[Line], column: int) -> Line:
    parts = [fit(label, _LABEL)]
    for cell in cells:
        parts += [line(" "), fit(cell, column), line(" " * (_GAP - 1))]
    return line(*parts)


def _answer(text: str) -> Line:
    if not text or text == "-":
        return line(("-", Tone.DIM))
    if text.startswith("unknown"):
        return line(("? ", Tone.UNKNOWN), text)
    return dimmed(line("– ", text)) if text.startswith("n/a") else line(text)


def _heard(view: WitnessView, now: int, width: int) -> list[Line]:
    name = fit(line(f"  {WITNESS_NAMES[view.witness]}"), _LABEL + 2)
    if not view.total:
        return [line(name, ("– nobody asks them: what only they know is unknown", Tone.DIM))]
    sign = ("●", Tone.GOOD) if view.up == view.total else ("▲" if view.up else "✗", Tone.UNKNOWN)
    silent = f", last fact {seconds_text(now - view.last_at)} ago" if view.last_at is not None else ""
    lines = [line(name, sign, f" {view.up} of {view.total} heard{silent}")]
    for problem in folded(view.problems):
        lines += wrap(line(" " * (_LABEL + 4), (problem, Tone.UNKNOWN)), width - 1, indent=_LABEL + 4)
    return lines
