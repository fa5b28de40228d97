"""The steps of one volume for one pod: each with its status, its time and what every witness says of it."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from csitrace.lifecycle.context import Context
from csitrace.lifecycle.state import Mark, State, StepStatus, Use, Volume
from csitrace.lifecycle.steps import BACK, BACKWARD, EXPANSION, FORWARD, Step, attention_order
from csitrace.lifecycle.views import StepView, Testimony
from csitrace.model.events import Stamp, Witness

SETTLED = frozenset({StepStatus.DONE, StepStatus.NOT_APPLICABLE})
_DECISIVE = (StepStatus.DONE, StepStatus.FAILED, StepStatus.MOVING)


def ladder(state: State, volume: Volume, use: Use | None) -> tuple[StepView, ...]:
    """The seventeen steps (16 in two halves), in their order. `use` None: as far as a volume goes without a pod."""
    ctx = Context(state, volume, use)
    views = _with_proofs(ctx, FORWARD, [_step_view(step, ctx) for step in FORWARD])
    order = attention_order(ctx)
    if not ctx.is_leaving:  # on its way back, nobody is to do anything on the way in
        views = _with_holder(views, order)
    return _with_durations(views, order)


def way_back(state: State, volume: Volume, use: Use | None) -> tuple[StepView, ...]:
    """The way back, from the pod's deletion to nothing left."""
    ctx = Context(state, volume, use)
    steps = BACKWARD if use is not None else tuple(step for step in BACKWARD if _concerns_volume_alone(step))
    views = _with_proofs(ctx, steps, [_step_view(step, ctx) for step in steps])
    order = tuple(step.id for step in steps)
    if views and views[0].status in SETTLED:
        views = _with_holder(views, order)
    return _with_durations(views, order)


def expansion(state: State, volume: Volume, use: Use | None) -> tuple[StepView, ...]:
    """The steps of the latest expansion, once one was asked for; else none."""
    if volume.expansion is None:
        return ()
    ctx = Context(state, volume, use)
    order = tuple(step.id for step in EXPANSION)
    views = _with_proofs(ctx, EXPANSION, [_step_view(step, ctx) for step in EXPANSION])
    return _with_durations(_with_holder(views, order), order)


def current_step(views: Sequence[StepView], order: Sequence[str]) -> StepView | None:
    """The first step that is neither settled nor passed: the one everything after it waits for. None when there is none."""
    by_id = {view.step_id: view for view in views}
    return next((view for step_id in order if not _is_behind(view := by_id[step_id])), None)


def _is_behind(view: StepView) -> bool:
    return view.status in SETTLED or view.passed


def testify(step: Step, ctx: Context) -> dict[Witness, Testimony]:
    """What each witness says of a step; Kubernetes' silence about objects that may not be read is UNKNOWN, not PENDING."""
    testimonies = {}
    for witness, attest in step.attests.items():
        testimony = attest(ctx)
        if witness is Witness.KUBERNETES and (testimony is None or testimony.status is StepStatus.PENDING):
            silence = next((reason for kind in step.needs if (reason := ctx.silence(kind))), "")
            if silence:
                testimony = Testimony(StepStatus.UNKNOWN, silence)
        mark = _mark(ctx, step.id, witness)
        if step.stage != BACK and ctx.is_leaving:  # its traces go with the pod
            if mark is not None:  # that it happened stays true
                testimony = Testimony(StepStatus.DONE, _what_was(testimony))
            elif testimony is not None and testimony.status is StepStatus.PENDING:
                testimony = None  # that there is nothing now says nothing of what was
            elif testimony is not None and ctx.is_followed and testimony.seq > _ended_seq(ctx):
                testimony = None  # told since the pod is gone: of the one after it
        elif ctx.use is not None and ctx.is_followed and (step.id, witness) in ctx.use.marks:
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


def _with_proofs(ctx: Context, steps: Sequence[Step], views: Sequence[StepView]) -> tuple[StepView, ...]:
    """Steps that nobody saw, but without which a later step could not have been: done, and marked as inferred.

    Of a step that may not apply, nothing after it proves that it was: once what comes after it is done, or was at least tried,
    it is passed, and stays unknown.
    """
    done = {view.step_id for view in views if view.status is StepStatus.DONE}
    passed = {view.step_id for view in views if view.status in (StepStatus.FAILED, StepStatus.MOVING)}
    proved = []
    for step, view in reversed(list(zip(steps, views, strict=True))):
        if view.status not in SETTLED:
            proof = next((p for p in step.proved_by if p in done), "")
            if proof and not step.doubt(ctx) and not _still_mounted(view):
                done.add(step.id)
                view = replace(
                    view,
                    status=StepStatus.DONE,
                    at=None,
                    stamp=Stamp.INFERRED,
                    note=f"proved by step {proof}",
                )
            elif view.status is StepStatus.UNKNOWN and any(p in done or p in passed for p in step.proved_by):
                passed.add(step.id)
                view = replace(view, passed=True)
        proved.append(view)
    return tuple(reversed(proved))


def _still_mounted(view: StepView) -> bool:
    """The kernel names a mount that is there: that a pod or an attachment was deleted by force proves nothing of it."""
    told = view.testimonies.get(Witness.KERNEL)
    return view.stage == BACK and told is not None and told.status is StepStatus.PENDING and told.seq > 0


def _with_holder(views: Sequence[StepView], order: Sequence[str]) -> tuple[StepView, ...]:
    """The current step is moving, if it is merely pending and what came before it is settled: somebody holds it now."""
    current = current_step(views, order)
    if current is None or current.status is not StepStatus.PENDING or current.step_id in ("1", "2"):
        return tuple(views)
    return tuple(replace(view, status=StepStatus.MOVING) if view is current else view for view in views)


def _with_durations(views: Sequence[StepView], order: Sequence[str]) -> tuple[StepView, ...]:
    """`took_ns` of each done step: since the latest of the steps before it, in the order they wait for one another."""
    by_id = {view.step_id: view for view in views}
    latest: int | None = None
    for step_id in order:
        view = by_id[step_id]
        if view.status is StepStatus.DONE and view.at is not None:
            if latest is not None:
                by_id[step_id] = replace(view, took_ns=max(0, view.at - latest))
            latest = max(latest or view.at, view.at)
    return tuple(by_id[view.step_id] for view in views)


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


def _concerns_volume_alone(step: Step) -> bool:
    return step.id in ("b10", "b11", "b12", "b13")
