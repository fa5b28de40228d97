"""Tours of the screens at a mark: what a live watch that is scrolled back shows, and what a replay of its recording shows."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from csitrace.tui.hints import DEMO_HINTS
from tests.terminal import Terminal

_SOURCES, _TIMELINE = 1, slice(2, 4)
_LAST_KEY = "q quit"
_HELD = "‖"
_MOST_TAKES = 6
_PANES = {"2": "Steps", "3": "Witnesses", "4": "FUSE", "5": "Events"}

_OVERVIEWS = (("N", "node", "LEASE", "REGISTERED"), ("D", "driver", "LEADERS", " leads "))
"""The key of a list, what it is of, and a word that is only on it, and only on the page of one of them."""


@dataclass(frozen=True, slots=True)
class _View:
    """How one comes to it from the view before, and a word by which it is known."""

    name: str
    word: str
    keys: tuple[str, ...]


_VOLUMES, _FIRST_PANE = "  CLAIM", "[1 Why]"


def _of_volumes(rows: int) -> Iterator[_View]:
    """With how many volumes, from the top of the list, to look into."""
    volumes, first_pane = _VOLUMES, _FIRST_PANE
    yield _View("volumes", volumes, ("V", "g"))
    for row in range(rows):
        yield _View(f"volume {row}", first_pane, ("j",) * row + ("Enter",))
        for key, pane in _PANES.items():
            yield _View(f"volume {row}: {pane}", f"[{key} {pane}]", (key,))
        yield _View(f"volume {row} again", first_pane, ("1",))
        yield _View(f"volumes after {row}", volumes, ("V", "g"))
    for key, kind, of_all, of_one in _OVERVIEWS:
        yield _View(f"{kind}s", of_all, (key, "g"))
        yield _View(kind, of_one, ("Enter",))
    yield _View("volumes at the end", volumes, ("V", "g"))


Tour = tuple[_View, ...]
"""It begins with the list of volumes, from wherever one is."""

WHOLE: Tour = tuple(_of_volumes(3))
"""Volumes, some of them pane by pane, nodes and drivers."""

ONE_OF_EACH: Tour = tuple(_of_volumes(1))
"""The same with one volume pane by pane: each kind of view there is, for where time counts."""

BRIEF: Tour = (_View("volumes", _VOLUMES, ("V", "g")), _View("volume", _FIRST_PANE, ("Enter",)))
"""Volumes, and the first of them, on whose page are its steps and witnesses, too, when it is as wide as here."""

Pictures = dict[str, list[str]]


def mark(terminal: Terminal, name: str) -> None:
    """Set a mark, on the list of volumes of a live watch."""
    _answer(terminal, "m", "Mark this moment", name)
    terminal.until(f"that {name} is marked", lambda screen: _has(screen, f"Marked: {name}."))


def hold_at(terminal: Terminal, name: str) -> None:
    """Go to a mark of a live watch or of a replay."""
    _answer(terminal, "@", "Go to", name)
    terminal.until("that it holds", lambda screen: _HELD in screen[0])
    terminal.until("no word of marks any more", lambda screen: not _has(screen, "Marked:"))


def _answer(terminal: Terminal, key: str, asks: str, answer: str) -> None:
    terminal.press(key)
    terminal.until("what asks for a name", lambda screen: _has(screen, asks))
    terminal.write(answer)
    terminal.press("Enter")
    terminal.until("that it is taken", lambda screen: not _has(screen, asks))


def pictures(terminal: Terminal, tour: Tour) -> Pictures:
    """The views of a tour, as they are at the moment that the terminal holds: each the same twice in a row, since a busy machine
    can rest between two parts of a page."""
    found: Pictures = {}
    before: Pictures = {}
    for _ in range(_MOST_TAKES):
        taken = dict(_take(terminal, tour))
        found |= {name: picture for name, picture in taken.items() if picture == before.get(name)}
        if len(found) == len(tour):
            return found
        before = taken
    raise AssertionError(f"{_MOST_TAKES} tours, and never the same twice: {before.keys() - found.keys()}")


def _take(terminal: Terminal, tour: Tour) -> Iterator[tuple[str, list[str]]]:
    for view in tour:
        terminal.press(*view.keys)
        terminal.until(f"{view.word!r} for {view.name}", lambda screen, word=view.word: _has(screen, word))  # type: ignore[misc]
        yield view.name, terminal.at_rest(_body)


def expect(terminal: Terminal, tour: Tour, expected: Pictures) -> None:
    """The same way again: AssertionError with the difference where a picture is not, and does not become, the one expected."""
    for view in tour:
        terminal.press(*view.keys)
        right, shown = expected[view.name], []

        def is_shown(screen: list[str], right: list[str] = right, shown: list[str] = shown) -> bool:
            shown[:] = _body(screen)
            return shown == right

        try:
            terminal.until(view.name, is_shown)
        except AssertionError:
            difference = difflib.unified_diff(right, shown, "expected", "shown", n=0, lineterm="")
            raise AssertionError("\n".join([view.name, *difference])) from None


def _has(screen: list[str], *words: str) -> bool:
    return any(word in line for line in screen for word in words)


def _body(screen: list[str]) -> list[str]:
    """Without what tells a live watch from a replay: title and time line, which tell of what came after, too, and keys."""
    lines = [screen[_SOURCES], *screen[_TIMELINE.stop :]]
    return [
        line
        for line in lines
        if line and not line.endswith(_LAST_KEY) and line.strip() not in DEMO_HINTS.values()
    ]
