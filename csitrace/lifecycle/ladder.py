"""The steps of one volume for one pod: each with its status, its time and what every witness says of it."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from msgspec.structs import replace

from csitrace.lifecycle.context import Context
from csitrace.lifecycle.state import Mark, State, StepStatus, Use, Volume
from csitrace.lifecycle.steps import BACK, BACKWARD, EXPANSION, FORWARD, Step, attention_order
from csitrace.lifecycle.views import StepView, Testimony
from csitrace.model.events import Stamp, Witness

SETTLED = frozenset({StepStatus.DONE, StepStatus.NOT_APPLICABLE})
_DECISIVE = (StepStatus.DONE, StepStatus.FAILED, StepStatus.MOVING)


class Road:
    """One road of a volume for one pod. A step is looked at when it is asked for, and once: to know where a volume stands, those
    after its current step matter only as far as they prove one before it.

    `order`: how the steps wait for one another. `held`: the current one is moving, if merely pending: somebody holds it now.
    """

    def __init__(
        self, ctx: Context, steps: Sequence[Step], order: tuple[str, ...], *, held: bool = True
    ) -> None:
        self.ctx, self.order, self.held = ctx, order, held
        self._steps = {step.id: step for step in steps}
        self._seen: dict[str, StepView] = {}

    def view(self, step_id: str) -> StepView:
        """One step as its witnesses show it, or the steps after it prove it."""
        view = self._seen.get(step_id)
        if view is None:
            step = self._steps[step_id]
            view = self._seen[step_id] = self._proved(step, _step_view(step, self.ctx))
        return view

    @cached_property
    def current(self) -> StepView | None:
        """The first step that is neither settled nor passed: the one everything after it waits for. None when there is none.

        What nobody can tell does not hide what is seen to fail right after it.
        """
        unknown: StepView | None = None
        for step_id in self.order:
            view = self.view(step_id)
            if view.status in SETTLED or view.passed:
                continue
            if view.status is StepStatus.UNKNOWN:
                unknown = unknown or view
            elif unknown is not None and view.status is not StepStatus.FAILED:
                return unknown
            else:
                moves = self.held and view.status is StepStatus.PENDING and step_id not in ("1", "2")
                return replace(view, status=StepStatus.MOVING) if moves else view
        return unknown

    @cached_property
    def views(self) -> tuple[StepView, ...]:
        """All steps in their order in the table, each done one with `took_ns`: since the latest of those that it waited for."""
        views = {step_id: self.view(step_id) for step_id in self._steps}
        if self.current is not None:
            views[self.current.step_id] = self.current
        latest: StepView | None = None
        for step_id in self.order:
            view = views[step_id]
            if view.status is not StepStatus.DONE or view.at is None:
                continue
            if latest is not None and latest.at is not None:
                rough = view.stamp.is_rough or latest.stamp.is_rough
                views[step_id] = replace(view, took_ns=max(0, view.at - latest.at), took_rough=rough)
            if latest is None or latest.at is None or view.at >= latest.at:
                latest = view
        return tuple(views.values())

    def _proved(self, step: Step, view: StepView) -> StepView:
        """A step that nobody saw, but without which a later one could not have been, is done, and marked as inferred.

        Of a step that may not apply, nothing after it proves that it was: once what comes after it is done, or was at least
        tried, it is passed, and stays unknown.
        """
        if view.status in SETTLED:
            return view
        later = [self.view(step_id) for step_id in step.proved_by]
        proof = next((each.step_id for each in later if each.status is StepStatus.DONE), "")
        if proof and not step.doubt(self.ctx) and not _still_mounted(view):
            note = f"proved by step {proof}"
            return replace(view, status=StepStatus.DONE, at=None, stamp=Stamp.INFERRED, note=note)
        if view.status is StepStatus.UNKNOWN and any(
            each.passed or each.status in _DECISIVE for each in later
        ):
            return replace(view, passed=True)
        return view


def way_in(state: State, volume: Volume, use: Use | None) -> Road:
    """The road of `ladder`."""
    ctx = Context(state, volume, use)  # on its way back, nobody is to do anything on the way in
    return Road(ctx, FORWARD, attention_order(ctx), held=not ctx.is_leaving)


def way_out(state: State, volume: Volume, use: Use | None) -> Road:
    """The road of `way_back`."""
    steps, order = _WAY_BACK if use is not None else _WAY_BACK_ALONE
    road = Road(Context(state, volume, use), steps, order)
    road.held = road.view(order[0]).status in SETTLED
    return road


def growth(state: State, volume: Volume, use: Use | None) -> Road:
    """The road of `expansion`."""
    steps, order = _EXPANSION if volume.expansion is not None else ((), ())
    return Road(Context(state, volume, use), steps, order)


def ladder(state: State, volume: Volume, use: Use | None) -> tuple[StepView, ...]:
    """The seventeen steps (16 in two halves), in their order. `use` None: as far as a volume goes without a pod."""
    return way_in(state, volume, use).views


def way_back(state: State, volume: Volume, use: Use | None) -> tuple[StepView, ...]:
    """The way back, from the pod's deletion to nothing left."""
    return way_out(state, volume, use).views


def expansion(state: State, volume: Volume, use: Use | None) -> tuple[StepView, ...]:
    """The steps of the latest expansion, once one was asked for; else none."""
    return growth(state, volume, use).views


def testify(step: Step, ctx: Context) -> dict[Witness, Testimony]:
    """What each witness says of a step; Kubernetes' silence about objects that may not be read is UNKNOWN, not PENDING."""
    testimonies = {}
    is_past, is_followed = step.stage != BACK and ctx.is_leaving, ctx.is_followed
    for witness, attest in step.attests.items():
        testimony = attest(ctx)
        if witness is Witness.KUBERNETES and (testimony is None or testimony.status is StepStatus.PENDING):
            for kind in step.needs:
                if silence := ctx.silence(kind):
                    testimony = Testimony(StepStatus.UNKNOWN, silence)
                    break
        mark = _mark(ctx, step.id, witness)
        if is_past:  # its traces go with the pod
            if mark is not None:  # that it happened stays true
                testimony = Testimony(StepStatus.DONE, _what_was(testimony))
            elif testimony is not None and testimony.status is StepStatus.PENDING:
                testimony = None  # that there is nothing now says nothing of what was
            elif testimony is not None and is_followed and testimony.seq > _ended_seq(ctx):
                testimony = None  # told since the pod is gone: of the one after it
        elif is_followed and ctx.use is not None and (step.id, witness) in ctx.use.marks:
            testimony = Testimony(StepStatus.DONE, _what_was(testimony))  # it is there again for another
        if testimony is not None:
            testimonies[witness] = _stamped(testimony, mark)
    return testimonies


def _ended_seq(ctx: Context) -> int:
    return (ctx.use.ended_seq or 0) if ctx.use is not None else 0


def _what_was(testimony: Testimony | None) -> str:
    return testimony.text if testimony is not None and testimony.status is StepStatus.DONE else "was seen"


def _step_view(step: Step, ctx: Context) -> StepView:
    testimonies = testify(step, ctx)
    status, told = _decide(step, testimonies)
    note = ""
    if status is not StepStatus.DONE and (reason := step.not_applicable(ctx)):
        status, told, note = StepStatus.NOT_APPLICABLE, _UNTIMED, reason
    elif status is not StepStatus.DONE and (reason := step.doubt(ctx)):
        status, told, note = StepStatus.UNKNOWN, _UNTIMED, reason
    elif status is StepStatus.UNKNOWN:
        note = next(
            (t.text for t in testimonies.values() if t.status is StepStatus.UNKNOWN), "no witness is heard"
        )
    elif status is not StepStatus.DONE:
        note = f"waits for {step.waits_for}"
    return StepView(
        step.id,
        step.stage,
        step.title,
        _actor(step, ctx),
        status,
        told.at,
        told.stamp,
        None,
        note,
        testimonies,
        source=told.source,
        at_latest=told.at_latest,
    )


def _actor(step: Step, ctx: Context) -> str:
    """Who acts, with the node where that tells more: `kubelet n3 → driver`."""
    return step.actor.replace("kubelet", f"kubelet {ctx.node_name}".rstrip())


_UNTIMED = Testimony(StepStatus.UNKNOWN)
"""Whose time and stamp a step has that nobody's word decides."""


def _decide(step: Step, testimonies: Mapping[Witness, Testimony]) -> tuple[StepStatus, Testimony]:
    """The step's status: the word of the best authority that says something definite; else pending, moving or unknown. With it
    the testimony that tells when: another's, where the best one knows only that it is done."""
    heard = [testimonies[witness] for witness in step.authority if witness in testimonies]
    if heard and heard[0].status is StepStatus.DONE:  # as it mostly is: nobody's word is better
        return StepStatus.DONE, _timed(heard[0], heard)
    for status in _DECISIVE:
        for testimony in heard:
            if testimony.status is status and not _contradicted(testimony, heard):
                return status, _timed(testimony, heard)
    statuses = {testimony.status for testimony in heard}
    unknown = StepStatus.UNKNOWN in statuses and StepStatus.PENDING not in statuses
    return StepStatus.UNKNOWN if unknown else StepStatus.PENDING, _UNTIMED


def _timed(testimony: Testimony, heard: Sequence[Testimony]) -> Testimony:
    if testimony.at is not None or testimony.status is not StepStatus.DONE:
        return testimony
    dated = (each for each in heard if each.status is StepStatus.DONE and each.at is not None)
    return next(dated, testimony)


def _contradicted(testimony: Testimony, heard: Sequence[Testimony]) -> bool:
    """A better authority, heard, says that it is not so: a driver that answered OK where the kernel has nothing mounted."""
    if testimony.status is not StepStatus.DONE:
        return False
    better = heard[: heard.index(testimony)]
    return any(other.status is StepStatus.PENDING for other in better)


def _still_mounted(view: StepView) -> bool:
    """The kernel names a mount that is there: that a pod or an attachment was deleted by force proves nothing of it."""
    told = view.testimonies.get(Witness.KERNEL)
    return view.stage == BACK and told is not None and told.status is StepStatus.PENDING and told.seq > 0


def _stamped(testimony: Testimony, mark: Mark | None) -> Testimony:
    """A testimony of something done, with the time we know best: what we saw happen rather than the server's whole seconds."""
    if testimony.status is not StepStatus.DONE or mark is None:
        return testimony
    return replace(
        testimony,
        at=mark.at,
        stamp=mark.stamp,
        seq=mark.seq,
        source=mark.source,
        at_latest=mark.at_latest,
    )


def _mark(ctx: Context, step_id: str, witness: Witness) -> Mark | None:
    if ctx.use is not None and (mark := ctx.use.marks.get((step_id, witness))) is not None:
        return mark
    growing = ctx.volume.expansion
    if growing is not None and (mark := growing.marks.get((step_id, witness))) is not None:
        return mark
    return ctx.volume.marks.get((step_id, witness))


def _ordered(steps: tuple[Step, ...]) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    return steps, tuple(step.id for step in steps)


_WAY_BACK, _EXPANSION = _ordered(BACKWARD), _ordered(EXPANSION)
_WAY_BACK_ALONE = _ordered(tuple(step for step in BACKWARD if step.id in ("b10", "b11", "b12", "b13")))
"""What of the way back concerns the volume alone, with or without a pod."""
