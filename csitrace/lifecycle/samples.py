"""Samples: how long every span and every step of a recording took, those of volumes that are gone included.

The events are folded once. A state keeps a bounded past of each volume, so what leaves it is read just before: a volume's steps
when it is gone or when one of its pods is let go, its calls as they come. The rest is read after the last event.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from csitrace.lifecycle.filter import Field, Filter, Kind, parse
from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.ladder import expansion, ladder, way_back
from csitrace.lifecycle.spans import called, shown
from csitrace.lifecycle.state import Call, Mark, State, StepStatus, Use, Volume
from csitrace.lifecycle.steps import STEP_BY_ID
from csitrace.lifecycle.views import SpanView, StepView
from csitrace.model.events import ObjectAdded, ObjectListed, ObjectModified, Stamp, TraceEvent
from csitrace.model.kubernetes import CSINode
from csitrace.model.rpc import code_name

SPAN, STEP = "span", "step"

SPANS = (
    "provision", "attach", "stage", "publish", "expand", "node expand", "unpublish", "unstage", "detach", "delete",
)  # fmt: skip
"""Spans in the order of a life. `node expand` is what a node's kubelet has done of an expansion: another matter than `expand`."""

UNFINISHED = "unfinished"
"""The outcome of a span that no answer had ended when the recording did."""


class Doubt(StrEnum):
    """Why a duration is not measured, but only bounded."""

    NONE = ""
    WHOLE_SECONDS = "known to the second only"
    BEGAN_EARLIER = "began before the recording"
    OUT_OF_ORDER = "not after the step before it"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose sample it is: the volume, by the names that people give it."""

    namespace: str = ""
    claim: str = ""
    pv: str = ""
    driver: str = ""
    storage_class: str = ""
    pods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One span or one step of one volume. `took_ns` None: it has not ended; `age_ns` then says for how long it was open.

    `name`: the span's, or the step's id. `errors`: the codes of the tries that failed. `doubt`: why `took_ns` is no measurement.
    """

    kind: str
    name: str
    subject: Subject
    node: str
    started_at: int
    took_ns: int | None
    outcome: str = "ok"
    attempts: int = 1
    errors: tuple[str, ...] = ()
    doubt: Doubt = Doubt.NONE
    age_ns: int = 0

    @property
    def title(self) -> str:
        """`attach`, `13 ControllerPublishVolume`."""
        return f"{self.name} {STEP_BY_ID[self.name].title}" if self.kind == STEP else self.name


@dataclass(frozen=True, slots=True)
class Gathered:
    """All samples of a recording of `events` events, the first at `first_at`, the last at `last_at` (0 where there is none)."""

    samples: tuple[Sample, ...] = ()
    events: int = 0
    first_at: int = 0
    last_at: int = 0


SAMPLE_FIELDS: dict[str, Field[Sample]] = {
    "ns": Field(Kind.TEXT, "namespace", lambda sample: (sample.subject.namespace,)),
    "claim": Field(Kind.TEXT, "name of the claim", lambda sample: (sample.subject.claim,)),
    "pv": Field(Kind.TEXT, "name of the PersistentVolume", lambda sample: (sample.subject.pv,)),
    "driver": Field(Kind.TEXT, "CSI driver", lambda sample: (sample.subject.driver,)),
    "class": Field(Kind.TEXT, "StorageClass", lambda sample: (sample.subject.storage_class,)),
    "node": Field(Kind.TEXT, "where it was done", lambda sample: (sample.node,)),
    "pod": Field(Kind.TEXT, "a pod that uses the volume", lambda sample: sample.subject.pods),
    "span": Field(
        Kind.TEXT, "provision, attach …", lambda sample: (sample.name,) if sample.kind == SPAN else ()
    ),
    "step": Field(
        Kind.TEXT,
        "a step's number",
        lambda sample: (sample.name, sample.title) if sample.kind == STEP else (),
    ),
    "outcome": Field(
        Kind.TEXT, "ok, unfinished, a gRPC code", lambda sample: (sample.outcome, *sample.errors)
    ),
    "took": Field(Kind.DURATION, "how long it took", number=lambda sample, now: sample.took_ns),
    "tries": Field(Kind.NUMBER, "how often it was tried", number=lambda sample, now: sample.attempts),
}
"""The fields by which samples are chosen; those that name a volume are the same as everywhere."""


def parse_sample_filter(text: str) -> Filter[Sample]:
    """A filter over samples. Raises `FilterError`."""
    return parse(text, SAMPLE_FIELDS, _names)


def _names(sample: Sample) -> tuple[str, ...]:
    subject = sample.subject
    return (
        f"{subject.namespace}/{subject.claim}", subject.pv, subject.driver, sample.node, *subject.pods, sample.title,
    )  # fmt: skip


def gather(events: Iterable[TraceEvent]) -> Gathered:
    """The samples of a recording's events, which are in `seq` order."""
    gathering, state, count, first_at = _Gathering(), State(), 0, 0
    for event in events:
        before, state = state, fold(state, event)
        gathering.take(before, state, event)
        first_at = first_at or event.observed_at
        count += 1
    return Gathered(gathering.ended(state), count, first_at, state.at)


class _Gathering:
    """What was read so far. Keys are such that what is read twice is kept once."""

    def __init__(self) -> None:
        self._subjects: dict[str, Subject] = {}
        self._calls: dict[str, dict[tuple[str, int], Call]] = {}
        self._shown: dict[str, dict[tuple[str, str, int], tuple[SpanView, tuple[Mark, ...]]]] = {}
        self._steps: dict[str, dict[tuple[str, int, int], Sample]] = {}
        self._node_names: dict[tuple[str, str], str] = {}  # (driver, node id) -> node

    def take(self, before: State, state: State, event: TraceEvent) -> None:
        body = event.body
        if isinstance(body, ObjectListed | ObjectAdded | ObjectModified) and isinstance(body.object, CSINode):
            for driver in body.object.spec.drivers or ():
                self._node_names[(driver.name, driver.node_id)] = body.object.name
        for key in state.changed_keys:
            was, volume = before.volumes.get(key), state.volumes.get(key)
            if volume is None:
                if was is not None and was.gone_at is None:
                    self._forget(key)  # it goes by another key now, or is none of ours
                continue
            if volume.calls and (was is None or was.calls != volume.calls):
                self._read_calls(key, volume)
            if was is not None and _lets_go(was, volume):
                self._read(before, was)
            if volume.gone_at is not None and (was is None or was.gone_at is None):
                self._read(state, volume)

    def ended(self, state: State) -> tuple[Sample, ...]:
        """Everything, by start."""
        for volume in state.volumes.values():
            self._read(state, volume)
        found = [sample for steps in self._steps.values() for sample in steps.values()]
        for key, subject in self._subjects.items():
            told = set()
            calls = sorted(self._calls.get(key, {}).values(), key=lambda call: call.seq)
            for span, tries in called(calls):
                told.add(span.name)
                found.append(self._called_sample(subject, span, tries, state.at))
            for span, marks in self._shown.get(key, {}).values():
                if span.name not in told:
                    found.append(_shown_sample(subject, span, marks, state.at))
        return tuple(sorted(found, key=lambda sample: (sample.started_at, sample.kind, sample.name)))

    def _forget(self, key: str) -> None:
        for kept in (self._subjects, self._calls, self._shown, self._steps):
            kept.pop(key, None)

    def _read_calls(self, key: str, volume: Volume) -> None:
        self._subjects[key] = _subject(volume)
        calls = self._calls.setdefault(key, {})
        for call in volume.calls:
            calls[(call.instance, call.call_id)] = call

    def _read(self, state: State, volume: Volume) -> None:
        self._subjects[volume.key] = subject = _subject(volume)
        spans = self._shown.setdefault(volume.key, {})
        for span, marks in shown(volume):
            spans[(span.name, span.node_name, span.started_at)] = (span, marks)
        steps = self._steps.setdefault(volume.key, {})
        uses: tuple[Use | None, ...] = volume.uses or (None,)
        for use in uses:
            roads = (ladder, way_back, expansion) if use is uses[0] else (ladder, way_back)
            for road in roads:
                views = road(state, volume, use)
                for view in views:
                    if view.status is StepStatus.DONE and view.took_ns is not None and view.at is not None:
                        node = use.node_name if use is not None else ""
                        identity = (view.step_id, view.at, view.took_ns)
                        steps[identity] = _step_sample(subject, node, view, view.at, view.took_ns, views)

    def _called_sample(self, subject: Subject, span: SpanView, tries: tuple[Call, ...], now: int) -> Sample:
        on_node = tries[0].method == "NodeExpandVolume"
        took = max(0, span.ended_at - span.started_at) if span.ended_at is not None else None
        errors = ("abandoned" if call.abandoned else code_name(call.code or 0) for call in tries)
        return Sample(
            SPAN,
            "node expand" if on_node else span.name,
            subject,
            self._node_names.get((tries[0].driver, span.node_name), span.node_name),
            span.started_at,
            took,
            span.outcome or UNFINISHED,
            span.attempts,
            tuple(error for error in errors if error != "OK"),
            Doubt.BEGAN_EARLIER if tries[0].attempt > 1 else Doubt.NONE,
            0 if took is not None else max(0, now - span.started_at),
        )


def _lets_go(was: Volume, volume: Volume) -> bool:
    """Whether something of it can no longer be read: an ended pod, an expansion that another one follows."""
    growing = was.expansion
    if growing is not None and (volume.expansion is None or volume.expansion.seq != growing.seq):
        return True
    return bool({use.pod_uid for use in was.uses} - {use.pod_uid for use in volume.uses})


def _subject(volume: Volume) -> Subject:
    claim, pv = volume.claim, volume.pv
    named = (claim.spec.storage_class_name if claim is not None else "") or ""
    return Subject(
        volume.namespace,
        volume.name,
        volume.pv_name,
        volume.driver,
        named or (pv.spec.storage_class_name if pv is not None else "") or "",
        tuple(use.pod.name for use in volume.uses),
    )


def _shown_sample(subject: Subject, span: SpanView, marks: tuple[Mark, ...], now: int) -> Sample:
    took = span.ended_at - span.started_at if span.ended_at is not None else None
    if any(mark.at is None for mark in marks):
        doubt = Doubt.BEGAN_EARLIER
    else:
        doubt = Doubt.WHOLE_SECONDS if any(_is_rough(mark.stamp) for mark in marks) else Doubt.NONE
    outcome, age = (UNFINISHED, max(0, now - span.started_at)) if took is None else ("ok", 0)
    return Sample(
        SPAN, span.name, subject, span.node_name, span.started_at, took, outcome, doubt=doubt, age_ns=age
    )


def _step_sample(
    subject: Subject, node: str, view: StepView, at: int, took_ns: int, views: Iterable[StepView]
) -> Sample:
    earlier = [other for other in views if other is not view and other.at == at - took_ns]
    if not earlier:
        doubt = Doubt.OUT_OF_ORDER
    elif _is_rough(view.stamp) or all(_is_rough(other.stamp) for other in earlier):
        doubt = Doubt.WHOLE_SECONDS
    else:
        doubt = Doubt.NONE
    return Sample(STEP, view.step_id, subject, node, at - took_ns, took_ns, doubt=doubt)


def _is_rough(stamp: Stamp) -> bool:
    """The server's fields tell whole seconds; what was concluded has no time of its own."""
    return stamp in (Stamp.SERVER, Stamp.INFERRED)


def measured(samples: Iterable[Sample], *, rough: bool = False) -> list[int]:
    """The durations that count, sorted. `rough`: those known to the second only, too."""
    accepted = (Doubt.NONE, Doubt.WHOLE_SECONDS) if rough else (Doubt.NONE,)
    return sorted(s.took_ns for s in samples if s.took_ns is not None and s.doubt in accepted)


DIMENSIONS: Mapping[str, str] = {
    "class": "StorageClass",
    "driver": "CSI driver",
    "node": "node",
    "namespace": "namespace",
}
"""What samples can be grouped by."""


def dimension(sample: Sample, name: str) -> str:
    """The sample's value of one of `DIMENSIONS`; "" where it has none."""
    subject = sample.subject
    values = {
        "class": subject.storage_class,
        "driver": subject.driver,
        "node": sample.node,
        "namespace": subject.namespace,
    }
    return values[name]
