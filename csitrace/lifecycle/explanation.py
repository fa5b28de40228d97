"""One volume explained: everything the page of `explain` says of it, as values."""

from collections.abc import Iterable
from dataclasses import dataclass

from csitrace.lifecycle.ladder import expansion, ladder, way_back
from csitrace.lifecycle.row import volume_row
from csitrace.lifecycle.state import EventFact, State, StepStatus, Use, Volume
from csitrace.lifecycle.verdict import standing
from csitrace.lifecycle.views import Severity, StepView, VolumeRow


@dataclass(frozen=True, slots=True)
class Explanation:
    """`use`: the pod that the steps are told for (None: the volume alone). `way_back` is empty while nothing goes, `expansion`
    while no more room was asked for. `events`: Kubernetes Events about claim, PV and pods, oldest first. `now`: what it is as of.
    """

    row: VolumeRow
    volume: Volume
    use: Use | None
    steps: tuple[StepView, ...]
    way_back: tuple[StepView, ...]
    expansion: tuple[StepView, ...]
    events: tuple[EventFact, ...]
    now: int

    @property
    def held_since(self) -> StepView | None:
        """The step whose end gave the volume to who holds it now: it tells which field the time comes from."""
        views = (*self.steps, *self.way_back, *self.expansion)
        done = (view for view in reversed(views) if view.status is StepStatus.DONE and view.at is not None)
        return next((view for view in done if view.at == self.row.since), None)


def explain(state: State, volume: Volume, now: int) -> Explanation:
    """The volume at `now`, for the pod that has come least far."""
    where = standing(state, volume)
    is_going = where.going or volume.gone_at is not None
    row = volume_row(state, volume, now)
    steps = ladder(state, volume, where.use)
    back = way_back(state, volume, where.use) if is_going else ()
    return Explanation(
        row,
        volume,
        where.use,
        steps,
        back,
        expansion(state, volume, where.use),
        volume.events,
        now,
    )


def worst_first(rows: Iterable[VolumeRow]) -> list[VolumeRow]:
    """The order of the list: what wants attention most comes first."""
    return sorted(rows, key=lambda row: (-row.severity, row.display_name, row.key))


def is_unwell(row: VolumeRow) -> bool:
    """Stuck, slow, or standing where nobody can see it: what `explain` tells of where nothing was named."""
    return row.severity >= Severity.UNKNOWN
