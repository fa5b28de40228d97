"""Screens in tests: fixed sizes, no animation, no blinking cursor."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from textual.pilot import Pilot

from csitrace.tui.app import CsitraceApp
from csitrace.tui.watched import Watched

Run = Callable[..., AbstractAsyncContextManager[tuple[CsitraceApp, Pilot[None]]]]


async def settle(pilot: Pilot[None], app: CsitraceApp) -> None:
    """Wait until every change that was asked for is painted: no timer is pending, no message unhandled."""
    await pilot.pause()
    while app.frames.pending:
        await pilot.pause(0.01)
    await pilot.pause()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Open the screens on something watched: `async with run(watched, size) as (app, pilot)`. No second passes by itself."""
    monkeypatch.setattr("csitrace.tui.app.TICK_SECONDS", 3600.0)

    @asynccontextmanager
    async def opened(
        watched: Watched, size: tuple[int, int] = (80, 24), filter_text: str = ""
    ) -> AsyncIterator[tuple[CsitraceApp, Pilot[None]]]:
        app = CsitraceApp(watched, filter_text=filter_text)
        async with app.run_test(size=size) as pilot:
            await settle(pilot, app)
            yield app, pilot

    return opened


def screen_text(app: CsitraceApp) -> str:
    """What the terminal shows, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)
