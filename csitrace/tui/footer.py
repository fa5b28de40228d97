"""The last line: the keys that matter here, from the key table; each can be clicked."""

from textual import events

from csitrace.engine.session import LIVE, PAUSED
from csitrace.tui.block import Block
from csitrace.tui.keys import Key, Scope, keys_of
from csitrace.tui.lines import Line, Span, Tone, line


class Footer(Block):
    """Keys of a scope and of everywhere; other ones while the past is shown, for then one steps. `mode`, `playing`: the
    playhead's."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(self._lines_of_keys, id="footer")
        self._keys = list(keys_of(scope, Scope.EVERYWHERE))
        self.mode, self.playing = LIVE, False

    def _words(self) -> list[tuple[Key, str]]:
        """What fits: keys that may be left out come in by their rank, as long as there is room."""
        words = [(key, word) for key in self._keys if (word := _word(key, self.mode, self.playing))]
        shown = [key for key, _ in words if not key.spare]
        for key, _ in sorted(words, key=lambda each: each[0].spare):
            wider = [(other, word) for other, word in words if other in shown or other is key]
            if key.spare and _width(wider) <= self.size.width:
                shown.append(key)
        return [(key, word) for key, word in words if key in shown]

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


def _word(key: Key, mode: str, playing: bool) -> str:
    if mode == LIVE:
        return key.label
    if playing and key.playing:
        return key.playing
    return key.held if mode == PAUSED else key.replay or key.held


def _width(words: list[tuple[Key, str]]) -> int:
    return sum(len(key.shown) + len(word) + 3 for key, word in words) - 1
