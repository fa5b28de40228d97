"""Whether two sets of samples differ by more than chance would make them: tests of ranks and of shares.

Both are two-sided permutation tests: the p-value is the share of all ways to deal the same values out to the two sides that
make them differ at least as much as they do. Nothing is assumed of how durations are distributed.
"""

from collections.abc import Sequence
from math import comb, erfc, exp, lgamma, sqrt

EXACT_UP_TO = 40
"""With no more values than this on both sides together, ranks are tested exactly; above, by the normal approximation."""


def rank_test(left: Sequence[int], right: Sequence[int]) -> float:
    """The p-value of Mann and Whitney's U, ties given the mean of their ranks. 1.0 where a side is empty or all are equal."""
    n, m = len(left), len(right)
    total = n + m
    if not n or not m:
        return 1.0
    values = sorted([(value, 0) for value in left] + [(value, 1) for value in right])
    doubled: list[int] = []  # twice the rank, so that it is whole
    mine, tied = 0, 0
    start = 0
    while start < total:
        end = start
        while end < total and values[end][0] == values[start][0]:
            end += 1
        rank = start + 1 + end  # twice the mean of start + 1 … end
        doubled += [rank] * (end - start)
        mine += rank * sum(1 for _, side in values[start:end] if side == 0)
        tied += (end - start) ** 3 - (end - start)
        start = end
    middle = n * (total + 1)  # twice the expected sum of ranks
    if total <= EXACT_UP_TO:
        return _exact(doubled, n, abs(mine - middle), middle)
    variance = n * m / 12 * (total + 1 - tied / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    distance = max(0.0, abs(mine - middle) / 2 - 0.5)  # continuity
    return min(1.0, erfc(distance / sqrt(variance) / sqrt(2)))


def _exact(doubled: Sequence[int], n: int, distance: int, middle: int) -> float:
    """Of all choices of n of these doubled ranks, the share whose sum is at least `distance` away from `middle`.

    The number of choices by their sum is kept as one whole number, a slot of bits for each sum: adding a rank is a shift.
    """
    width = comb(len(doubled), n).bit_length() + 1
    ways = [1] + [0] * n
    for rank in doubled:
        for chosen in range(n, 0, -1):
            ways[chosen] += ways[chosen - 1] << (width * rank)
    slots, slot, extreme, total_sum = ways[n], (1 << width) - 1, 0, 0
    while slots:
        if abs(total_sum - middle) >= distance:
            extreme += slots & slot
        slots >>= width
        total_sum += 1
    return extreme / comb(len(doubled), n)


def share_test(left: int, of_left: int, right: int, of_right: int) -> float:
    """Fisher's exact p-value of `left` of `of_left` beside `right` of `of_right`. 1.0 where a side is empty."""
    total, marked = of_left + of_right, left + right
    if not of_left or not of_right:
        return 1.0
    low, high = max(0, marked - of_right), min(marked, of_left)
    ways = _log_comb(total, of_left)
    chances = [
        exp(_log_comb(marked, count) + _log_comb(total - marked, of_left - count) - ways)
        for count in range(low, high + 1)
    ]
    seen = chances[left - low] * _ROUNDING
    return min(1.0, sum(chance for chance in chances if chance <= seen))


_ROUNDING = 1 + 1e-7
"""Chances that are equal may differ by this much as they are computed."""


def _log_comb(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def least_share_p(marked: int, of_left: int, of_right: int) -> float:
    """The smallest p-value that `share_test` can give for these totals, however the marked ones fell."""
    low, high = max(0, marked - of_right), min(marked, of_left)
    return min(
        share_test(low, of_left, marked - low, of_right), share_test(high, of_left, marked - high, of_right)
    )


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment: those at most `level` after it hold all together, but for a chance of at most `level`."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    result, worst = [1.0] * len(p_values), 0.0
    for done, place in enumerate(order):
        worst = max(worst, min(1.0, p_values[place] * (len(p_values) - done)))
        result[place] = worst
    return result
