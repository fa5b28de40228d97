"""What the screens look like, at both sizes they are made for: compared with pictures that were looked at and accepted.

`pytest tests/tui --snapshot-update` takes new ones; look at each before keeping it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from csitrace.model.events import Witness
from csitrace.tui.app import CsitraceApp
from csitrace.tui.watched import Watched
from tests.story import Story
from tests.tui.sessions import busy_fuse, gone, hung_fuse, refused_attach, session, silent_kernel
from tests.tui.synthetic import WITNESSES, Synthetic

SMALL, LARGE = (80, 24), (140, 40)
Compare = Callable[..., bool]


def pressing(*keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    async def press(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, CsitraceApp)
        for field in app.screen.query(Input):
            field.cursor_blink = False
        await pilot.pause()
        for key in keys:
            await pilot.press(key)
            await pilot.pause()

    return press


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_list(snap_compare: Compare, size: tuple[int, int]) -> None:
    """Worst first; claim, phases, step, time and finding always there, the rest where there is room."""
    assert snap_compare(CsitraceApp(Synthetic()), terminal_size=size, run_before=pressing("j"))


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(
    ("story", "pane"),
    [
        (refused_attach, "1"),
        (refused_attach, "2"),
        (silent_kernel, "3"),
        (hung_fuse, "4"),
        (refused_attach, "5"),
    ],
    ids=["why", "steps", "witnesses", "fuse", "events"],
)
def test_volume(snap_compare: Compare, size: tuple[int, int], story: Callable[[], Story], pane: str) -> None:
    """Each pane of one volume: a refused attach, silent witnesses, a hung daemon."""
    app = CsitraceApp(session(story(), later=4))
    assert snap_compare(app, terminal_size=size, run_before=pressing("enter", pane))


def test_way_back_of_a_volume_that_is_gone(snap_compare: Compare) -> None:
    """A volume that went while it was open: its last facts, and that they are the last."""
    app = CsitraceApp(session(gone(), later=4))
    assert snap_compare(app, terminal_size=LARGE, run_before=pressing("enter", "b"))


NOT_HEARD = tuple(
    replace(view, up=0, problems=("PersistentVolumeClaim: may not list persistentvolumeclaims",))
    if view.witness is Witness.KUBERNETES
    else replace(view, up=0, total=0, problems=())
    for view in WITNESSES
)
EMPTY: dict[str, tuple[Watched, tuple[str, ...]]] = {
    "nothing-yet": (Synthetic(rows=(), other_volumes=3), ()),
    "not-allowed": (Synthetic(rows=(), witnesses=NOT_HEARD), ()),
    "all-filtered": (Synthetic(), ("slash", *"nobody", "enter")),
    "stale": (Synthetic(witnesses=NOT_HEARD), ()),
    "wrong-filter": (Synthetic(), ("slash", *"orders", "space", *"drivr", "colon", *"ebs")),
    "paused": (Synthetic(), ("space",)),
    "help": (Synthetic(), ("question_mark",)),
}


@pytest.mark.parametrize("name", list(EMPTY))
def test_special_states(snap_compare: Compare, name: str) -> None:
    """What is said where there is nothing to show, where it is not live, and where it is explained."""
    watched, keys = EMPTY[name]
    assert snap_compare(CsitraceApp(watched), terminal_size=SMALL, run_before=pressing(*keys))


def test_too_small(snap_compare: Compare) -> None:
    """A terminal that nothing fits in is told so, with the size that is needed."""
    assert snap_compare(CsitraceApp(Synthetic()), terminal_size=(40, 10), run_before=pressing())


def test_fuse_in_use(snap_compare: Compare) -> None:
    """Operations by kind with their rates, latencies and errors."""
    app = CsitraceApp(session(busy_fuse(), later=0.5))
    assert snap_compare(app, terminal_size=SMALL, run_before=pressing("enter", "4"))
