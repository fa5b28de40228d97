"""A recording on the screen: its keys, its time bar, and that it shows what a live watch scrolled back shows."""

import re
from collections.abc import Callable

import pytest

from csitrace.engine.replay import replay_session
from csitrace.engine.session import Session
from csitrace.errors import TraceError
from csitrace.lifecycle.history import History
from csitrace.model import events
from csitrace.model.times import SECOND
from csitrace.tui.app import CsitraceApp
from csitrace.tui.lines import text_of
from csitrace.tui.recording import RecordingStatus
from csitrace.tui.session_view import SessionView
from csitrace.tui.timeline import Timeline, timeline_lines
from tests.story import NODE, Story, attachment, pod
from tests.tui.conftest import Run, screen_text, settle
from tests.tui.sessions import refused_attach
from tests.tui.synthetic import Synthetic
from tests.tui.test_pictures import LARGE, SMALL, Compare, pressing


def tale() -> Story:
    """An attach that is refused, then granted; marks on the way."""
    story = refused_attach()
    story.tell(events.Marked(text="node n9 rebooted"))
    story.at += 40 * SECOND
    story.rpc("ControllerPublishVolume", node_id=NODE).put(attachment(attached=True, finalizer=True))
    story.at += 30 * SECOND
    story.put(pod(NODE, "waiting", started=True))
    story.tell(events.Marked(text="still waiting"))
    story.at += 20 * SECOND
    story.put(pod(NODE, "running", "Running", started=True))
    return story


class Hands:
    """A clock that is moved by hand."""

    at = 0

    def __call__(self) -> int:
        return self.at


def replay(story: Story, clock: Callable[[], int] = lambda: 0) -> Session:
    session = replay_session("orders.csitrace", clock)
    session.load(story.events)
    session.loaded()
    return session


def live(story: Story) -> Session:
    history = History()
    for event in story.events:
        history.append(event)
    return Session("orders.csitrace", lambda: story.at, history)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(
    "keys", [("at", *"node", "enter"), ("at", *"+40s", "enter", "enter")], ids=["list", "volume"]
)
def test_replay(snap_compare: Compare, size: tuple[int, int], keys: tuple[str, ...]) -> None:
    """The screens of a recording: the mode and the speed in the header, the time bar under it, the keys of a playhead."""
    app = CsitraceApp(SessionView(replay(tale())))
    assert snap_compare(app, terminal_size=size, run_before=pressing(*keys))


def test_beginning_of_a_recording(snap_compare: Compare) -> None:
    """Before the first fact nothing is there, and it is said which keys lead on."""
    app = CsitraceApp(SessionView(replay(tale())))
    assert snap_compare(app, terminal_size=SMALL, run_before=pressing())


@pytest.mark.parametrize("on_the_way", [(), ("enter",)], ids=["list", "from the page of a volume"])
async def test_durations_are_those_of_the_moment_that_is_gone_to(
    run: Run, monkeypatch: pytest.MonkeyPatch, on_the_way: tuple[str, ...]
) -> None:
    """Also of volumes of which nothing else has changed, on the list and when one comes back to it, without waiting for the next
    tick of the clock; and so again when following."""
    monkeypatch.setattr("csitrace.tui.app.TICK_SECONDS", 3600)
    story = refused_attach()
    shown = []
    for name in ("one", "two", "three"):
        story.at += 10 * SECOND
        story.tell(events.Marked(text=name))
    async with run(SessionView(live(story)), LARGE) as (app, pilot):
        for keys in (("at", *"one", "enter"), (*on_the_way, "at", *"two", "enter", "V"), (")",)):
            await pilot.press(*keys)
            await settle(pilot, app)
            (row,) = (line for line in screen_text(app).splitlines() if "✗" in line[:3])
            minutes, seconds = re.search(r" (?:(\d+)m)?(\d+)s ", row).groups("0")
            shown.append(60 * int(minutes) + int(seconds))
    assert [later - shown[0] for later in shown] == [0, 10, 20]


async def test_what_is_awaited_is_said_in_place_of_an_empty_list(run: Run) -> None:
    """A large recording takes a while: that it is being loaded, and for what, not that there are no volumes."""
    recorded = replay_session("orders.csitrace", lambda: 0)
    recorded.go_to("-30s")
    async with run(SessionView(recorded)) as (app, _pilot):
        assert "Loading, looking for -30s" in screen_text(app)
        assert "No CSI volumes" not in screen_text(app)


@pytest.mark.parametrize(
    "status",
    [
        RecordingStatus(True, "x", 12_345, 4 << 20),
        RecordingStatus(True, "x", 12_345, 4 << 20, "disk full, 312 lost"),
    ],
    ids=["well", "full"],
)
def test_header_says_what_is_recorded(snap_compare: Compare, status: RecordingStatus) -> None:
    """Facts and bytes so far; or why not all of it is written."""
    app = CsitraceApp(Synthetic(recording=status))
    assert snap_compare(app, terminal_size=SMALL, run_before=pressing())


@pytest.mark.parametrize(
    "keys", [(), ("enter",), ("enter", "2"), ("enter", "3"), ("enter", "5"), ("D",), ("N",)], ids="-".join
)
async def test_a_live_watch_scrolled_back_shows_what_a_replay_shows(run: Run, keys: tuple[str, ...]) -> None:
    """At the same seq only header, time bar and footer differ: the mode, and the keys."""
    story = tale()
    seqs = range(story.state.seq, 24, -9)
    shown: list[list[list[str]]] = []
    for session in (live(story), replay(story)):
        session.seek(seqs[0])
        shown.append([])
        async with run(SessionView(session)) as (app, pilot):
            await pilot.press(*keys)
            for seq in seqs:
                session.seek(seq)
                await settle(pilot, app)
                shown[-1].append(screen_text(app).splitlines()[2:-1])
    assert shown[0] == shown[1]
    assert len({str(screen) for screen in shown[0]}) == len(seqs)


async def test_space_plays_and_holds_and_the_header_says_which(run: Run) -> None:
    """▶ while it plays, ‖ while it holds; < and > change the speed."""
    clock = Hands()
    session = replay(tale(), clock)
    async with run(SessionView(session)) as (app, pilot):
        await pilot.press("greater_than_sign", "greater_than_sign", "space")
        clock.at += 3 * SECOND
        session.advance()
        await settle(pilot, app)
        assert "▶ REPLAY 10:00:30.100 x10" in screen_text(app)
        await pilot.press("space", "less_than_sign")
        await settle(pilot, app)
        assert "‖ REPLAY 10:00:30.100 x3" in screen_text(app)


async def test_marks_ends_and_times_are_a_key_away(run: Run) -> None:
    """. and , go to marks, ( and ) to the ends, @ to what is typed; what there is not is said."""
    session = replay(tale())
    marks = [seq for seq, _ in session.history.marks]
    async with run(SessionView(session)) as (_, pilot):
        seen = []
        for keys in (["full_stop"], ["full_stop"], ["comma"], ["right_parenthesis"], ["left_parenthesis"],
                     ["at", *"still", "enter"], ["at", *"never", "enter"], ["at", "1", "escape"]):  # fmt: skip
            await pilot.press(*keys)
            seen.append(session.position)
        assert seen == [
            marks[0],
            marks[1],
            marks[0],
            session.history.tail_seq,
            0,
            marks[1],
            marks[1],
            marks[1],
        ]


async def test_a_click_on_the_time_bar_goes_there(run: Run) -> None:
    """The first and the last cell are the two ends."""
    session = replay(tale())
    async with run(SessionView(session)) as (_, pilot):
        for column, at in ((12, session.history.log.span()[0]), (67, session.history.log.span()[1])):
            await pilot.click("#time", offset=(column, 1))
            await pilot.pause()
            assert session.now == at


async def test_the_past_of_a_live_watch_can_be_played(run: Run) -> None:
    """Held, `>` plays what was; Space holds, and Space again is live. While live, nothing happens but a word."""
    session = live(tale())
    async with run(SessionView(session)) as (app, pilot):
        await pilot.press("greater_than_sign")
        assert session.mode == "LIVE"
        await pilot.press("left_curly_bracket", "greater_than_sign")
        assert (session.mode, session.playing) == ("REPLAY", True)
        await pilot.press("space")
        assert session.mode == "PAUSED"
        await settle(pilot, app)
        assert "10:00:00   " in screen_text(app).splitlines()[2]
        await pilot.press("space")
        assert session.mode == "LIVE"


async def test_marks_are_named_live_and_not_added_to_a_recording(run: Run) -> None:
    """`m` asks for a name; of a recording it says why not."""
    watched, session = live(tale()), replay(tale())
    async with run(SessionView(watched)) as (_, pilot):
        await pilot.press("m", *"now", "enter")
        assert watched.history.marks[-1][1] == "now"
    async with run(SessionView(session)) as (_, pilot):
        await pilot.press("m", "n")
        assert len(session.history.marks) == 2


class Recorder:
    """Records nothing, as asked; `error`: it cannot begin."""

    def __init__(self, error: str = "") -> None:
        self.status = RecordingStatus(False)
        self.error = error

    async def start(self) -> None:
        if self.error:
            raise TraceError(self.error)
        self.status = RecordingStatus(True, "x.csitrace", 42, 2048)

    async def stop(self) -> None:
        self.status = RecordingStatus(False, "x.csitrace", 42, 2048)


async def test_r_records_and_the_header_says_so(run: Run) -> None:
    """It starts and stops; why it cannot is said, and the screen goes on."""
    recorder = Recorder()
    async with run(SessionView(live(tale()), recorder), (100, 24)) as (app, pilot):
        await pilot.press("r")
        await app.workers.wait_for_complete()
        await settle(pilot, app)
        assert "● REC 42 2.0 KiB" in screen_text(app)
        await pilot.press("r")
        await app.workers.wait_for_complete()
        await settle(pilot, app)
        assert "● REC" not in screen_text(app)
    async with run(SessionView(live(tale()), Recorder("x.csitrace: no space left"))) as (app, pilot):
        await pilot.press("r")
        await app.workers.wait_for_complete()
        assert [note.message for note in app._notifications] == ["x.csitrace: no space left"]


def test_names_of_marks_stand_where_there_is_room() -> None:
    """A name is cut where another sign stands, and left out where nothing of it would be read; failures are told by signs."""
    shown = Timeline(
        0, 99, 0, tuple([1] * 50), tuple(20 <= cell < 24 for cell in range(50)), ((5, "short"), (30, "long name here"), (40, "x"))
    )  # fmt: skip
    upper, lower = timeline_lines(shown, 80)
    assert text_of(lower)[12:62].rstrip() == "▲    ◆short         ✗╌╌╌      ◆long na… ◆x"
    assert text_of(upper)[12] == "┃"
