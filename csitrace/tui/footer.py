"""The last line: the keys that matter here, from the key table; each can be clicked."""

from textual import events

from csitrace.tui.block import Block
from csitrace.tui.keys import Key, Scope, keys_of
from csitrace.tui.lines import Line, Span, Tone, line


class Footer(Block):
    """Keys of a scope and of everywhere; other ones while the playhead is held, for then one steps."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(self._lines_of_keys, id="footer")
        self._keys = list(keys_of(scope, Scope.EVERYWHERE))
        self.held = False

    def _words(self) -> list[tuple[Key, str]]:
        words = ((key, key.held if self.held else key.label) for key in self._keys)
        return [(key, word) for key, word in words if word]

    def _lines_of_keys(self, now: int, width: int) -> list[Line]:
        spans: list[Span] = []
        for key, word in self._words():
            spans += [("  " if spans else " ", Tone.PLAIN), (key.shown, Tone.STRONG), (f" {word}", Tone.DIM)]
        return [line(*spans)]

    async def _on_click(self, event: events.Click) -> None:
        left = 1
        for key, word in self._words():
            right = left + len(key.shown) + len(word) + 3
            if left <= event.x < right:
                self.app.simulate_key(key.keys.partition(",")[0])
            left = right
