"""What all screens share: header, time bar and footer, the same calls from the app, and a word when the terminal is too small."""

from textual.app import ComposeResult
from textual.screen import Screen

from csitrace.engine.session import LIVE
from csitrace.tui.block import Block
from csitrace.tui.footer import Footer
from csitrace.tui.header import header_lines
from csitrace.tui.keys import Scope
from csitrace.tui.lines import Line, Tone, line
from csitrace.tui.prompt import Prompt
from csitrace.tui.timebar import TimeBar
from csitrace.tui.watched import Overview, Watched

MIN_WIDTH, MIN_HEIGHT = 60, 14


class WatchScreen(Screen[None]):
    """A screen over a session. The app calls `show` when something changed and `tick` once a second."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (MIN_WIDTH, "-usable"), (110, "-wide")]  # noqa: RUF012  # as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-short"), (MIN_HEIGHT, "-enough"), (32, "-tall")]  # noqa: RUF012

    def __init__(self, watched: Watched, scope: Scope) -> None:
        super().__init__()
        self.watched = watched
        self.scope = scope

    def compose(self) -> ComposeResult:
        yield Block(id="header")
        yield TimeBar(self.watched)
        yield from self.compose_body()
        yield Prompt()
        yield Footer(self.scope)
        yield Block(lambda now, width: _too_small(self.size.width, self.size.height), id="too-small")

    def compose_body(self) -> ComposeResult:
        """The widgets between header and footer."""
        raise NotImplementedError

    def show(self, overview: Overview) -> None:
        """Draw this moment."""
        self.query_one("#header", Block).show(
            lambda now, width: header_lines(overview, now, width), overview.now
        )
        footer = self.query_one(Footer)
        footer.mode, footer.playing = overview.playhead.mode, overview.playhead.playing
        footer.tick(overview.now)
        bar = self.query_one(TimeBar)
        bar.display = overview.playhead.mode != LIVE
        bar.tick(overview.now)

    def on_screen_resume(self) -> None:
        overview = self.watched.overview()
        self.show(overview)
        self.tick(overview.now)  # meanwhile the time went on, or back

    def copy(self, command: str) -> None:
        """Put a command on the clipboard of the user's terminal (OSC 52: over SSH, too)."""
        if not command:
            self.notify("There is no command to run for this volume.")
            return
        self.app.copy_to_clipboard(command)
        self.app.clear_notifications()
        self.notify(f"Copied: {command}", markup=False)

    def tick(self, now: int) -> None:
        """Time went on, nothing else changed."""
        self.query_one("#header", Block).tick(now)


def _too_small(width: int, height: int) -> list[Line]:
    return [
        line(("The terminal is too small", Tone.STRONG)),
        line(f"It has {width}x{height}; {MIN_WIDTH}x{MIN_HEIGHT} is the least."),
        line("q leaves."),
    ]
