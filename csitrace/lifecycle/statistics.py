"""Statistics: samples in groups, each with its quantiles, outcomes and histogram.

A quantile is by nearest rank: of n durations in order, the one at place ceil(q * n), from 1. It is always a duration that was
measured; nothing is interpolated.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from csitrace.lifecycle.samples import SPAN, SPANS, STEP, Doubt, Sample, dimension, measured
from csitrace.lifecycle.steps import STEP_BY_ID
from csitrace.model.times import MILLISECOND

P50, P95 = Fraction(50, 100), Fraction(95, 100)

EDGES = tuple(digit * 10**power * MILLISECOND for power in range(7) for digit in (1, 2, 5))
"""Where the buckets of histograms meet: 1, 2, 5, 10 … ms, up to 5,000 s. Below the first and from the last on is one more."""


@dataclass(frozen=True, slots=True)
class GroupKey:
    """What the samples of one row have in common. `group`: their values of the dimensions asked for, in that order."""

    kind: str
    name: str
    group: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.name} {STEP_BY_ID[self.name].title}" if self.kind == STEP else self.name


@dataclass(frozen=True, slots=True)
class Summary:
    """One row. `seen` samples, of which `n` were measured: the quantiles (ns) are of these, None where there are none.

    `retries`: tries beyond the first of each span. `doubts`: the others that ended, by why they were not measured.
    `buckets`: how many of the measured lie below `EDGES[0]`, between it and the next …, from the last on.
    """

    key: GroupKey
    seen: int
    n: int
    p50: int | None
    p95: int | None
    max: int | None
    retries: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    doubts: Mapping[Doubt, int] = field(default_factory=dict)
    buckets: tuple[int, ...] = ()

    @property
    def not_ok(self) -> int:
        """How many have not ended well: unfinished, failed, abandoned."""
        return self.seen - self.outcomes.get("ok", 0)


def quantile(ordered: Sequence[int], q: Fraction) -> int | None:
    """The nearest-rank quantile of durations in ascending order, 0 < q <= 1; None of none."""
    if not ordered:
        return None
    return ordered[max(0, -(-len(ordered) * q.numerator // q.denominator) - 1)]


def grouped(samples: Iterable[Sample], by: Sequence[str] = ()) -> dict[GroupKey, list[Sample]]:
    """The samples by what they are and by their values of `by` (of `DIMENSIONS`): spans first, each in the order of a life."""
    groups: dict[GroupKey, list[Sample]] = {}
    for sample in samples:
        key = GroupKey(sample.kind, sample.name, tuple(dimension(sample, name) for name in by))
        groups.setdefault(key, []).append(sample)
    return {key: groups[key] for key in sorted(groups, key=place)}


def place(key: GroupKey) -> tuple[int, int, tuple[str, ...]]:
    """Where a row stands among others."""
    if key.kind == SPAN:
        return 0, SPANS.index(key.name) if key.name in SPANS else len(SPANS), key.group
    return 1, _STEP_PLACES[key.name], key.group


_STEP_PLACES = {step_id: number for number, step_id in enumerate(STEP_BY_ID)}


def summaries(samples: Iterable[Sample], by: Sequence[str] = (), *, rough: bool = False) -> list[Summary]:
    """A row for each group. `rough`: durations known to the second only count as measured, too."""
    return [summary(key, members, rough=rough) for key, members in grouped(samples, by).items()]


def summary(key: GroupKey, samples: Sequence[Sample], *, rough: bool = False) -> Summary:
    """The row of one group."""
    durations = measured(samples, rough=rough)
    doubts = Counter(s.doubt for s in samples if s.took_ns is not None and s.doubt)
    if rough:
        doubts.pop(Doubt.WHOLE_SECONDS, None)
    return Summary(
        key,
        len(samples),
        len(durations),
        quantile(durations, P50),
        quantile(durations, P95),
        durations[-1] if durations else None,
        sum(sample.attempts - 1 for sample in samples),
        _counted(sample.outcome for sample in samples),
        _counted(error for sample in samples for error in sample.errors),
        doubts,
        histogram(durations),
    )


def histogram(ordered: Sequence[int]) -> tuple[int, ...]:
    """How many of the durations, in ascending order, each bucket holds; an edge belongs to the bucket above it."""
    counts = [0] * (len(EDGES) + 1)
    for duration in ordered:
        counts[bisect_right(EDGES, duration)] += 1
    return tuple(counts)


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0])))
