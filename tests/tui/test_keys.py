"""Keys and mouse: what each does, on synthetic and on real sessions."""

from pathlib import Path

import pytest

from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Severity
from csitrace.model import events
from csitrace.model.events import Witness
from csitrace.model.kinds import KINDS
from csitrace.tui.document import markdown
from csitrace.tui.driver import DriverScreen
from csitrace.tui.drivers import DriversScreen
from csitrace.tui.filterbar import FilterBar
from csitrace.tui.help import help_lines
from csitrace.tui.keys import KEYS, Scope, keys_of
from csitrace.tui.lines import text_of
from csitrace.tui.node import NodeScreen
from csitrace.tui.nodes import NodesScreen
from csitrace.tui.panes import EventsPane, StepsPane
from csitrace.tui.rows import ORDERS
from csitrace.tui.volume import VolumeScreen
from csitrace.tui.volumes import VolumesScreen
from tests.story import DRIVER, HANDLE, NODE, Story
from tests.tui.conftest import Run, screen_text, settle
from tests.tui.sessions import busy_fuse, gone, refused_attach, session
from tests.tui.synthetic import REFUSED, Synthetic


def volumes_screen(app: object) -> VolumesScreen:
    screen = app.screen  # type: ignore[attr-defined]  # an App
    assert isinstance(screen, VolumesScreen)
    return screen


async def test_worst_comes_first_and_sort_cycles_through_the_orders(run: Run) -> None:
    """The list opens with what is stuck on top; `s` goes through all orders and says which is used."""
    async with run(Synthetic()) as (app, pilot):
        table = volumes_screen(app).table
        assert table.rows[0].name == "orders-data"
        await pilot.press("s")
        shown = [(row.severity is Severity.GONE, row.display_name) for row in table.rows]
        assert shown == sorted(shown)
        await settle(pilot, app)
        assert "sorted by name" in screen_text(app)
        await pilot.press(*["s"] * (len(ORDERS) - 1))
        assert table.rows[0].name == "orders-data"


async def test_next_problem_visits_only_what_needs_attention(run: Run) -> None:
    """`n` goes round the stuck, slow and unknown volumes."""
    async with run(Synthetic()) as (app, pilot):
        table = volumes_screen(app).table
        visited = []
        for _ in range(3):
            await pilot.press("n")
            visited.append(table.row.name if table.row else "")
        assert visited == ["prometheus-db-prometheus-k8s-0", "archive", "orders-data"]


async def test_filter_takes_effect_while_typed_and_escape_takes_it_back(run: Run) -> None:
    """Typing narrows the list; Esc restores what was there; Enter keeps it; Esc on the list shows all again."""
    async with run(Synthetic()) as (app, pilot):
        screen = volumes_screen(app)
        await pilot.press("slash", *"ns:ml")
        assert {row.namespace for row in screen.table.rows} == {"ml"}
        await pilot.press("escape")
        assert len(screen.table.rows) == 8
        await pilot.press("slash", *"ns:ml", "enter")
        assert len(screen.table.rows) == 2
        assert screen.filter.text == "ns:ml"
        await pilot.press("escape")
        assert len(screen.table.rows) == 8


async def test_wrong_filter_leaves_the_view_as_it_was(run: Run) -> None:
    """A filter that cannot be read says why, cannot be kept by Enter, and shows what was shown before it."""
    async with run(Synthetic(), filter_text="ns:ml") as (app, pilot):
        screen = volumes_screen(app)
        await pilot.press("slash", *" and", "enter")
        await settle(pilot, app)
        assert screen.query_one(FilterBar).display
        assert "missing here" in screen_text(app)
        assert len(screen.table.rows) == 2


async def test_copy_sends_the_next_command_to_the_terminals_clipboard(run: Run) -> None:
    """`y` copies the command of the volume under the cursor."""
    async with run(Synthetic()) as (app, pilot):
        await pilot.press("y")
        assert app.clipboard == REFUSED.command


async def test_playhead_keys_move_the_session(run: Run) -> None:
    """Space pauses and follows; brackets step; braces jump, in a volume's screen within that volume; m marks with a name."""
    watched = Synthetic()
    async with run(watched) as (_, pilot):
        await pilot.press("space", "left_square_bracket", "right_square_bracket", "space", "m", "x", "enter")
        await pilot.press("left_curly_bracket", "enter", "right_curly_bracket")
    assert watched.asked == [
        ("pause",), ("step", -1), ("step", 1), ("follow",), ("mark", "x"),
        ("jump_change", -1, ""), ("jump_change", 1, "claim/shop/orders-data"),
    ]  # fmt: skip


async def test_stepping_back_shows_the_past_of_a_real_session(run: Run) -> None:
    """After `{` the volume stands at an earlier step, the header says PAUSED and how much is newer; Space returns."""
    watched = session(refused_attach())
    async with run(watched) as (app, pilot):
        await pilot.press("left_curly_bracket", "left_curly_bracket")
        await settle(pilot, app)
        assert "PAUSED" in screen_text(app)
        assert "newer" in screen_text(app)
        assert "Space follow  [ back  ] on" in screen_text(app)
        assert volumes_screen(app).table.rows[0].step_id != "13"
        await pilot.press("space")
        await settle(pilot, app)
        assert "LIVE" in screen_text(app)
        assert volumes_screen(app).table.rows[0].step_id == "13"


async def test_enter_on_evidence_goes_to_its_fact(run: Run) -> None:
    """Enter on the driver's word in Why opens Events with the cursor on that fact; Esc returns to the list."""
    watched = session(refused_attach())
    async with run(watched) as (app, pilot):
        await pilot.press("enter", "j", "enter")
        await settle(pilot, app)
        evidence = watched.overview().rows[0].verdict.evidence[1]
        fact = app.screen.query_one(EventsPane).target().row
        assert fact is not None
        assert fact.seq == evidence.seq
        await pilot.press("escape")
        assert isinstance(app.screen, VolumesScreen)


async def test_steps_open_at_the_blocking_step_and_lead_to_its_fact(run: Run) -> None:
    """The ladder's cursor stands on the step that is waited for; Enter shows the fact behind it."""
    async with run(session(refused_attach())) as (app, pilot):
        await pilot.press("enter", "2")
        await settle(pilot, app)
        step = app.screen.query_one(StepsPane).target().row
        assert step is not None
        assert step.step_id == "13"
        assert step.title in screen_text(app)
        await pilot.press("enter")
        await settle(pilot, app)
        assert "FAILED_PRECONDITION" in screen_text(app)


async def test_way_back_can_be_looked_at(run: Run) -> None:
    """`b` turns the ladder to the way back, and again to the way in."""
    async with run(session(gone())) as (app, pilot):
        await pilot.press("enter", "b")
        await settle(pilot, app)
        table = app.screen.query_one(StepsPane).target()
        assert table.rows[0].step_id == "b1"
        await pilot.press("b")
        assert table.rows[0].step_id == "1"


async def test_steps_open_at_the_one_that_fails_though_others_are_unknown(run: Run) -> None:
    """What nobody can see comes before it in the ladder, and is not what the pod waits for; `b` and back leads there again."""
    story = Story()
    for kind in KINDS:
        story.tell(events.SourceDown(witness=Witness.KUBERNETES, scope=kind.name, reason="may not list"))
    story.tell(events.SourceUp(witness=Witness.DRIVER, scope=f"{DRIVER}@{NODE}"))
    story.rpc("ControllerPublishVolume", 13, "no such pool", volume_id=HANDLE, node_id=NODE)
    async with run(session(story)) as (app, pilot):
        await pilot.press("enter", "2")
        await settle(pilot, app)
        table = app.screen.query_one(StepsPane).target()
        assert table.row.step_id == "13"
        assert StepStatus.UNKNOWN in {step.status for step in table.rows[: table.cursor]}
        await pilot.press("b", "b")
        await settle(pilot, app)
        assert table.row.step_id == "13"
        assert table.row.title in screen_text(app)


async def test_facts_can_be_filtered_with_the_same_language(run: Run) -> None:
    """`/` in a volume's screen filters its facts by words and fields; Esc first undoes that, then leaves."""
    async with run(session(refused_attach())) as (app, pilot):
        await pilot.press("enter", "5", "slash", *"witness:driver called", "enter")
        await settle(pilot, app)
        facts = app.screen.query_one(EventsPane).target().rows
        assert [type(event.body).__name__ for event in facts] == ["RpcStarted"] * 4
        await pilot.press("escape")
        await settle(pilot, app)
        assert len(app.screen.query_one(EventsPane).target().rows) > 4
        await pilot.press("escape")
        assert isinstance(app.screen, VolumesScreen)


async def test_panes_by_number_tab_and_click(run: Run) -> None:
    """Panes are reached by number, by Tab in turn, and by a click on their name."""
    async with run(session(busy_fuse())) as (app, pilot):
        await pilot.press("enter", "4")
        await settle(pilot, app)
        assert "CONNECTION 50" in screen_text(app)
        await pilot.press("tab", "tab")
        assert app.screen.query_one("ContentSwitcher").current == "pane-0"  # type: ignore[attr-defined]  # a ContentSwitcher
        await pilot.click("#tabs", offset=(12, 0))
        assert app.screen.query_one("ContentSwitcher").current == "pane-1"  # type: ignore[attr-defined]  # a ContentSwitcher


async def test_mouse_selects_and_opens(run: Run) -> None:
    """A click puts the cursor on a row, a double click opens it."""
    async with run(Synthetic()) as (app, pilot):
        await pilot.click("#rows", offset=(5, 3))
        assert volumes_screen(app).table.cursor == 2
        await pilot.click("#rows", offset=(5, 4), times=2)
        await settle(pilot, app)
        assert isinstance(app.screen, VolumeScreen)
        assert app.screen.key == "claim/ml/train-cache"


async def test_footer_keys_can_be_clicked(run: Run) -> None:
    """A click on a key in the footer presses it."""
    watched = Synthetic()
    async with run(watched) as (app, pilot):
        text = screen_text(app).splitlines()[-1]
        await pilot.click("#footer", offset=(text.index("Space"), 0))
        await pilot.pause()
        assert watched.asked == [("pause",)]


async def test_quit(run: Run) -> None:
    """q leaves with exit code 0."""
    async with run(Synthetic()) as (app, pilot):
        await pilot.press("q")
        await pilot.pause()
        assert app.return_code == 0


def test_every_key_has_an_action_where_it_works() -> None:
    """No key of the table is without a method, and no two keys of one scope are the same."""
    from csitrace.tui.app import CsitraceApp
    from csitrace.tui.table import Table

    owners = {
        Scope.VOLUMES: VolumesScreen, Scope.VOLUME: VolumeScreen, Scope.TABLE: Table, Scope.EVERYWHERE: CsitraceApp,
        Scope.DRIVERS: DriversScreen, Scope.DRIVER: DriverScreen, Scope.NODES: NodesScreen, Scope.NODE: NodeScreen,
    }  # fmt: skip
    for key in KEYS:
        name = "action_" + key.action.partition("(")[0]
        assert callable(getattr(owners[key.scope], name)), key
    for scope in Scope:
        names = [name for key in keys_of(scope, Scope.EVERYWHERE) for name in key.keys.split(",")]
        assert len(names) == len(set(names)), scope


def test_help_names_every_key() -> None:
    """The help is made from the table: no key is missing."""
    text = "\n".join(text_of(spans) for spans in help_lines(0, 90))
    assert all(key.shown in text for key in KEYS)


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope not in (Scope.TABLE, Scope.EVERYWHERE)])
def test_footer_fits_a_small_terminal(scope: Scope) -> None:
    """The footer's keys that are always there fit 80 cells."""
    labels = [
        f"{key.shown} {key.label}" for key in keys_of(scope, Scope.EVERYWHERE) if key.label and not key.spare
    ]
    assert len(" " + "  ".join(labels)) <= 80


def test_documented_keys_are_those_of_the_table() -> None:
    """docs/keys.md is what `python -m csitrace.tui.document` prints."""
    document = Path(__file__).parents[2] / "docs" / "keys.md"
    assert document.read_text() == markdown()


async def test_palette_offers_keys_and_themes(run: Run) -> None:
    """The palette finds what a key does by its meaning, and the choice of theme."""
    watched = Synthetic()
    async with run(watched) as (app, pilot):
        await pilot.press("ctrl+p", *"theme")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "Theme" in screen_text(app)
