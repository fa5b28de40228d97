"""The verdict: which step a volume waits at, who holds it, since when, on what evidence, and what to run next.

Only the blocking step is named here; why it blocks (root causes across objects) is for `diagnosis`.
"""

from dataclasses import dataclass

from csitrace.lifecycle import index
from csitrace.lifecycle.context import WAIT_FOR_FIRST_CONSUMER, Context
from csitrace.lifecycle.fuse import fuse_states, trouble
from csitrace.lifecycle.holds import Hold, fuse_pod, hold
from csitrace.lifecycle.ladder import SETTLED, Road, growth, way_in, way_out
from csitrace.lifecycle.state import FuseState, State, StepStatus, Use, Volume
from csitrace.lifecycle.steps import comes_without_a_pod
from csitrace.lifecycle.views import Evidence, Severity, StepView, Verdict
from csitrace.model.events import Witness
from csitrace.model.times import MINUTE, SECOND, format_duration


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a step may take before it is called slow, and stuck."""

    slow_ns: int
    stuck_ns: int


PATIENCE: dict[str, Patience] = {
    "15": Patience(20 * SECOND, 45 * SECOND),  # kubelet waits for its own node status update, every 10 s
    "16a": Patience(20 * SECOND, 30 * SECOND),  # 15 has the time of the pod; that update may be 10.4 s later
    "17": Patience(30 * SECOND, 3 * MINUTE),  # an image may have to be pulled
    "e5": Patience(90 * SECOND, 4 * MINUTE),  # kubelet looks when it next syncs the pod
    "b2": Patience(35 * SECOND, 2 * MINUTE),  # the default grace period is 30 s
    "b6": Patience(20 * SECOND, 45 * SECOND),
    "b7": Patience(20 * SECOND, 60 * SECOND),
}
"""Steps whose usual time is not `DEFAULT_PATIENCE`; measured on a real cluster (docs/lifecycle.md)."""

DEFAULT_PATIENCE = Patience(10 * SECOND, 30 * SECOND)

_CLAIM = "kubectl -n {namespace} describe pvc {claim}"
_POD = "kubectl -n {namespace} describe pod {pod}"
_ATTACHMENT = "kubectl get volumeattachment {attachment} -o yaml"
_NODE = "kubectl describe node {node}"

COMMANDS: dict[str, str] = {
    "1": _CLAIM,
    "2": _POD,
    "3": _POD,
    "4": _POD,
    "5": "kubectl get storageclass {storage_class} -o yaml",
    "6": _CLAIM,
    "7": _CLAIM,
    "8": _CLAIM,
    "9": _POD,
    "10": _POD,
    "11": "kubectl get volumeattachment",
    "12": _ATTACHMENT,
    "13": _ATTACHMENT,
    "14": _ATTACHMENT,
    "15": _NODE,
    "16a": _POD,
    "16b": _POD,
    "17": _POD,
    **dict.fromkeys(("e1", "e2", "e3", "e4", "e6"), _CLAIM),
    "e5": _POD,
    "b1": _POD,
    "b2": _POD,
    "b3": _POD,
    "b4": _POD,
    "b5": _NODE,
    "b6": _NODE,
    "b7": _ATTACHMENT,
    "b8": _ATTACHMENT,
    "b9": _ATTACHMENT,
    "b10": _CLAIM,
    "b11": "kubectl describe pv {pv}",
    "b12": "kubectl describe pv {pv}",
    "b13": "kubectl get pv {pv} -o yaml",
}
"""What shows more of each step, with plain kubectl."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a volume stands: the road that counts, for the pod looked at, and whether it leads back."""

    road: Road
    going: bool

    @property
    def use(self) -> Use | None:
        return self.road.ctx.use

    @property
    def steps(self) -> tuple[StepView, ...]:
        return self.road.views

    @property
    def order(self) -> tuple[str, ...]:
        return self.road.order

    @property
    def current(self) -> StepView | None:
        """None: nothing is waited for."""
        return self.road.current


def standing(state: State, volume: Volume) -> Standing:
    """Where the volume stands for the pod that has come least far; on the way back when nothing wants it any more."""
    living = [use for use in volume.uses if use.ended_at is None and not use.is_finished]
    staying = [use for use in living if not use.pod.is_terminating]
    if staying:
        return Standing(min((way_in(state, volume, use) for use in staying), key=_progress), going=False)
    leaving = living or [use for use in volume.uses if use.node_name][:1]
    use = leaving[0] if leaving else None
    back = way_out(state, volume, use)
    wanted = volume.claim is None or (volume.claim_gone_at is None and not volume.claim.is_terminating)
    going = use is not None or not wanted
    if living or (going and back.current is not None):
        return Standing(back, going)
    return Standing(way_in(state, volume, None), going=False)


def verdict(state: State, volume: Volume, now: int) -> Verdict:
    """The blocking step in one sentence. `now` decides only how long something takes, never what is."""
    return verdict_of(state, volume, standing(state, volume), now)


def verdict_of(state: State, volume: Volume, where: Standing, now: int) -> Verdict:
    """The verdict on a volume of which it is known where it stands."""
    if volume.gone_at is not None:
        kept = "its PV was kept, and is no longer this claim's"
        sentence = f"gone: {kept if volume.pv_kept else 'nothing of it is left'}"
        return Verdict(Severity.GONE, "b13", sentence, since=volume.gone_at)
    road, ctx = where.road, where.road.ctx
    if road.current is None or _waits_as_asked(ctx, road.current):
        word = _in_use(state, volume, where, now) if road.current is None else None
        growing = growth(state, volume, where.use)
        if growing.current is not None and (word is None or word.severity is Severity.OK):
            road = growing
        elif word is not None:
            return word
    step = road.current
    assert step is not None
    without_pod = ctx.use is not None and comes_without_a_pod(step.step_id, road.order)
    since = _since(way_in(state, volume, None) if without_pod else road, volume)
    severity = _severity(ctx, step, since, now)
    sentence = _sentence(ctx, step, severity, since, now)
    held = hold(ctx, step.step_id) or Hold("")
    return Verdict(
        severity,
        step.step_id,
        f"{sentence}; {held.text}" if held.text else sentence,
        held.holder or step.actor,
        since,
        _evidence(road, step) + held.evidence + _anomalies(state, volume),
        held.command or _command(ctx, step.step_id),
        refused=step.status is StepStatus.MOVING and any(t.refused for t in step.testimonies.values()),
    )


def _progress(road: Road) -> tuple[bool, int, str]:
    step, use = road.current, road.ctx.use
    return step is None, road.order.index(step.step_id) if step else 0, use.pod.name if use else ""


def _since(road: Road, volume: Volume) -> int:
    """Since when the current step is waited for: the latest time of the steps settled before it, or when it was undone."""
    latest = 0
    for step_id in road.order:
        view = road.view(step_id)
        if road.current is not None and step_id == road.current.step_id:
            undone = (t.at or 0 for t in view.testimonies.values() if t.status is StepStatus.PENDING)
            latest = max(latest, *undone, 0)
            break
        latest = max(latest, view.at or 0)
    return latest or volume.first_seen_at


def _severity(ctx: Context, step: StepView, since: int, now: int) -> Severity:
    if step.status is StepStatus.FAILED:
        return Severity.STUCK
    if step.status is StepStatus.UNKNOWN:
        return Severity.UNKNOWN
    if _waits_as_asked(ctx, step):
        return Severity.WAITING
    patience = PATIENCE.get(step.step_id, DEFAULT_PATIENCE)
    elapsed = now - since
    return (
        Severity.STUCK
        if elapsed >= patience.stuck_ns
        else Severity.SLOW
        if elapsed >= patience.slow_ns
        else Severity.MOVING
    )


def _waits_as_asked(ctx: Context, step: StepView) -> bool:
    """Nobody is late: no pod wants the volume yet."""
    return (
        ctx.pod is None
        and step.status is not StepStatus.FAILED
        and step.step_id in ("1", "2", "3", "4", "5", "6", "9", "b1", "e5")
        and (ctx.binding_mode == WAIT_FOR_FIRST_CONSUMER or step.step_id in ("1", "2", "3", "9", "b1", "e5"))
    )


def _sentence(ctx: Context, step: StepView, severity: Severity, since: int, now: int) -> str:
    actor = step.actor
    if severity is Severity.WAITING:
        return _rest(ctx, step)
    if step.status is StepStatus.FAILED:
        said = _said(step)
        return f"{step.title}: {said}" if said else f"{step.title} failed"
    if step.status is StepStatus.UNKNOWN:
        return f"{step.title}: unknown, because {step.note}"
    doing = _said(step, StepStatus.MOVING)
    late = f", for {format_duration(now - since)}" if severity in (Severity.SLOW, Severity.STUCK) else ""
    missing = step.note.removeprefix("waits for ") if step.note.startswith("waits for ") else step.title
    return (
        f"{doing}{late}"
        if doing
        else f"waits for {missing}{late} ({actor})"
        if actor not in missing
        else (f"waits for {missing}{late}")
    )


def _rest(ctx: Context, step: StepView) -> str:
    """How a volume waits that no pod wants."""
    if step.step_id == "e5":
        return "has more room; a pod has to use it for the node's part of the expansion"
    if ctx.volume.pv_gone_at is not None:
        return "claim and PV are gone; of what a driver or a node still does with it nobody knows the end"
    phase = ctx.pv.status.phase if ctx.pv is not None else ""
    if phase == "Released":
        retained = ctx.pv is not None and ctx.pv.spec.persistent_volume_reclaim_policy == "Retain"
        return f"released, and kept: {'reclaim policy Retain' if retained else 'no provisioner made it, so none deletes it'}"
    if phase == "Available":
        return "available; no claim has taken it"
    is_bound = ctx.claim.status.phase == "Bound" if ctx.claim is not None else bool(phase)
    if is_bound:
        return "bound; no pod uses it"
    return "waits for a pod, as its class asks (WaitForFirstConsumer)"


def _said(step: StepView, status: StepStatus = StepStatus.FAILED) -> str:
    """What is said by the witness closest to it: the driver's own words before what others made of them."""
    told = [(witness, t) for witness, t in step.testimonies.items() if t.status is status and t.text]
    told.sort(key=lambda pair: pair[0] is not Witness.DRIVER)
    return told[0][1].text if told else ""


def _evidence(road: Road, step: StepView) -> tuple[Evidence, ...]:
    found = [Evidence(w, t.text, t.seq, t.at) for w, t in step.testimonies.items() if t.text]
    before = road.order[: road.order.index(step.step_id)]
    done = [view for view in map(road.view, before) if view.status is StepStatus.DONE]
    if done:
        last = max(done, key=lambda view: (view.at or 0, before.index(view.step_id)))
        for witness, testimony in last.testimonies.items():
            if testimony.status is StepStatus.DONE:
                text = f"step {last.step_id} {last.title} is done: {testimony.text}"
                found.append(Evidence(witness, text, testimony.seq, testimony.at))
                break
    return tuple(found)


def _in_use(state: State, volume: Volume, where: Standing, now: int) -> Verdict:
    """All steps are settled: well, unless its FUSE side is not."""
    last = next((view for view in reversed(where.steps) if view.status in SETTLED and view.at), None)
    since = last.at if last is not None else volume.first_seen_at
    step_id = where.steps[-1].step_id if where.steps else "17"
    for connection in fuse_states(state, volume) if where.use is not None else ():
        if problem := trouble(connection, now):
            since = connection.waiting_since or connection.changed_at
            evidence = Evidence(Witness.KERNEL, problem, connection.changed_seq, connection.changed_at)
            held = fuse_pod(where.road.ctx) or Hold("")
            return Verdict(
                Severity.STUCK,
                step_id,
                f"{problem}; {held.text}" if held.text else problem,
                held.holder or "FUSE daemon",
                since,
                (evidence, *held.evidence, *_anomalies(state, volume)),
                held.command or _look_at(connection),
            )
    text = "in use" if where.use is not None and not where.going else "at rest"
    users = ", ".join(use.pod.name for use in volume.uses if use.ended_at is None)
    if users and volume.claim is not None and volume.claim_gone_at is None and volume.claim.is_terminating:
        text = f"{text}; its claim is to be deleted, once pod {users} is gone"
    return Verdict(Severity.OK, step_id, text, "", since, _anomalies(state, volume))


def _look_at(connection: FuseState) -> str:
    """What shows more of a daemon that does not serve, on its node: whether it is stopped (T), and what it waits in."""
    pid = connection.daemon.pid if connection.daemon is not None else 0
    who = f"-p {pid}" if pid else "-e"
    return f"ps -o pid,stat,wchan:24,args {who}   # on node {connection.node_name}"


def _anomalies(state: State, volume: Volume) -> tuple[Evidence, ...]:
    """What the driver was seen to answer against the specification, the latest last."""
    subject = index.subject(volume.driver, volume.volume_id)
    told = (anomaly for anomaly in state.anomalies if anomaly.subject == subject)
    return tuple(Evidence(Witness.DRIVER, anomaly.text, anomaly.seq, anomaly.at) for anomaly in told)


def _command(ctx: Context, step_id: str) -> str:
    """The kubectl command that shows more; "" where the object it would show has no name yet."""
    template = COMMANDS.get(step_id, "")
    words = {
        "namespace": ctx.volume.namespace or "default",
        "claim": ctx.claim.name if ctx.claim is not None else "",
        "pod": ctx.pod.name if ctx.pod is not None else "",
        "node": ctx.node_name,
        "attachment": ctx.attachment.name if ctx.attachment is not None else "",
        "storage_class": (ctx.claim.spec.storage_class_name or "") if ctx.claim is not None else "",
        "pv": ctx.pv.name if ctx.pv is not None else "",
    }
    missing = any("{" + word + "}" in template and not value for word, value in words.items())
    return "" if missing else template.format(**words)
