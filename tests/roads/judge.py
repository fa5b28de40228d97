"""The judge of every road: it looks at each fact as it comes in, and at what csitrace shows then.

* No step is shown as done before a witness's fact has proved it, forward or back (`seen`).
* Times are in causal order, as far as the times can tell.
* No volume is called stuck, but at the steps of which the road says that it is rightly stuck there. Time alone is no wrong word:
  on a slow machine a step may take long, and so may the answers of a FUSE daemon that is there; a volume of which something was
  heard within its patience, however, is not stuck.
* Nothing the driver answers is against the specification (no anomalies).
"""

from dataclasses import dataclass, field

from csitrace.lifecycle import index
from csitrace.lifecycle.fuse import fuse_states, trouble
from csitrace.lifecycle.ladder import ladder, way_back
from csitrace.lifecycle.state import FuseState, State, StepStatus, Use, Volume
from csitrace.lifecycle.steps import STEP_BY_ID
from csitrace.lifecycle.verdict import DEFAULT_PATIENCE, PATIENCE, standing, verdict_of
from csitrace.lifecycle.views import Severity, StepView, Verdict
from csitrace.model.events import FuseCounted, FuseOpSampled, Stamp, TraceEvent
from csitrace.model.times import SECOND, format_rfc3339
from tests.roads.road import Road
from tests.roads.seen import IMPLIES, Seen

SERVER_PRECISION_NS = SECOND
"""Kubernetes tells most times to the whole second."""


@dataclass
class Judge:
    """Of one road: of the volumes in its namespace, and of the PVs it made itself (by name). `wrong`: what it found."""

    road: Road
    namespace: str
    seen: Seen
    """What the witnesses have said, with the fact that is being judged."""
    pvs: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    volumes: dict[str, Volume] = field(default_factory=dict)
    """By key every volume that has been on this road, as it was last seen."""
    _proved: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    _over: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    _heard_at: dict[str, int] = field(default_factory=dict)
    _said: set[str] = field(default_factory=set)
    _anomalies: int = 0

    def take(self, before: State, event: TraceEvent, after: State) -> None:
        """One more fact, between the states before and after it."""
        for key in after.changed_keys:
            volume = before.volumes.get(key)
            if volume is not None and self.concerns(volume):
                self._check_word(before, volume, event)
            volume = after.volumes.get(key)
            if volume is not None and self.concerns(volume):
                self.volumes[key] = volume
                if isinstance(event.body, FuseCounted | FuseOpSampled):  # many, and they tell of no step
                    continue
                self._prove(volume, None)
                for use in {id(use): use for use in (*volume.uses, standing(after, volume).use)}.values():
                    self._check_steps(after, volume, use, event)
                self._check_word(after, volume, event)
                self._heard_at[key] = event.observed_at
        self._check_anomalies(after)

    def concerns(self, volume: Volume) -> bool:
        """Whether the volume is on this road."""
        return volume.namespace == self.namespace or (volume.pv is not None and volume.pv.name in self.pvs)

    def _say(self, event: TraceEvent, volume: Volume, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self.wrong.append(f"{_told(event)}, {volume.display_name}: {sentence}")

    def _prove(self, volume: Volume, use: Use | None) -> set[str]:
        """What has been proved at any time, for a pod or for the volume as such."""
        proved = self._proved.setdefault((volume.key, use.pod_uid if use is not None else ""), set())
        proved |= self.seen.proved(volume, use)
        return proved

    def _check_steps(self, state: State, volume: Volume, use: Use | None, event: TraceEvent) -> None:
        proved = self._prove(volume, use)
        views = ladder(state, volume, use)
        unseen = _done(views) - proved
        if unseen:
            self._say(event, volume, f"shown as done without a proof for {_who(use)}: {_names(unseen)}")
        if is_going(state, volume, use):
            back = way_back(state, volume, use)
            still = _done(back) & self.seen.still(volume, use)
            # What was taken away once may be there again, for another pod.
            over = self._over.setdefault((volume.key, use.pod_uid if use is not None else ""), set())
            over |= _done(back) - still
            if still - over:
                self._say(
                    event, volume, f"shown as done, but still so for {_who(use)}: {_names(still - over)}"
                )
        shared = use is not None and any(other.pod_uid != use.pod_uid for other in volume.uses)
        for sentence in _disorder(views, volume, shared):
            self._say(event, volume, f"{sentence} for {_who(use)}")

    def _check_word(self, state: State, volume: Volume, event: TraceEvent) -> None:
        now = event.observed_at
        word = verdict_of(state, volume, standing(state, volume), now)
        if word.severity is not Severity.STUCK or word.step_id in self.road.stuck:
            return
        if not self._is_late(state, word, volume, now):
            self._say(event, volume, f"called stuck at {word.step_id}, though it is well: {word.sentence}")

    def _is_late(self, state: State, word: Verdict, volume: Volume, now: int) -> bool:
        """Nobody has refused anything, and nothing was heard of it for as long as the step may take: that is true, if slow. So
        are requests that a FUSE daemon lets wait when all the machine does; but a daemon does not end, nor stop, for that."""
        connections = [found for found in fuse_states(state, volume) if trouble(found, now)]
        if connections and word.holder == "FUSE daemon":
            return all(map(_serves, connections))
        patience = PATIENCE.get(word.step_id, DEFAULT_PATIENCE).stuck_ns
        silent_for = now - self._heard_at.get(volume.key, now)
        return word.since is not None and now - word.since >= patience and silent_for >= patience // 2

    def _check_anomalies(self, state: State) -> None:
        told = [anomaly for anomaly in state.anomalies if anomaly.seq > self._anomalies]
        ours = {index.subject(volume.driver, volume.volume_id) for volume in self.volumes.values()}
        for anomaly in told:
            self._anomalies = anomaly.seq
            if anomaly.subject in ours:
                self.wrong.append(f"after event {anomaly.seq}, {anomaly.subject}: {anomaly.text}")


def _serves(connection: FuseState) -> bool:
    """Its daemon is there and runs, however slowly."""
    return not connection.ended and (connection.daemon is None or connection.daemon.state != "T")


def is_going(state: State, volume: Volume, use: Use | None) -> bool:
    """Whether the way back is what counts: for a pod that leaves, or for a volume that nobody wants any more."""
    if volume.gone_at is not None:
        return True
    if use is not None:
        return use.ended_at is not None or use.pod.is_terminating or use.is_finished
    return standing(state, volume).going


def _done(views: tuple[StepView, ...]) -> set[str]:
    return {view.step_id for view in views if view.status is StepStatus.DONE}


def _told(event: TraceEvent) -> str:
    """An event, for the message of a failed test."""
    obj = getattr(event.body, "object", None)
    about = f"{obj.kind} {obj.name}" if obj is not None else getattr(event.body, "method", "")
    return f"after event {event.seq} ({type(event.body).__name__} {about})"


def _who(use: Use | None) -> str:
    return f"pod {use.pod.name}" if use is not None else "no pod"


def _names(ids: set[str]) -> str:
    return ", ".join(f"{step} ({STEP_BY_ID[step].title})" for step in sorted(ids))


_PODS_OWN = frozenset({"1", "2", "3", "4", "9", "15"})
_SHARED = frozenset({"10", "11", "12", "13", "14", "16a"})


def _disorder(views: tuple[StepView, ...], volume: Volume, shared: bool) -> list[str]:
    """No step has a time before one that it follows. A server's time is cut to the second; what was seen to happen was seen after
    it happened, so such a time says nothing of what a later step may not precede; another pod may have had the volume attached
    and staged before this one came (`shared`), and a claim been bound before its pod came."""
    wrong = []
    by_id = {view.step_id: view for view in views}
    for view in views:
        if view.status is not StepStatus.DONE:
            continue
        seen = any(said.status is StepStatus.DONE and said.at for said in view.testimonies.values())
        if not seen and view.stamp is Stamp.INFERRED and view.at is not None:
            wrong.append(f"nobody saw step {view.step_id}, and yet it has a time")
        for step in _before(view.step_id):
            earlier = by_id[step]
            if shared and view.step_id in _SHARED:
                continue
            if step in _PODS_OWN and view.step_id in ("5", "6", "7", "8") and by_id["4"].at is None:
                continue
            if view.at is None or earlier.at is None or earlier.status is not StepStatus.DONE:
                continue
            if earlier.stamp is not Stamp.OBSERVED and view.at < earlier.at - SERVER_PRECISION_NS:
                wrong.append(
                    f"step {view.step_id} ({format_rfc3339(view.at)}) is told as before step {step} "
                    f"({format_rfc3339(earlier.at)})"
                )
    return wrong


def _before(step: str) -> set[str]:
    """All that a step follows."""
    found: set[str] = set()
    for earlier in IMPLIES.get(step, ()):
        found |= {earlier} | _before(earlier)
    return found
