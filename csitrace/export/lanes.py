"""Intervals that overlap are put side by side: on each lane one ends before the next begins."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def lanes(items: Iterable[T], interval: Callable[[T], tuple[int, int | None]]) -> Iterator[tuple[int, T]]:
    """(number of its lane from 0, item), by beginning. `interval` gives beginning and end; end None: it lasts for ever."""
    ends: list[int | None] = []
    for item in sorted(items, key=lambda item: interval(item)[0]):
        start, end = interval(item)
        lane = next(
            (number for number, last in enumerate(ends) if last is not None and last <= start), len(ends)
        )
        ends[lane:] = [end, *ends[lane + 1 :]]
        yield lane, item
