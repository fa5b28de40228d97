"""The witnesses side by side: which of them are heard at all, and what each says of one volume."""

from dataclasses import dataclass

from msgspec.structs import replace

from csitrace.lifecycle.delays import delay_of
from csitrace.lifecycle.ladder import ladder
from csitrace.lifecycle.state import State, StepStatus, Use, Volume
from csitrace.lifecycle.steps import PHASE_STEPS
from csitrace.lifecycle.views import StepView, WitnessView
from csitrace.model.events import Witness

_CALL_BEHIND = {"14": "13"}
"""Steps that report what the call of another step did."""

PHASE_NAMES = ("CREATED", "NODE_READY", "VOL_READY", "PUBLISHED")


@dataclass(frozen=True, slots=True)
class QuestionView:
    """One question and every witness's answer; `disagreement`: one says it is so, another, heard, says it is not."""

    question: str
    answers: dict[Witness, str]
    disagreement: bool = False


def witness_views(state: State) -> tuple[WitnessView, ...]:
    """The three witnesses, heard or not: one that nobody asked is there, with no scope."""
    views = []
    for witness in Witness:
        sources = [source for (who, _), source in state.sources.items() if who is witness]
        problems = sorted(
            f"{source.scope}: {source.reason or 'not heard yet'}" for source in sources if not source.up
        )
        narrowed = {source.scope.partition("/")[0] for source in sources if "/" in source.scope}
        counted = [source for source in sources if source.up or source.scope not in narrowed]
        silent = sorted((source.last_at, source.scope) for source in sources if not source.up)
        views.append(
            WitnessView(
                witness,
                sum(source.up for source in counted),
                len(counted),
                max((source.last_at for source in sources), default=None),
                tuple(problems),
                tuple((scope, at) for at, scope in silent),
                max((delay_of(source) for source in sources), default=0),
            )
        )
    return tuple(views)


def questions(state: State, volume: Volume, use: Use | None) -> tuple[QuestionView, ...]:
    """What each witness says of the four phases, and what any of them complains of."""
    steps = {view.step_id: view for view in ladder(state, volume, use)}
    rows = [
        _phase_question(name, steps[step_id], steps.get(_CALL_BEHIND.get(step_id, "")))
        for name, step_id in zip(PHASE_NAMES, PHASE_STEPS, strict=True)
    ]
    complaints = {
        witness: testimony.text
        for view in steps.values()
        for witness, testimony in view.testimonies.items()
        if testimony.status is StepStatus.FAILED
    }
    if complaints:
        rows.append(QuestionView("complains", complaints))
    return tuple(rows)


def _phase_question(name: str, view: StepView, call: StepView | None) -> QuestionView:
    """`call`: the step before, where a driver's call is a step of its own."""
    if call is not None and view.status is not StepStatus.NOT_APPLICABLE:
        view = replace(view, testimonies={**call.testimonies, **view.testimonies})
    answers = {witness: _answer(view, witness) for witness in Witness}
    said = {testimony.status for testimony in view.testimonies.values()}
    return QuestionView(name, answers, StepStatus.DONE in said and StepStatus.PENDING in said)


def _answer(view: StepView, witness: Witness) -> str:
    testimony = view.testimonies.get(witness)
    if view.status is StepStatus.NOT_APPLICABLE:
        return f"n/a: {view.note}" if witness is Witness.KUBERNETES else "n/a"
    if testimony is None:
        return "-"
    return f"unknown: {testimony.text}" if testimony.status is StepStatus.UNKNOWN else testimony.text
