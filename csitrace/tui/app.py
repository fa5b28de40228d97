"""The watch screen as a program: a session in, screens out."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.command import Provider
from textual.screen import ModalScreen, Screen

from csitrace.engine.moments import EXAMPLES
from csitrace.engine.session import LIVE
from csitrace.errors import CsitraceError
from csitrace.lifecycle.filter import parse_volume_filter
from csitrace.tui.driver import DriverScreen
from csitrace.tui.drivers import DriversScreen
from csitrace.tui.frames import FRAME_SECONDS, Frames, later
from csitrace.tui.help import HelpScreen
from csitrace.tui.keys import Scope, bindings
from csitrace.tui.node import NodeScreen
from csitrace.tui.nodes import NodesScreen
from csitrace.tui.palette import KeyCommands
from csitrace.tui.places import Place, Wanted
from csitrace.tui.prompt import Prompt
from csitrace.tui.recording import RecordingControl
from csitrace.tui.screen import WatchScreen
from csitrace.tui.timebar import TimeBar
from csitrace.tui.volume import VolumeScreen
from csitrace.tui.volumes import VolumesScreen
from csitrace.tui.watched import Watched

TICK_SECONDS = 1.0

_SCREENS: dict[Place, Callable[[Watched, str], WatchScreen]] = {
    Place.VOLUME: VolumeScreen,
    Place.DRIVER: DriverScreen,
    Place.NODE: NodeScreen,
    Place.VOLUMES: lambda watched, text: VolumesScreen(watched, parse_volume_filter(text)),
}
_LISTS: dict[str, Callable[[Watched], WatchScreen]] = {"drivers": DriversScreen, "nodes": NodesScreen}


class CsitraceApp(App[None]):
    """Draws `watched` until the user leaves.

    `take_in` brings the facts in and is run as long as the screen is open. `filter_text` is the list's first filter;
    `FilterError` when it is wrong. `hint`: what to look at, said over the list of volumes. `failure` is why the program ended,
    when it was not the user's wish.
    """

    TITLE = "csitrace"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    BINDINGS = bindings(Scope.EVERYWHERE)
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = App.COMMANDS | {KeyCommands}

    def __init__(
        self,
        watched: Watched,
        take_in: Callable[[], Awaitable[None]] | None = None,
        filter_text: str = "",
        hint: str = "",
    ) -> None:
        super().__init__()
        self.watched = watched
        self._take_in = take_in
        self.failure: CsitraceError | None = None
        self.frames = Frames(self._paint, partial(later, self), monotonic)
        self._first_filter = parse_volume_filter(filter_text)
        self._hint = hint
        self._followed = True

    def get_default_screen(self) -> Screen[None]:
        return VolumesScreen(self.watched, self._first_filter, self._hint)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield SystemCommand("Theme", "Choose the colours", self.action_change_theme)

    def on_mount(self) -> None:
        self.watched.on_change(self.frames.request)
        self.set_interval(TICK_SECONDS, self._tick)
        self.set_interval(FRAME_SECONDS, self.watched.advance)
        if self._take_in is not None:
            self.run_worker(self._take_in_facts(self._take_in))

    async def _take_in_facts(self, take_in: Callable[[], Awaitable[None]]) -> None:
        try:
            await take_in()
        except CsitraceError as error:
            self.failure = error
            self.exit(return_code=error.exit_code)

    def _paint(self) -> None:
        if (screen := self._shown_screen()) is not None:
            overview = self.watched.overview()
            screen.show(overview)
            follows = overview.playhead.mode == LIVE
            jumps, self._followed = not (follows and self._followed), follows
            if jumps:  # in time, and what shows it does not wait for the next tick
                screen.tick(overview.now)

    def _tick(self) -> None:
        if (screen := self._shown_screen()) is not None:
            screen.tick(self.watched.now)
        self.frames.request()

    def _shown_screen(self) -> WatchScreen | None:
        """The screen on top, if it is one of ours and has its widgets: not before it is mounted, nor while the app ends."""
        screen = self.screen_stack[-1] if self.screen_stack and self.is_running else None
        return screen if isinstance(screen, WatchScreen) and screen.is_mounted else None

    def action_pause(self) -> None:
        playhead = self.watched.playhead
        if playhead.mode == LIVE or playhead.playing:
            self.watched.pause()
        elif playhead.recorded:
            self.watched.play()
        else:
            self.watched.follow()
        self.frames.request()

    def action_step(self, count: int) -> None:
        self.watched.step(count)
        self.frames.request()

    def action_change(self, direction: int) -> None:
        key = self.screen.key if isinstance(self.screen, VolumeScreen) else ""
        if not self.watched.jump_change(direction, key):
            self._say("No further change of a stage." if direction > 0 else "No earlier change of a stage.")
        self.frames.request()

    def action_speed(self, direction: int) -> None:
        playhead = self.watched.playhead
        if playhead.mode == LIVE:
            self._say("This is live. Go back first, e.g. with {, then > plays what was.")
        elif playhead.recorded or playhead.playing:
            self.watched.change_speed(direction)
        else:
            self.watched.play()
        self.frames.request()

    def action_end(self, direction: int) -> None:
        if direction < 0:
            self.watched.go_to_begin()
        else:
            self.watched.follow()
        self.frames.request()

    def action_jump_mark(self, direction: int) -> None:
        text = self.watched.jump_mark(direction)
        if text is None:
            self._say("No further mark." if direction > 0 else "No earlier mark.")
        else:
            self._say(f"Mark: {text or '(without a name)'}")
        self.frames.request()

    def action_go_to(self) -> None:
        self._ask("Go to", EXAMPLES, self._go_to)

    def _go_to(self, text: str) -> None:
        if text and not self.watched.go_to(text):
            self._say(f"{text}: no time and no mark. E.g. {EXAMPLES}.")
        self.frames.request()

    def on_time_bar_sought(self, message: TimeBar.Sought) -> None:
        self.watched.seek_time(message.at)
        self.frames.request()

    def action_mark(self) -> None:
        if self.watched.playhead.recorded:
            self._say("Nothing is added to a recording: marks are set while it is made.")
            return
        self._ask("Mark this moment as", "a name, e.g. pod deleted", self._mark)

    def _mark(self, text: str) -> None:
        self.watched.mark(text)
        held = self.watched.playhead.mode != LIVE
        self._say(f"Marked{f': {text}' if text else ''}{', now, not at the moment shown' if held else ''}.")

    def action_record(self) -> None:
        recorder = self.watched.recorder
        if recorder is None:
            recorded = self.watched.playhead.recorded
            self._say("This is a recording already." if recorded else "Nothing here can record.")
        else:
            self.run_worker(self._turn_recording(recorder), group="recording", exclusive=False)

    async def _turn_recording(self, recorder: RecordingControl) -> None:
        was_on = recorder.status.is_on
        try:
            await (recorder.stop() if was_on else recorder.start())
        except CsitraceError as error:
            self.notify(str(error), severity="error", markup=False)
        else:
            status = recorder.status
            self._say(
                f"Recorded {status.events:,} facts: {status.path}"
                if was_on
                else f"Recording to {status.path}"
            )
        self.frames.request()

    def _ask(self, question: str, example: str, take: Callable[[str], None]) -> None:
        if (screen := self._shown_screen()) is not None:
            screen.query_one(Prompt).ask(question, example, take)

    def _say(self, text: str) -> None:
        self.clear_notifications()
        self.notify(text, markup=False)

    def on_wanted(self, wanted: Wanted) -> None:
        """Go where the user wants, on top of where they are: Esc leads back."""
        if not wanted.name:
            self._say("There is none.")
            return
        self.push_screen(_SCREENS[wanted.place](self.watched, wanted.name))

    def action_list(self, name: str) -> None:
        """One of the three lists, with nothing below it but the list of volumes."""
        if isinstance(self.screen, ModalScreen):
            return
        while len(self.screen_stack) > 1:
            self.pop_screen()
        if name in _LISTS:
            self.push_screen(_LISTS[name](self.watched))

    def action_help(self) -> None:
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen())
