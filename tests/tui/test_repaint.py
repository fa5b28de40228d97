"""What a change costs and what it leaves alone: repaints, drawn lines, the cursor, the size."""

import asyncio
from dataclasses import replace

import pytest
from textual.message_pump import MessagePump

from csitrace.lifecycle.views import Severity
from csitrace.model.times import SECOND
from csitrace.tui.frames import FRAME_SECONDS, Frames
from csitrace.tui.table import Table
from csitrace.tui.volumes import VolumesScreen
from tests.tui.conftest import Run, screen_text, settle
from tests.tui.synthetic import NOW, Synthetic, row


def table_of(app: object) -> Table:  # type: ignore[type-arg]  # of any rows
    screen = app.screen  # type: ignore[attr-defined]  # an App
    assert isinstance(screen, VolumesScreen)
    return screen.table


def many(count: int) -> list:  # type: ignore[type-arg]  # of rows
    return [row(f"ns/volume-{index:05}") for index in range(count)]


class Loop:
    """A loop's timer and clock, turned by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[float, object]] = []

    def later(self, seconds: float, callback: object) -> None:
        self.due.append((self.now + seconds, callback))

    def turn(self) -> None:
        at, callback = self.due.pop(0)
        self.now = max(self.now, at)
        callback()  # type: ignore[operator]  # what was given to `later`


def test_a_burst_is_one_repaint_and_the_next_one_waits_a_frame() -> None:
    """A thousand requests are painted once, at once; what comes within a frame's time is painted at its end."""
    loop, painted = Loop(), []
    frames = Frames(lambda: painted.append(loop.now), loop.later, lambda: loop.now)
    for _ in range(1000):
        frames.request()
    loop.turn()
    assert painted == [100.0]
    for _ in range(1000):
        frames.request()
    loop.turn()
    assert painted == [100.0, 100.0 + FRAME_SECONDS]
    assert loop.due == []


async def test_a_change_is_painted_however_busy_the_machine_is(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single beat of a Textual timer is left out when it is past by the time the timer begins: no repaint hangs on one."""
    watched = Synthetic(rows=many(3))
    async with run(watched) as (app, pilot):
        monkeypatch.setattr(MessagePump, "set_timer", lambda *arguments, **options: None)
        for painted in range(app.frames.painted + 1, app.frames.painted + 4):
            watched.rows = many(painted)
            watched.changed()
            async with asyncio.timeout(30):
                await settle(pilot, app)
            assert app.frames.painted >= painted


async def test_a_burst_of_changes_costs_one_repaint_of_what_changed(run: Run) -> None:
    """A thousand changes in one turn of the loop: one frame, and only the visible lines that changed are drawn."""
    watched = Synthetic(rows=many(10_000))
    async with run(watched) as (app, pilot):
        table = table_of(app)
        frames, drawn = app.frames.painted, table.lines_drawn
        rows = list(watched.rows)
        for index in (3, *range(5_000, 6_000)):
            rows[index] = replace(rows[index], step_title="other")
            watched.rows = rows
            watched.changed()
        await settle(pilot, app)
        assert app.frames.painted == frames + 1
        assert table.lines_drawn == drawn + 1
        assert "other" in screen_text(app)


async def test_what_cannot_be_seen_is_never_drawn(run: Run) -> None:
    """Of 10,000 rows, opening draws a screenful."""
    async with run(Synthetic(rows=many(10_000))) as (app, _):
        assert table_of(app).lines_drawn < 100


async def test_time_passing_redraws_the_time_column_only(run: Run) -> None:
    """A second later FOR shows a second more, without the rows being made anew."""
    watched = Synthetic(rows=[row("ml/cache", Severity.MOVING, since=NOW - 38 * SECOND)])
    async with run(watched) as (app, pilot):
        assert "38s" in screen_text(app)
        table = table_of(app)
        before = table.rows
        table.tick(NOW + SECOND)
        await pilot.pause()
        assert "39s" in screen_text(app)
        assert table.rows is before


async def test_cursor_stays_on_its_volume_when_the_order_changes(run: Run) -> None:
    """Once moved, the cursor follows its volume by key, wherever it goes; before, it rests on the top line."""
    watched = Synthetic(rows=[row(f"ns/{name}") for name in "abcdef"])
    async with run(watched) as (app, pilot):
        table = table_of(app)
        watched.rows = [*watched.rows, row("ns/z", Severity.STUCK)]
        watched.changed()
        await settle(pilot, app)
        assert table.row.name == "z"
        await pilot.press("j", "j")
        assert table.row.name == "b"
        watched.rows = [*watched.rows, row("ns/y", Severity.STUCK), row("ns/aa")]
        watched.changed()
        await settle(pilot, app)
        assert (table.row.name, table.cursor) == ("b", 4)


async def test_cursor_survives_its_volume(run: Run) -> None:
    """When the volume under the cursor goes, the cursor stays at its place, and never outside the list."""
    watched = Synthetic(rows=[row(f"ns/{name}") for name in "abc"])
    async with run(watched) as (app, pilot):
        await pilot.press("G")
        for left in (2, 1, 0):
            watched.rows = watched.rows[:left]
            watched.changed()
            await settle(pilot, app)
            assert table_of(app).cursor == max(left - 1, 0)
        assert "No CSI volumes yet" in screen_text(app)


async def test_cursor_stays_visible_through_scrolling_and_resizing(run: Run) -> None:
    """The line under the cursor is on the screen after a jump to the end and after the terminal got smaller."""
    async with run(Synthetic(rows=many(1_000)), (140, 40)) as (app, pilot):
        await pilot.press("G")
        assert "volume-00999" in screen_text(app)
        await pilot.press("pageup", "k")
        await pilot.resize_terminal(80, 24)
        await settle(pilot, app)
        current = table_of(app).row
        assert current.display_name in screen_text(app)


async def test_resize_changes_which_columns_there_are(run: Run) -> None:
    """Driver, node and pod come with room; claim, phases, step, time and finding are always there."""
    async with run(Synthetic(), (140, 40)) as (app, pilot):
        assert all(title in screen_text(app) for title in ("DRIVER", "NODE", "POD", "FINDING"))
        await pilot.resize_terminal(80, 24)
        await settle(pilot, app)
        text = screen_text(app)
        assert all(title in text for title in ("CLAIM", "C N V P", "STEP", "FOR", "FINDING"))
        assert "DRIVER" not in text
        await pilot.resize_terminal(50, 24)
        await settle(pilot, app)
        assert "too small" in screen_text(app)


async def test_text_from_the_cluster_cannot_steer_the_terminal(run: Run) -> None:
    """Escape sequences and bidirectional marks in a message are blanked before they reach the screen."""
    evil = "\x1b]52;c;ZXZpbA==\x07 \x1b[2J \u202etxet"
    async with run(Synthetic(rows=[row("ns/a", Severity.STUCK, evil)]), (140, 40)) as (app, _):
        text = screen_text(app)
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
        assert "txet" in text
