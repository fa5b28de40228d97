"""Samples: how long every span and every step of a recording took, those of volumes that are gone included (see `lives`).

Kept small: of each step no more than its sample, of no event its words.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from csitrace.lifecycle.filter import Field, Filter, Kind, parse
from csitrace.lifecycle.lives import Lives, roads
from csitrace.lifecycle.state import Call, Mark, State, StepStatus, Volume
from csitrace.lifecycle.steps import STEP_BY_ID
from csitrace.lifecycle.views import SpanView, StepView
from csitrace.model.events import ObjectAdded, ObjectListed, ObjectModified, TraceEvent
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
    lives, node_names = Lives(_Steps), _NodeNames()
    for event in events:
        lives.take(event)
        node_names.note(event)
    lives.end()
    now = lives.state.at
    found = [sample for past in lives.of.values() for sample in past.kept.found.values()]
    for past in lives.of.values():
        subject = _subject(past.volume)
        found += [
            _called_sample(subject, span, tries, node_names, now)
            if tries
            else _shown_sample(subject, span, marks, now)
            for span, tries, marks in past.spans()
        ]
    ordered = sorted(found, key=lambda sample: (sample.started_at, sample.kind, sample.name))
    return Gathered(tuple(ordered), lives.events, lives.first_at, now)


class _Steps:
    """The samples of one volume's steps."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, int, int], Sample] = {}

    def read(self, state: State, volume: Volume) -> None:
        subject = _subject(volume)
        for _, use, views in roads(state, volume):
            node = use.node_name if use is not None else ""
            for view in views:
                if view.status is StepStatus.DONE and view.took_ns is not None and view.at is not None:
                    identity = (view.step_id, view.at, view.took_ns)
                    self.found[identity] = _step_sample(subject, node, view, view.at, view.took_ns, views)

    def inherit(self, former: "_Steps") -> None:
        """None of a volume that was known by less: no pod had used it."""


class _NodeNames:
    """What drivers call nodes, as CSINode objects tell it."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}  # (driver, node id) -> node

    def note(self, event: TraceEvent) -> None:
        body = event.body
        if isinstance(body, ObjectListed | ObjectAdded | ObjectModified) and isinstance(body.object, CSINode):
            for driver in body.object.spec.drivers or ():
                self._names[driver.name, driver.node_id] = body.object.name

    def name(self, driver: str, node: str) -> str:
        """The node's name, of its id or its name."""
        return self._names.get((driver, node), node)


def _called_sample(
    subject: Subject, span: SpanView, tries: tuple[Call, ...], node_names: _NodeNames, now: int
) -> Sample:
    on_node = tries[0].method == "NodeExpandVolume"
    took, age = _lasted(span, now)
    errors = ("abandoned" if call.abandoned else code_name(call.code or 0) for call in tries)
    return Sample(
        SPAN,
        "node expand" if on_node else span.name,
        subject,
        node_names.name(tries[0].driver, span.node_name),
        span.started_at,
        took,
        span.outcome or UNFINISHED,
        span.attempts,
        tuple(error for error in errors if error != "OK"),
        Doubt.BEGAN_EARLIER if tries[0].attempt > 1 else Doubt.NONE,
        age,
    )


def _lasted(span: SpanView, now: int) -> tuple[int | None, int]:
    """How long it took, if it succeeded, and else for how long it was tried: that is no measure of how long it takes."""
    lasted = max(0, (now if span.ended_at is None else span.ended_at) - span.started_at)
    return (lasted, 0) if span.outcome == "ok" else (None, lasted)


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
    took, age = _lasted(span, now)
    if any(mark.at is None for mark in marks):
        doubt = Doubt.BEGAN_EARLIER
    else:
        doubt = Doubt.WHOLE_SECONDS if any(mark.stamp.is_rough for mark in marks) else Doubt.NONE
    outcome = span.outcome or UNFINISHED
    return Sample(
        SPAN, span.name, subject, span.node_name, span.started_at, took, outcome, doubt=doubt, age_ns=age
    )


def _step_sample(
    subject: Subject, node: str, view: StepView, at: int, took_ns: int, views: Iterable[StepView]
) -> Sample:
    earlier = [other for other in views if other is not view and other.at == at - took_ns]
    if not earlier:
        doubt = Doubt.OUT_OF_ORDER
    elif view.stamp.is_rough or all(other.stamp.is_rough for other in earlier):
        doubt = Doubt.WHOLE_SECONDS
    else:
        doubt = Doubt.NONE
    return Sample(STEP, view.step_id, subject, node, at - took_ns, took_ns, doubt=doubt)


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
