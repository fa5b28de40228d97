"""Columns of a table, and which of them fit a width."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from csitrace.tui.lines import Line

Row = TypeVar("Row")

GAP = 1
"""Blank cells between two columns."""


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column. `cell` draws a row at a time (ns) into at most the given number of cells (longer is cut).

    Columns of `priority` 0 are always there and shrink from `width` to `minimum` where room is short. The others come in the
    order of their priority, each only where all chosen so far have their full width. Room that is left goes to columns in
    proportion to `weight`. `ticks`: the cell changes as time passes.
    """

    title: str
    cell: Callable[[Row, int, int], Line]
    minimum: int
    width: int
    priority: int = 0
    weight: int = 0
    right: bool = False
    ticks: bool = False


@dataclass(frozen=True, slots=True)
class Placed(Generic[Row]):
    """A column that fits: `left` is its first cell, `width` its cells."""

    column: Column[Row]
    left: int
    width: int


def place(columns: Sequence[Column[Row]], width: int) -> tuple[Placed[Row], ...]:
    """The columns that fit `width` cells, in their own order, with what each gets."""
    chosen = [column for column in columns if not column.priority]
    for column in sorted(
        (column for column in columns if column.priority), key=lambda column: column.priority
    ):
        wider = [other for other in columns if other in chosen or other is column]
        if sum(other.width for other in wider) + GAP * (len(wider) - 1) > width:
            break
        chosen = wider
    spare = width - _minimum(chosen)
    wanted = sum(column.width - column.minimum for column in chosen)
    given = [max(min(spare, wanted), 0) * (c.width - c.minimum) // max(wanted, 1) for c in chosen]
    widths = [column.minimum + more for column, more in zip(chosen, given, strict=True)]
    spare -= sum(given)
    weights = sum(column.weight for column in chosen)
    if spare > 0 and weights:
        shares = [spare * column.weight // weights for column in chosen]
        shares[max(range(len(chosen)), key=lambda index: chosen[index].weight)] += spare - sum(shares)
        widths = [own + share for own, share in zip(widths, shares, strict=True)]
    placed, left = [], 0
    for column, own in zip(chosen, widths, strict=True):
        placed.append(Placed(column, left, own))
        left += own + GAP
    return tuple(placed)


def _minimum(columns: Sequence[Column[Row]]) -> int:
    return sum(column.minimum for column in columns) + GAP * max(len(columns) - 1, 0)
