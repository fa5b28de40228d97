"""The watch screen as a program: a session in, screens out."""

from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.command import Provider
from textual.screen import Screen

from csitrace.errors import CsitraceError
from csitrace.lifecycle.filter import parse_volume_filter
from csitrace.tui.frames import Frames
from csitrace.tui.help import HelpScreen
from csitrace.tui.keys import Scope, bindings
from csitrace.tui.palette import KeyCommands
from csitrace.tui.screen import WatchScreen
from csitrace.tui.volumes import VolumesScreen
from csitrace.tui.watched import Watched

TICK_SECONDS = 1.0


class CsitraceApp(App[None]):
    """Draws `watched` until the user leaves. `filter_text` is the list's first filter; raises `FilterError` when it is wrong.

    `failure` is why it ended, when it did not end by the user's wish.
    """

    TITLE = "csitrace"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    BINDINGS = bindings(Scope.EVERYWHERE)
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {KeyCommands}

    def __init__(self, watched: Watched, filter_text: str = "") -> None:
        super().__init__()
        self.watched = watched
        self.failure: CsitraceError | None = None
        self.frames = Frames(self._paint, self.set_timer, monotonic)
        self._first_filter = parse_volume_filter(filter_text)

    def get_default_screen(self) -> Screen[None]:
        return VolumesScreen(self.watched, self._first_filter)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield SystemCommand("Theme", "Choose the colours", self.action_change_theme)

    def on_mount(self) -> None:
        self.watched.on_change(self.frames.request)
        self.set_interval(TICK_SECONDS, self._tick)
        self.run_worker(self._take_in_facts(), exclusive=True)

    async def _take_in_facts(self) -> None:
        try:
            await self.watched.run()
        except CsitraceError as error:
            self.failure = error
            self.exit(return_code=error.exit_code)

    def _paint(self) -> None:
        for screen in self.screen_stack[-1:]:
            if isinstance(screen, WatchScreen):
                screen.show(self.watched.overview())

    def _tick(self) -> None:
        for screen in self.screen_stack[-1:]:
            if isinstance(screen, WatchScreen):
                screen.tick(self.watched.overview().now)

    def action_pause(self) -> None:
        if self.watched.playhead().mode == "LIVE":
            self.watched.pause()
        else:
            self.watched.follow()
        self.frames.request()

    def action_step(self, count: int) -> None:
        self.watched.step(count)
        self.frames.request()

    def action_change(self, direction: int) -> None:
        self.watched.jump_change(direction, getattr(self.screen, "key", None))
        self.frames.request()

    def action_mark(self) -> None:
        self.watched.mark("")
        self.notify("Marked.")

    def action_help(self) -> None:
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen())
