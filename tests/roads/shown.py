"""What csitrace shows of one volume in one moment, and what was expected of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from csitrace.lifecycle.ladder import ladder, way_back
from csitrace.lifecycle.state import State, Use, Volume
from csitrace.lifecycle.verdict import Standing, standing, verdict_of
from csitrace.lifecycle.views import Verdict
from tests.roads.expected import Expected
from tests.roads.judge import is_going
from tests.roads.table import Moment


@dataclass(frozen=True, slots=True)
class Awaited:
    """A moment that came: `of` a volume, for a `pod` ("": for that which counts), in a road's namespace."""

    namespace: str
    name: str
    of: str
    pod: str
    right: Expected

    def is_shown(self, state: State) -> bool:
        """Whether it is this moment."""
        volume = find(state, self.namespace, self.of)
        shown = Shown.of(state, volume, self.pod) if volume is not None else None
        return shown is not None and not shown.differences(self.right)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a screen shows of one volume in one moment."""

    state: State
    volume: Volume
    where: Standing
    use: Use | None

    @classmethod
    def of(cls, state: State, volume: Volume, pod: str) -> "Shown | None":
        """For a pod by name (the newest of that name), or for the one that counts. None where there is no such pod."""
        where = standing(state, volume)
        if not pod:
            return cls(state, volume, where, where.use or next(_placed(volume), None))
        use = next((use for use in volume.uses if use.pod.name == pod), None)
        return cls(state, volume, where, use) if use is not None else None

    @property
    def going(self) -> bool:
        return is_going(self.state, self.volume, self.use) if self.use is not None else self.where.going

    def word(self) -> Verdict:
        return verdict_of(self.state, self.volume, self.where, self.state.at)

    def differences(self, right: Expected) -> list[str]:
        forward = ladder(self.state, self.volume, self.use)
        back = way_back(self.state, self.volume, self.use) if right.going else ()
        return right.differences(forward, back, self.going, self.word())

    def moment(self, name: str, of: str) -> Moment:
        views = ladder(self.state, self.volume, self.use)
        if self.going:
            views += way_back(self.state, self.volume, self.use)
        word = self.word()
        statuses = {view.step_id: view.status for view in views}
        return Moment(name, of, statuses, word.step_id, word.holder, word.severity.name, word.sentence)


def find(state: State, namespace: str, of: str) -> Volume | None:
    """The newest volume of a name: that of a claim, of `pod:volume` when inline, or of `pv/<name>`; also when it is gone."""
    candidates = [volume for volume in state.volumes.values() if _is(volume, namespace, of)]
    return max(candidates, key=lambda v: (v.gone_at is None, v.first_seen_at), default=None)


def _is(volume: Volume, namespace: str, of: str) -> bool:
    if of.startswith("pv/"):
        return volume.pv is not None and volume.pv.name == of.removeprefix("pv/")
    return (volume.namespace, volume.name) == (namespace, of)


def _placed(volume: Volume) -> Iterator[Use]:
    """The pods it had, for a volume that is on its way back or at rest."""
    if volume.gone_at is not None or volume.claim_gone_at is not None:
        yield from (use for use in volume.uses if use.node_name)
