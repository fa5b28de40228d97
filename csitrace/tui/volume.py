"""One volume."""

from csitrace.tui.keys import Scope, bindings
from csitrace.tui.screen import WatchScreen
from csitrace.tui.watched import Watched


class VolumeScreen(WatchScreen):
    BINDINGS = bindings(Scope.VOLUME)

    def __init__(self, watched: Watched, key: str) -> None:
        super().__init__(watched, Scope.VOLUME)
        self.key = key

    def action_back(self) -> None:
        self.app.pop_screen()
