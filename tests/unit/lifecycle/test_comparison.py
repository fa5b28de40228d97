"""What differs between two recordings, and that chance alone is no difference."""

import random
from fractions import Fraction
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csitrace.lifecycle.comparison import DIFFERENT, LEVEL, Difference, Verdict, compare
from csitrace.lifecycle.samples import SPAN, STEP, UNFINISHED, Doubt, Sample, Subject
from csitrace.lifecycle.significance import adjusted, rank_test, share_test
from csitrace.lifecycle.statistics import EDGES, histogram, quantile, summaries
from csitrace.model.times import MILLISECOND, SECOND

SPANS = ("provision", "attach", "stage", "publish")


def span(name: str, took_ms: float | None, *errors: str, **more: object) -> Sample:
    took = None if took_ms is None else int(took_ms * MILLISECOND)
    outcome = "ok" if took is not None else (errors[-1] if errors else UNFINISHED)
    return Sample(SPAN, name, Subject(driver="d"), "n1", 0, took, outcome, 1 + len(errors), errors, **more)  # type: ignore[arg-type]


def drawn(seed: int, count: int = 25, slower: float = 1.0) -> list[Sample]:
    """Durations as storage has them: skewed, some far out; a tenth of the attaches is tried twice."""
    rng = random.Random(seed)
    return [
        span(
            name,
            rng.lognormvariate(6, 0.8) * (slower if name == "attach" else 1),
            *(("ABORTED",) if name == "attach" and rng.random() < 0.1 else ()),
        )
        for name in SPANS
        for _ in range(count)
    ]


def verdicts(rows: list[Difference]) -> dict[str, Verdict]:
    return {row.key.name: row.verdict for row in rows}


@given(st.lists(st.integers(0, 10**12), min_size=1), st.fractions(Fraction(1, 1000), 1))
def test_quantiles_are_those_of_a_naive_definition(values: list[int], q: Fraction) -> None:
    """The smallest value that at least the share q of all values does not exceed."""
    naive = min(v for v in values if Fraction(sum(w <= v for w in values), len(values)) >= q)
    assert quantile(sorted(values), q) == naive


@given(st.lists(st.integers(0, 10**14)))
def test_every_duration_is_in_one_bucket(values: list[int]) -> None:
    """A histogram's counts add up, and each bucket holds what lies between its edges."""
    counts = histogram(sorted(values))
    bounds = (0, *EDGES, 10**15)
    assert list(counts) == [sum(low <= v < high for v in values) for low, high in pairwise(bounds)]


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6), st.lists(st.integers(0, 5), min_size=1, max_size=6)
)
def test_the_rank_test_is_exact_with_few_values(a: list[int], b: list[int]) -> None:
    """Ties included: the share of all ways to deal the values out that are as uneven."""
    together = sorted(a + b)
    rank = {v: Fraction(sum(w < v for w in together) * 2 + together.count(v) + 1, 2) for v in together}
    ranks = [rank[v] for v in a + b]
    middle = Fraction(len(a) * (len(ranks) + 1), 2)
    seen = abs(sum(ranks[: len(a)]) - middle)
    ways = [abs(sum(chosen) - middle) >= seen for chosen in combinations(ranks, len(a))]
    assert rank_test(a, b) == pytest.approx(sum(ways) / len(ways))


def test_known_p_values() -> None:
    """Textbook values: Fisher's tea, five beside five, and the normal approximation where the exact test ends."""
    assert share_test(3, 4, 1, 4) == pytest.approx(0.4857, abs=1e-4)
    assert rank_test([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(2 / 252)
    rng = random.Random(1)
    a, b = [rng.randrange(1000) for _ in range(20)], [rng.randrange(1000) + 200 for _ in range(20)]
    assert rank_test(a, b) == pytest.approx(rank_test([*a, *a], [*b, *b]) ** 0.5, abs=0.05)
    assert adjusted([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@given(st.integers(0, 10**6), st.integers(0, 60))
def test_a_recording_is_like_itself(seed: int, count: int) -> None:
    """Whatever is in it, nothing is reported."""
    samples = drawn(seed, count)
    assert not [row for row in compare(samples, samples) if row.verdict in DIFFERENT]


@pytest.mark.parametrize("count", [8, 25, 60])
def test_false_alarms_are_within_the_level(count: int) -> None:
    """Two recordings of the same cluster: in at most 5 % of comparisons anything at all is reported (200 drawn, three standard
    deviations of that)."""
    rounds = 200
    alarms = sum(
        any(row.verdict in DIFFERENT for row in compare(drawn(seed, count), drawn(seed + 10**6, count)))
        for seed in range(rounds)
    )
    assert alarms <= rounds * LEVEL + 3 * (rounds * LEVEL * (1 - LEVEL)) ** 0.5


def test_resampling_one_recording_is_quiet() -> None:
    """Its volumes dealt out at random to two sides: the level holds for that, too."""
    rng, samples, alarms = random.Random(7), drawn(7, 60), 0
    for _ in range(200):
        rng.shuffle(samples)
        half = len(samples) // 2
        alarms += any(row.verdict in DIFFERENT for row in compare(samples[:half], samples[half:]))
    assert alarms <= 200 * LEVEL + 3 * (200 * LEVEL * (1 - LEVEL)) ** 0.5


def test_what_got_slower_is_found_and_only_that() -> None:
    """Attach takes three times as long in every one of 20 pairs: each tells so, the other way round faster."""
    for seed in range(20):
        a, b = drawn(seed, 40), drawn(seed + 10**6, 40, slower=3)
        assert verdicts(compare(a, b))["attach"] is Verdict.SLOWER
        assert verdicts(compare(b, a))["attach"] is Verdict.FASTER


def test_a_shift_that_does_not_matter_is_none() -> None:
    """Beyond all chance, but 40 ms, or 5 %: nobody wants to know."""
    a = [span("attach", 100 + i) for i in range(50)]
    assert verdicts(compare(a, [span("attach", 140 + i) for i in range(50)])) == {"attach": Verdict.SAME}
    a = [span("attach", 10_000 + i) for i in range(50)]
    assert verdicts(compare(a, [span("attach", 10_500 + i) for i in range(50)])) == {"attach": Verdict.SAME}


def test_a_slow_tail_is_found_where_the_median_stays() -> None:
    """One attach of six waits for a minute now."""
    a = [span("attach", 500 + i) for i in range(120)]
    (row,) = compare(a, [*a[:100], *(span("attach", 60_000) for _ in range(20))])
    assert (row.verdict, row.tail_only) == (Verdict.SLOWER, True)


def test_what_newly_fails_is_found() -> None:
    """Refused now, or open for longer than any that ended: both are failures; what fails as often as before is none."""
    a = [span("attach", 500 + i) for i in range(20)]
    (row,) = compare(a, [span("attach", None, "FAILED_PRECONDITION", age_ns=SECOND) for _ in range(20)])
    assert (row.verdict, row.newly_fails) == (Verdict.FAILS, True)
    assert row.new_errors == ("FAILED_PRECONDITION",)
    (row,) = compare(a, [span("attach", None, age_ns=60 * SECOND) for _ in range(20)])
    assert row.verdict is Verdict.FAILS
    (row,) = compare(a, [*a, span("attach", None, age_ns=SECOND // 10)])
    assert row.verdict is Verdict.SAME


def test_few_samples_tell_nothing() -> None:
    """Four on a side are too few, however far apart; what only one side has is said to be so."""
    few = [span("attach", 10 * i) for i in range(4)]
    many = [span("attach", 9_000 + i) for i in range(50)]
    assert verdicts(compare(few, many)) == {"attach": Verdict.TOO_FEW}
    assert verdicts(compare(many, [span("stage", 1)])) == {"attach": Verdict.GONE, "stage": Verdict.NEW}
    assert compare([], []) == []


def test_what_is_known_to_the_second_is_not_measured() -> None:
    """It is counted apart, and counts when asked to."""
    rough = [span("attach", 1000 * i, doubt=Doubt.WHOLE_SECONDS) for i in range(6)]
    (row,) = summaries(rough)
    assert (row.seen, row.n, row.p50, dict(row.doubts)) == (6, 0, None, {Doubt.WHOLE_SECONDS: 6})
    (row,) = summaries(rough, rough=True)
    assert (row.n, row.max, dict(row.doubts)) == (6, 5 * SECOND, {})


def test_rows_are_in_the_order_of_a_life() -> None:
    """Spans before steps; steps by their number, which is no text."""
    samples = [span("delete", 1), span("attach", 1)]
    samples += [Sample(STEP, step, Subject(), "", 0, 1) for step in ("10", "9", "b2", "16a")]
    assert [row.key.name for row in summaries(samples)] == ["attach", "delete", "9", "10", "16a", "b2"]
