"""The list of volumes beside a DataTable: time to the first picture, and CPU while rows change.

    python -m benchmarks.table [--rows N] [--seconds S]

Both hold the same rows and columns on a 140x40 terminal without output and take 1,000 changed rows a second in batches of
1/100 s, anywhere in the list or all of them among the visible ones. Ours is the whole screen with header, sort and verdict; the
DataTable is bare and told of changed cells only. Read the ratios, which are of one run.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import replace

from textual.app import App, ComposeResult
from textual.widgets import DataTable

from csitrace.lifecycle.views import VolumeRow
from csitrace.tui.app import CsitraceApp
from csitrace.tui.lines import text_of
from csitrace.tui.rows import COLUMNS
from csitrace.tui.watched import Overview
from tests.tui.synthetic import NOW, Synthetic, row

SIZE = (140, 40)
BATCHES_A_SECOND = 100
CHANGES_A_SECOND = 1_000
VISIBLE = 30
STEP = next(index for index, column in enumerate(COLUMNS) if column.title == "STEP")


def cells(each: VolumeRow) -> list[str]:
    return [text_of(column.cell(each, NOW, 30)) for column in COLUMNS]


class PlainTable(App[None]):
    """The rows in Textual's own table."""

    def __init__(self, rows: list[VolumeRow]) -> None:
        super().__init__()
        self._rows = rows

    def compose(self) -> ComposeResult:
        yield DataTable()

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        self.columns = table.add_columns(*(column.title for column in COLUMNS))
        for each in self._rows:
            table.add_row(*cells(each), key=each.key)

    def change(self, rows: list[VolumeRow], indexes: list[int]) -> None:
        table = self.query_one(DataTable)
        for index in indexes:
            table.update_cell(rows[index].key, self.columns[STEP], cells(rows[index])[STEP])


class Live(Synthetic):
    """Hands out the rows as they are when asked, as a session does: once per repaint."""

    latest: list[VolumeRow]

    def overview(self) -> Overview:
        self.rows = list(self.latest)
        return super().overview()


class Ours:
    """The rows on the list screen."""

    def __init__(self, rows: list[VolumeRow]) -> None:
        self.watched = Live()
        self.watched.latest = rows
        self.app = CsitraceApp(self.watched)

    def change(self, rows: list[VolumeRow], indexes: list[int]) -> None:
        self.watched.latest = rows
        self.watched.changed()


async def measure(
    app: App[None],
    change: Callable[[list[VolumeRow], list[int]], None],
    rows: list[VolumeRow],
    reach: int,
    seconds: float,
) -> tuple[float, float]:
    """(seconds to the first picture, CPU seconds per second while `reach` of the rows change)."""
    rows = list(rows)
    chance = random.Random(7)
    began = time.perf_counter()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        first = time.perf_counter() - began
        started, cpu = time.perf_counter(), time.process_time()
        batches = int(seconds * BATCHES_A_SECOND)
        for batch in range(batches):
            indexes = [chance.randrange(reach) for _ in range(CHANGES_A_SECOND // BATCHES_A_SECOND)]
            for index in indexes:
                rows[index] = replace(rows[index], step_title=f"step {batch}")
            change(rows, indexes)
            await asyncio.sleep(max(0.0, started + (batch + 1) / BATCHES_A_SECOND - time.perf_counter()))
        await pilot.pause()
        spent = time.process_time() - cpu
        return first, spent / (time.perf_counter() - started)


async def cost_of_changing(rows: list[VolumeRow], reach: int, seconds: float) -> float:
    """What the benchmark itself spends on making changed rows, which is not the table's cost."""

    class Idle(App[None]):
        pass

    _, load = await measure(Idle(), lambda rows, indexes: None, rows, reach, seconds)
    return load


async def main(count: int, seconds: float) -> None:
    rows = [row(f"ns-{index % 50}/volume-{index:06}") for index in range(count)]
    print(f"{count:,} rows, {CHANGES_A_SECOND:,} changes/s for {seconds:g} s, {SIZE[0]}x{SIZE[1]}")
    for name, reach in (("anywhere", count), ("all visible", VISIBLE)):
        own = await cost_of_changing(rows, reach, min(seconds, 2.0))
        plain = PlainTable(rows)
        plain_first, plain_load = await measure(plain, plain.change, rows, reach, seconds)
        ours = Ours(rows)
        ours_first, ours_load = await measure(ours.app, ours.change, rows, reach, seconds)
        plain_load, ours_load = max(plain_load - own, 1e-4), max(ours_load - own, 1e-4)
        print(f"changes {name}")
        report("CPU", plain_load, ours_load, "{:.1%}")
        report("first picture", plain_first, ours_first, "{:.2f} s")


def report(what: str, plain: float, ours: float, form: str) -> None:
    print(
        f"  {what:<14} DataTable {form.format(plain):>8}   ours {form.format(ours):>8}   ratio {plain / ours:5.1f}x"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.rows, arguments.seconds))
