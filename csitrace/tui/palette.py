"""The command palette: every key of the key table by its meaning."""

from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider

from csitrace.tui.keys import Key, Scope, keys_of
from csitrace.tui.screen import WatchScreen


class KeyCommands(Provider):
    """What the keys of the current screen do, found by name."""

    def _keys(self) -> list[Key]:
        scope = self.screen.scope if isinstance(self.screen, WatchScreen) else Scope.EVERYWHERE
        return [key for key in keys_of(scope, Scope.EVERYWHERE) if key.action != "command_palette"]

    def _press(self, key: Key) -> None:
        self.app.simulate_key(key.keys.partition(",")[0])

    async def discover(self) -> Hits:
        for key in self._keys():
            yield DiscoveryHit(_title(key), partial(self._press, key), help=f"key: {key.shown}")

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for key in self._keys():
            if (score := matcher.match(_title(key))) > 0:
                yield Hit(
                    score, matcher.highlight(_title(key)), partial(self._press, key), help=f"key: {key.shown}"
                )


def _title(key: Key) -> str:
    return key.meaning[0].upper() + key.meaning[1:]
