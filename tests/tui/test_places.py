"""Drivers and nodes: their lists and details, the ways between them and volumes, the past, and what is not known."""

import pytest
from msgspec.structs import replace

from csitrace.lab.scenarios import SCENARIOS
from csitrace.model import events, kinds
from csitrace.model.events import Witness
from csitrace.model.fuse import DaemonStatus
from csitrace.model.kubernetes import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStatus,
    PersistentVolumeClaim,
    ResourceRequirements,
    StorageQuantity,
)
from csitrace.model.times import SECOND
from csitrace.tui.app import CsitraceApp
from csitrace.tui.driver import DriverScreen
from csitrace.tui.drivers import DriversScreen
from csitrace.tui.header import folded
from csitrace.tui.hints import DEMO_HINTS
from csitrace.tui.node import NodeScreen
from csitrace.tui.nodes import NodesScreen
from csitrace.tui.panes import EventsPane
from csitrace.tui.volume import VolumeScreen
from csitrace.tui.volumes import VolumesScreen
from tests import fleet
from tests.fleet import ATTACHER_LEASE, lease
from tests.story import DRIVER, HANDLE, NODE, Story
from tests.tui.conftest import Run, screen_text, settle
from tests.tui.sessions import CONNECTION, busy_fuse, hung_fuse, session
from tests.tui.test_pictures import LARGE, SMALL, Compare, pressing


def troubled() -> Story:
    """The fleet with a leader that does not renew its Lease, and a FUSE daemon on n2 that is stopped while requests wait."""
    told = fleet.fleet()
    told.put(fleet.driver_pod("fuse-cart", "n2", "fuse"))
    stopped = DaemonStatus(
        pid=4042, name="driver_ref.fs", state="T", pod_uid=f"uid-pod-{fleet.HOME}-fuse-cart"
    )
    told.tell(
        events.FuseObserved(node_name="n2", connection=42, volume_id="vol-cart", waiting=3, daemon=stopped)
    )
    told.call("NodeStageVolume", volume_id="vol-users")
    told.rpc("NodePublishVolume", 14, "not now")
    return told.put(lease(ATTACHER_LEASE, "controller-0", told.at, silent=90))


def shared() -> Story:
    """A ReadWriteMany volume on n1, where its pod runs, and on n2, where its other pod has not started."""
    told = fleet.fleet()
    fleet.volume(told, "assets", "n1", "n2", mode="ReadWriteMany")
    return told.put(fleet.user_pod("assets-1", "assets", "n2", running=False))


def refused() -> Story:
    """A user who may read claims and pods, and nothing of the cluster."""
    told = Story()
    for kind in kinds.KINDS:
        if kind.namespaced and kind.name != "Lease":
            told.tell(events.SourceUp(witness=Witness.KUBERNETES, scope=kind.name))
        else:
            reason = f"may not list {kind.resource}"
            told.tell(
                events.SourceDown(witness=Witness.KUBERNETES, scope=kind.name, reason=reason, denied=True)
            )
    return told


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(
    "keys", [("D",), ("D", "enter"), ("N",), ("N", "enter")], ids=["drivers", "driver", "nodes", "node"]
)
def test_places(snap_compare: Compare, size: tuple[int, int], keys: tuple[str, ...]) -> None:
    """Each of the four screens, with something wrong on it."""
    assert snap_compare(
        CsitraceApp(session(troubled(), later=1)), terminal_size=size, run_before=pressing(*keys)
    )


@pytest.mark.parametrize("key", ["D", "N"])
def test_what_may_not_be_read(snap_compare: Compare, key: str) -> None:
    """Without the right to read drivers or nodes the lists say what is unknown, and because of what."""
    assert snap_compare(CsitraceApp(session(refused())), terminal_size=SMALL, run_before=pressing(key))


def test_a_driver_of_which_little_may_be_read(snap_compare: Compare) -> None:
    """A volume tells of its driver; everything else about it is unknown, each because of something."""
    told = refused()
    fleet.volume(told, "orders", "n1")
    app = CsitraceApp(session(told))
    assert snap_compare(app, terminal_size=SMALL, run_before=pressing("D", "enter"))


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_shared_volume(snap_compare: Compare, size: tuple[int, int]) -> None:
    """The steps of one pod of a ReadWriteMany volume, and in the title which pod that is and that there is another."""
    app = CsitraceApp(session(shared(), later=1))
    assert snap_compare(
        app, terminal_size=size, run_before=pressing("slash", *"assets", "enter", "enter", "2")
    )


async def test_from_a_driver_to_its_volumes_and_back(run: Run) -> None:
    """D lists drivers, Enter opens one, v lists its volumes, Enter opens a volume; Esc leads back the same way."""
    async with run(session(fleet.fleet())) as (app, pilot):
        seen = []
        for key in ("D", "enter", "v", "enter", "escape", "escape", "escape", "escape"):
            await pilot.press(key)
            await settle(pilot, app)
            seen.append(type(app.screen))
        assert seen == [
            DriversScreen, DriverScreen, VolumesScreen, VolumeScreen, VolumesScreen, DriverScreen, DriversScreen, VolumesScreen,
        ]  # fmt: skip
        assert len(app.screen_stack) == 1


async def test_the_volumes_of_a_node_are_those_on_it(run: Run) -> None:
    """v on a node lists the volumes that are there, and says by which filter; Esc goes back to the node."""
    async with run(session(fleet.fleet())) as (app, pilot):
        await pilot.press("N", "slash", *"node=n2", "enter", "v")
        await settle(pilot, app)
        assert isinstance(app.screen, VolumesScreen)
        assert {row.name for row in app.screen.table.rows} == {"cart", "users"}
        assert "filter node=n2  2 of 4 volumes  Esc: back" in screen_text(app)
        await pilot.press("escape")
        await settle(pilot, app)
        assert isinstance(app.screen, NodesScreen)
        assert app.screen.filter.text == "node=n2"
        await pilot.press("escape")
        assert app.screen.filter.text == ""


@pytest.mark.parametrize(("key", "screen", "name"), [("d", DriverScreen, DRIVER), ("o", NodeScreen, "n1")])
@pytest.mark.parametrize("opened", [False, True])
async def test_from_a_volume_to_its_driver_and_node(
    run: Run, key: str, screen: type[DriverScreen | NodeScreen], name: str, opened: bool
) -> None:
    """d and o lead to the driver and the node of the volume under the cursor, and of the one that is open."""
    async with run(session(fleet.fleet()), filter_text="claim:orders") as (app, pilot):
        await pilot.press(*(["enter"] if opened else []), key)
        await settle(pilot, app)
        assert isinstance(app.screen, screen)
        assert app.screen.name_shown == name
        await pilot.press("escape")
        await settle(pilot, app)
        assert isinstance(app.screen, VolumeScreen if opened else VolumesScreen)


async def test_a_volume_on_no_node_says_so(run: Run) -> None:
    """Where there is no node to go to, the user stays where they are."""
    told = fleet.fleet()
    fleet.volume(told, "idle")
    async with run(session(told), filter_text="claim:idle") as (app, pilot):
        await pilot.press("o")
        await settle(pilot, app)
        assert isinstance(app.screen, VolumesScreen)
        assert [notification.message for notification in app._notifications] == ["There is none."]


async def test_from_driver_to_node_to_driver(run: Run) -> None:
    """Enter on a node of a driver opens the node, Enter on a driver of a node opens the driver."""
    async with run(session(fleet.fleet())) as (app, pilot):
        await pilot.press("D", "enter", "enter")
        await settle(pilot, app)
        assert isinstance(app.screen, NodeScreen)
        await pilot.press("enter")
        await settle(pilot, app)
        assert isinstance(app.screen, DriverScreen)
        await pilot.press("V")
        await settle(pilot, app)
        assert [type(screen) for screen in app.screen_stack] == [VolumesScreen]


async def test_mouse_on_lists_and_details(run: Run) -> None:
    """A click moves the cursor, a double click opens; in a detail the wheel and the keys in the footer work, too."""
    async with run(session(fleet.fleet())) as (app, pilot):
        await pilot.press("N")
        await settle(pilot, app)
        await pilot.click("#rows", offset=(5, 2))
        assert isinstance(app.screen, NodesScreen)
        assert app.screen.table.cursor == 1
        await pilot.click("#rows", offset=(5, 3), times=2)
        await settle(pilot, app)
        assert isinstance(app.screen, NodeScreen)
        await pilot.click("#footer", offset=(screen_text(app).splitlines()[-1].index("v volumes"), 0))
        await settle(pilot, app)
        assert isinstance(app.screen, VolumesScreen)


async def test_the_past_of_a_node_is_shown_when_stepping_back(run: Run) -> None:
    """Paused and stepped back before the kernel of n3 fell silent, the node is heard; followed again, it is not."""
    told = fleet.fleet()
    told.put(fleet.node("n1"))
    async with run(session(told)) as (app, pilot):
        await pilot.press("N", "left_square_bracket", "left_square_bracket")
        await settle(pilot, app)
        assert isinstance(app.screen, NodesScreen)
        assert "PAUSED" in screen_text(app)
        assert next(view.kernel for view in app.screen.table.rows if view.name == "n3") is True
        await pilot.press("space")
        await settle(pilot, app)
        assert next(view.kernel for view in app.screen.table.rows if view.name == "n3") is False


async def test_a_driver_that_nothing_names_any_more_stays_and_says_so(run: Run) -> None:
    """Stepped back to before anything named the driver, its screen keeps what was shown last and says that it is not there."""
    async with run(session(fleet.fleet())) as (app, pilot):
        await pilot.press("D", "enter")
        await settle(pilot, app)
        app.action_step(-app.watched.playhead.seq + 1)
        await settle(pilot, app)
        assert f"At this moment nothing names driver {DRIVER}." in screen_text(app)
        assert "external-attacher" in screen_text(app)


async def test_pods_of_a_shared_volume_are_switched_by_a_key(run: Run) -> None:
    """The list names both nodes; p in the detail turns from the pod that is looked at to the other, ladder and all."""
    async with run(session(shared()), LARGE, filter_text="claim:assets") as (app, pilot):
        assert "n2 n1" in screen_text(app)
        await pilot.press("enter", "2")
        await settle(pilot, app)
        assert "pod assets-1 on n2 (1 of 2, p: next)" in screen_text(app)
        await pilot.press("p")
        await settle(pilot, app)
        assert "pod assets-0 on n1 (2 of 2, p: next)" in screen_text(app)


async def test_details_follow_a_resize(run: Run) -> None:
    """A detail drawn at 140 columns and shrunk to 80 keeps title, table and footer on the screen."""
    async with run(session(troubled()), LARGE) as (app, pilot):
        await pilot.press("D", "enter")
        await pilot.resize_terminal(*SMALL)
        await settle(pilot, app)
        text = screen_text(app)
        assert all(part in text for part in (f"driver {DRIVER}", "REGISTERED", "Esc back"))


@pytest.mark.parametrize("keys", [("D",), ("N",), ("N", "enter")])
async def test_without_colour_everything_is_still_told(
    run: Run, keys: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With NO_COLOR the signs stay: what is wrong is told by ✗, ! and ?, not by tone."""
    monkeypatch.setenv("NO_COLOR", "1")
    async with run(session(troubled())) as (app, pilot):
        await pilot.press(*keys)
        await settle(pilot, app)
        assert "✗" in screen_text(app)


async def test_nodes_beyond_the_screen_are_not_drawn(run: Run) -> None:
    """Of 500 nodes, opening the list draws a screenful."""
    told = Story().hear_everyone()
    for number in range(500):
        told.put(fleet.node(f"w{number}"))
    async with run(session(told)) as (app, pilot):
        await pilot.press("N")
        await settle(pilot, app)
        assert isinstance(app.screen, NodesScreen)
        assert len(app.screen.table.rows) == 501  # and n1, whose kernel is heard
        assert app.screen.table.lines_drawn < 100


def test_every_scenario_of_the_demo_has_a_hint() -> None:
    """The line that says what to look at is there for each scenario, and fits a small terminal."""
    assert set(DEMO_HINTS) == set(SCENARIOS)
    assert all(len(hint) < 80 for hint in DEMO_HINTS.values())


async def test_the_hint_gives_way_to_a_filter(run: Run) -> None:
    """What the demo shows is said over the list, until the list is filtered."""
    app = CsitraceApp(session(fleet.fleet()), hint=DEMO_HINTS["shared"])
    async with app.run_test(size=SMALL) as pilot:
        await settle(pilot, app)
        assert DEMO_HINTS["shared"] in screen_text(app)
        await pilot.press("slash", *"orders", "enter")
        await settle(pilot, app)
        assert DEMO_HINTS["shared"] not in screen_text(app)


async def test_fuse_counts_of_a_volume_at_work_are_one_line(run: Run) -> None:
    """Twenty counts in a row are one fact with their sum; evidence that lies within it puts the cursor there."""
    told = busy_fuse()
    async with run(session(told), LARGE) as (app, pilot):
        await pilot.press("enter", "5")
        await settle(pilot, app)
        pane = app.screen.query_one(EventsPane)
        counts = [event for event in pane.target().rows if isinstance(event.body, events.FuseCounted)]
        seqs = [event.seq for event in told.events if isinstance(event.body, events.FuseCounted)]
        assert [event.seq for event in counts] == seqs[:1]
        assert counts[0].body.interval_ns == 20 * SECOND  # type: ignore[union-attr]  # a FuseCounted
        pane.go_to(seqs[7])
        await settle(pilot, app)
        row = pane.target().row
        assert row is not None
        assert row.seq == seqs[0]


async def test_a_hang_is_an_open_bar_in_the_waterfall(run: Run) -> None:
    """While a daemon leaves requests unanswered, Why shows since when as a span that has no end."""
    async with run(session(hung_fuse(), later=8), LARGE) as (app, pilot):
        await pilot.press("enter")
        await settle(pilot, app)
        bar = next(text for text in screen_text(app).splitlines() if "FUSE hang" in text)
        assert "◐" in bar
        assert "8s" in bar


async def test_the_pod_of_a_daemon_is_shown_with_its_end(run: Run) -> None:
    """FUSE names the pod that the daemon runs in, how it fares, how often it was started again and how it last ended."""
    told = busy_fuse()
    died = ContainerStateTerminated(reason="OOMKilled", exit_code=137, finished_at=told.time())
    status = ContainerStatus(
        name="fuse", restart_count=2, state=ContainerState(running=ContainerStateRunning()),
        last_state=ContainerState(terminated=died),
    )  # fmt: skip
    pod = fleet.driver_pod("fuse-data", NODE, "fuse")
    told.put(
        type(pod)(
            metadata=pod.metadata, spec=pod.spec, status=replace(pod.status, container_statuses=(status,))
        )
    )
    daemon = DaemonStatus(pid=4321, name="driver_ref.fs", state="S", pod_uid=pod.uid)
    told.tell(
        events.FuseObserved(node_name=NODE, connection=CONNECTION, volume_id=HANDLE, waiting=0, daemon=daemon)
    )
    async with run(session(told), LARGE) as (app, pilot):
        await pilot.press("enter", "4")
        await settle(pilot, app)
        line = next(text for text in screen_text(app).splitlines() if "fuse-data" in text)
        assert "2 restarts, last exit: OOMKilled, exit code 137" in line


def test_scopes_of_one_reason_are_one_line() -> None:
    """An API server that cannot be reached is told once, with the number of what is not heard for it."""
    problems = [f"{kind.name}: connection refused" for kind in kinds.KINDS] + ["Lease/x: may not list"]
    assert folded(problems) == [
        "PersistentVolumeClaim and 9 more: connection refused",
        "Lease/x: may not list",
    ]


async def test_an_expansion_is_a_section_of_the_ladder(run: Run) -> None:
    """Once more room was asked for, its steps follow the way in, with numbers of their own."""
    told = fleet.fleet()
    async with run(session(told), LARGE, filter_text="claim:orders") as (app, pilot):
        await pilot.press("enter", "2")
        await settle(pilot, app)
        assert "ControllerExpandVolume" not in screen_text(app)
    claim = next(
        stored.object for stored in told.state.objects.values() if stored.object.uid == "uid-claim-orders"
    )
    assert isinstance(claim, PersistentVolumeClaim)
    room = ResourceRequirements(requests=StorageQuantity(storage="2Gi"))
    status = replace(claim.status, capacity=StorageQuantity(storage="1Gi"))
    told.put(replace(claim, spec=replace(claim.spec, resources=room), status=status))
    async with run(session(told), LARGE, filter_text="claim:orders") as (app, pilot):
        await pilot.press("enter", "2", "G")
        await settle(pilot, app)
        line = next(text for text in screen_text(app).splitlines() if "ControllerExpandVolume" in text)
        assert "↑2" in line
        assert "Expand" in line
