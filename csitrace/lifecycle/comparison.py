"""Comparison: what of a recording differs from another by more than chance would make it differ.

Each row, a span or step in a group, is asked up to three questions:

* typical: do durations rank alike? (Mann-Whitney U), and is the median `LEAST_SHARE` and `LEAST_NS` away?
* tail: are as many among the slowest tenth of both together? (Fisher), and is the p95 as far away?
* failures: did as many spans fail? (Fisher)

The p-values of all questions of all rows are adjusted together (Holm): if nothing differs, the chance that anything at all is
reported is at most `LEVEL`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from csitrace.lifecycle.samples import SPAN, UNFINISHED, Sample, measured
from csitrace.lifecycle.significance import adjusted, least_share_p, rank_test, share_test
from csitrace.lifecycle.statistics import GroupKey, Summary, grouped, place, summary
from csitrace.model.times import MILLISECOND

LEVEL = 0.05
FEW = 5
LEAST_SHARE = 0.10
LEAST_NS = 50 * MILLISECOND


class Verdict(StrEnum):
    """What a row comes to; the worst that is true of it."""

    FAILS = "fails"  # more often than before; where it never did before, newly
    SLOWER = "slower"
    FASTER = "faster"
    MENDED = "fails less"
    SAME = "same"  # no difference, or none that chance does not make as easily
    TOO_FEW = "too few to tell"
    GONE = "only in A"
    NEW = "only in B"


WORSE = (Verdict.FAILS, Verdict.SLOWER)
DIFFERENT = (*WORSE, Verdict.FASTER, Verdict.MENDED)


@dataclass(frozen=True, slots=True)
class Difference:
    """One row. `failed_a`, `failed_b`: spans that failed; `p_…`: adjusted, None where the question was not asked.

    `tail_only`: the median stays, the slow ones are slower or faster. `new_errors`: codes that only B has, whatever they mean.
    """

    key: GroupKey
    a: Summary
    b: Summary
    failed_a: int
    failed_b: int
    verdict: Verdict
    p_typical: float | None = None
    p_tail: float | None = None
    p_failures: float | None = None
    tail_only: bool = False
    new_errors: tuple[str, ...] = ()

    @property
    def newly_fails(self) -> bool:
        return self.verdict is Verdict.FAILS and not self.failed_a


def compare(
    a: Iterable[Sample], b: Iterable[Sample], by: Sequence[str] = (), *, rough: bool = False
) -> list[Difference]:
    """A row for each group that either side has; what is worse first, then in the order of a life."""
    groups_a, groups_b = grouped(a, by), grouped(b, by)
    keys = sorted(groups_a.keys() | groups_b.keys(), key=place)
    rows = [_Row.of(key, groups_a.get(key, []), groups_b.get(key, []), rough) for key in keys]
    asked = [(number, name) for number, row in enumerate(rows) for name in row.p]
    for (number, name), p in zip(
        asked, adjusted([rows[number].p[name] for number, name in asked]), strict=True
    ):
        rows[number].p[name] = p
    order = list(Verdict)
    return sorted((row.judged() for row in rows), key=lambda row: (order.index(row.verdict), place(row.key)))


@dataclass(slots=True)
class _Row:
    found: Difference
    p: dict[str, float]
    can_fail: bool

    @classmethod
    def of(cls, key: GroupKey, a: Sequence[Sample], b: Sequence[Sample], rough: bool) -> "_Row":
        times_a, times_b = measured(a, rough=rough), measured(b, rough=rough)
        longest = max((times[-1] for times in (times_a, times_b) if times), default=None)
        failed_a, failed_b = (sum(_failed(sample, longest) for sample in side) for side in (a, b))
        codes_a = {error for sample in a for error in sample.errors}
        new = tuple(sorted({error for sample in b for error in sample.errors} - codes_a)) if a else ()
        found = Difference(
            key, summary(key, a, rough=rough), summary(key, b, rough=rough), failed_a, failed_b, Verdict.SAME,
            new_errors=new,
        )  # fmt: skip
        p: dict[str, float] = {}
        if min(len(times_a), len(times_b)) >= FEW:
            p["typical"] = rank_test(times_a, times_b)
            tail = _tail(times_a, times_b)
            if tail is not None:
                p["tail"] = tail
        can_fail = key.kind == SPAN and min(len(a), len(b)) >= FEW
        if can_fail and least_share_p(failed_a + failed_b, len(a), len(b)) <= LEVEL:
            p["failures"] = share_test(failed_a, len(a), failed_b, len(b))
        return cls(found, p, can_fail)

    def judged(self) -> Difference:
        found, p = self.found, self.p
        a, b = found.a, found.b
        verdict, tail_only = self._verdict()
        if verdict is Verdict.SAME:
            if not a.seen:
                verdict = Verdict.NEW
            elif not b.seen:
                verdict = Verdict.GONE
            elif "typical" not in p and not self.can_fail:
                verdict = Verdict.TOO_FEW
        return replace(
            found,
            verdict=verdict,
            tail_only=tail_only,
            p_typical=p.get("typical"),
            p_tail=p.get("tail"),
            p_failures=p.get("failures"),
        )

    def _verdict(self) -> tuple[Verdict, bool]:
        found, p = self.found, self.p
        a, b = found.a, found.b
        typical = _moved(a.p50, b.p50) if p.get("typical", 1.0) <= LEVEL else 0
        tail = _moved(a.p95, b.p95) if p.get("tail", 1.0) <= LEVEL else 0
        failures = 0
        if p.get("failures", 1.0) <= LEVEL:
            failures = 1 if found.failed_b * a.seen > found.failed_a * b.seen else -1
        if failures > 0:
            return Verdict.FAILS, False
        if typical > 0 or tail > 0:
            return Verdict.SLOWER, typical <= 0
        if typical < 0 or tail < 0:
            return Verdict.FASTER, typical >= 0
        return (Verdict.MENDED if failures < 0 else Verdict.SAME), False


def _failed(sample: Sample, longest: int | None) -> bool:
    """A try of it was refused or abandoned; or it is still open, for longer than any that ended took on either side."""
    open_for_long = sample.outcome == UNFINISHED and longest is not None and sample.age_ns > longest
    return bool(sample.errors) or open_for_long


def _tail(a: Sequence[int], b: Sequence[int]) -> float | None:
    """The p-value of how the slowest tenth of both together falls on them; None where no way to fall would be news."""
    together = sorted((*a, *b))
    edge = together[len(together) - len(together) // 10 - 1]
    slow_a, slow_b = (sum(took > edge for took in side) for side in (a, b))
    if least_share_p(slow_a + slow_b, len(a), len(b)) > LEVEL:
        return None
    return share_test(slow_a, len(a), slow_b, len(b))


def _moved(a: int | None, b: int | None) -> int:
    """1 for longer, -1 for shorter, 0 for no matter."""
    if a is None or b is None or abs(b - a) < max(LEAST_NS, LEAST_SHARE * a):
        return 0
    return 1 if b > a else -1
