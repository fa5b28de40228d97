"""One line of the list per volume, worst first."""

from csitrace.lifecycle.fuse import fuse_states, rate, unexpected_errors
from csitrace.lifecycle.heard import call_silence
from csitrace.lifecycle.ladder import ladder
from csitrace.lifecycle.state import State, StepStatus, Volume
from csitrace.lifecycle.steps import EXPANSION, PHASE_STEPS, STEP_BY_ID
from csitrace.lifecycle.verdict import Standing, standing, verdict_of
from csitrace.lifecycle.views import Severity, StepView, VolumeRow
from csitrace.model.times import SECOND

GONE_SHOWN_NS = 60 * SECOND
"""How long a volume that is gone stays in the list, so that its end is seen."""

PHASE_OF_STEP = {
    **dict.fromkeys(("1", "2", "3", "4", "5", "6", "b10", "b11", "b12", "b13"), 0),
    **dict.fromkeys(("7", "8", "9", "10", "11", "12", "13", "14", "b6", "b7", "b8", "b9"), 1),
    **dict.fromkeys(("15", "16a", "b5"), 2),
    **dict.fromkeys(("16b", "17", "b1", "b2", "b3", "b4"), 3),
}
"""Which of the four phases a step leads to, or on the way back leaves."""

EXPANSION_STEPS = frozenset(step.id for step in EXPANSION)

Phases = tuple[StepStatus, StepStatus, StepStatus, StepStatus]


def volume_rows(state: State, now: int) -> list[VolumeRow]:
    """Every volume's row, worst first, then by name; those gone for long are left out."""
    volumes = (v for v in state.volumes.values() if v.gone_at is None or now - v.gone_at < GONE_SHOWN_NS)
    return sorted((volume_row(state, volume, now) for volume in volumes), key=_worst_first)


def volume_row(state: State, volume: Volume, now: int) -> VolumeRow:
    """One volume's row at `now`."""
    where = standing(state, volume)
    word = verdict_of(state, volume, where, now)
    step = STEP_BY_ID.get(word.step_id)
    connections = fuse_states(state, volume) if volume.gone_at is None else ()
    counted = [
        c for c in connections if not call_silence(state, volume.driver, "NodePublishVolume", c.node_name)
    ]
    rates = rate(counted, now) if counted else None  # a silent feed does not count nothing
    living = [use for use in volume.uses if use.ended_at is None]
    claim, pv = volume.claim, volume.pv
    return VolumeRow(
        key=volume.key,
        namespace=volume.namespace,
        name=volume.name,
        display_name=volume.display_name,
        pv_name=volume.pv_name,
        driver=volume.driver,
        storage_class=((claim.spec.storage_class_name if claim is not None else "") or "")
        or (pv.spec.storage_class_name if pv is not None else ""),
        phases=_phases(state, volume, where),
        stage=step.stage if step is not None else "",
        step_id=word.step_id,
        step_title=_step_title(
            word.severity,
            word.sentence,
            where,
            step.title if step is not None else "",
            word.step_id in EXPANSION_STEPS,
        ),
        since=word.since,
        node_names=tuple(dict.fromkeys(use.node_name for use in living if use.node_name)),
        pods=tuple(use.pod.name for use in living),
        severity=word.severity,
        finding=word.sentence if word.severity >= Severity.UNKNOWN or word.refused else "",
        verdict=word,
        ops_per_second=rates.ops_per_second if rates is not None else None,
        p99_ns=rates.p99_ns if rates is not None else None,
        errors=sum(unexpected_errors(connections).values()) if connections else None,
        going=where.going,
        changed_seq=volume.changed_seq,
    )


def _worst_first(row: VolumeRow) -> tuple[int, str, str]:
    return -row.severity, row.display_name, row.key


def _step_title(severity: Severity, sentence: str, where: Standing, title: str, is_growing: bool) -> str:
    """The step's name; where nothing is waited for, how the volume rests."""
    if severity is Severity.GONE:
        return "gone"
    if where.current is None and not is_growing:
        return "in use" if where.use is not None else "at rest"
    return sentence if severity is Severity.WAITING else title


def _phases(state: State, volume: Volume, where: Standing) -> Phases:
    """The strip of four: reached, moving, to come, failed, n/a or unknown."""
    if volume.gone_at is not None:
        return (StepStatus.PENDING,) * 4
    steps = {
        view.step_id: view for view in (ladder(state, volume, where.use) if where.going else where.steps)
    }
    current = where.current
    a, b, c, d = (_phase(index, steps[step_id], current, where) for index, step_id in enumerate(PHASE_STEPS))
    return a, b, c, d


def _phase(index: int, view: StepView, current: StepView | None, where: Standing) -> StepStatus:
    if view.status is StepStatus.NOT_APPLICABLE:
        return _implied(index, where)
    if view.status is StepStatus.DONE and not where.going:
        return StepStatus.DONE
    is_current = current is not None and PHASE_OF_STEP[current.step_id] == index
    if is_current and current is not None and current.status in (StepStatus.FAILED, StepStatus.UNKNOWN):
        return current.status
    if is_current and current is not None and current.status is StepStatus.MOVING:
        return StepStatus.MOVING
    if where.going:
        left = current is not None and PHASE_OF_STEP[current.step_id] < index
        return StepStatus.PENDING if left or view.status is not StepStatus.DONE else StepStatus.DONE
    return StepStatus.UNKNOWN if view.status is StepStatus.UNKNOWN else StepStatus.PENDING


def _implied(index: int, where: Standing) -> StepStatus:
    """A volume that needed no CreateVolume exists all the same: CREATED is reached, where a PV tells of it."""
    if index == 0 and any(view.step_id == "8" and view.status is StepStatus.DONE for view in where.steps):
        return StepStatus.DONE
    return StepStatus.NOT_APPLICABLE
