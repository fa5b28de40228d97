"""Waiting for volumes: what is met, what is said when it is not, and the exit codes."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from csitrace.cli.wait import A_WEEK_S, timeout_seconds
from csitrace.engine.session import Session
from csitrace.errors import UnreachableError, UsageError
from csitrace.lifecycle.condition import parse_condition
from csitrace.lifecycle.filter import parse_volume_filter
from csitrace.model import events
from csitrace.model.events import Observation, Witness
from csitrace.model.kinds import KINDS
from csitrace.report.wait import Target, wait_session
from tests.story import Story, csi_driver, straight_road, way_back_road

ROAD = dict(straight_road())


def living(story: Story) -> tuple[Session, Callable[[], Awaitable[None]]]:
    """A session that has taken the story in, and whose sources go on living."""
    session = Session("test", lambda: story.at)

    async def take_in() -> None:
        session.take(Observation(body=event.body, occurred_at=event.occurred_at) for event in story.events)
        await asyncio.Event().wait()

    return session, take_in


async def waited(story: Story, condition: str, wanted: str = 'claim="data"', timeout: float = 0) -> int:
    session, take_in = living(story)
    target = Target(wanted, parse_volume_filter(wanted))
    return await wait_session(session, take_in, [target], parse_condition(condition), timeout)


@pytest.mark.parametrize(
    ("condition", "met_from"),
    [
        ("bound", "8"), ("attached", "14"), ("mounted", "16b"), ("phase=CREATED", "6"), ("phase=NODE_READY", "14"),
        ("phase=vol_ready", "16a"), ("phase=PUBLISHED", "16b"), ("step=13", "13"), ("step=16", "16b"), ("step=17", "17"),
    ],
)  # fmt: skip
async def test_each_condition_is_met_from_its_step_on(condition: str, met_from: str) -> None:
    """Before it, the exit code is 1, from it on 0."""
    chapters = list(ROAD)
    for chapter in chapters[2:]:
        expected = 0 if chapters.index(chapter) >= chapters.index(met_from) else 1
        assert await waited(ROAD[chapter], condition) == expected, chapter


async def test_what_a_volume_does_not_need_is_not_waited_for() -> None:
    """`attached` of a driver that attaches nothing."""
    story = Story(ROAD["8"].state, list(ROAD["8"].events), ROAD["8"].at)
    story.put(csi_driver(attach_required=False))
    assert await waited(story, "attached") == 0


async def test_deleted_is_met_by_what_is_gone_and_by_what_never_was() -> None:
    """As kubectl wait has it; what is there is not deleted."""
    assert await waited(way_back_road(straight_road()[-1][1]), "deleted") == 0
    assert await waited(ROAD["17"], "deleted", 'claim="never"') == 0
    assert await waited(ROAD["17"], "deleted") == 1


async def test_a_failure_is_one_line_of_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """What was waited for, the volume, its verdict and who holds it; nothing on stdout."""
    assert await waited(ROAD["15"], "mounted") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("not mounted now: shop/data: step 16a: waits for the volume to be mounted")
    assert captured.err.endswith("(held by kubelet n1 → driver)\n")
    assert await waited(ROAD["15"], "mounted", 'claim="never"') == 1
    assert capsys.readouterr().err == 'not mounted now: no volume matches claim="never"\n'


async def test_success_names_what_was_met(capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, and no other word."""
    assert await waited(ROAD["17"], "phase=PUBLISHED", timeout=30) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("shop/data: phase=PUBLISHED\n", "")


async def test_it_ends_as_soon_as_it_is_met() -> None:
    """A fact that comes later ends the wait, long before its time is up."""
    story = ROAD["15"]
    session, take_in = living(story)
    target = Target("data", parse_volume_filter("data"))
    waiting = asyncio.create_task(
        wait_session(session, take_in, [target], parse_condition("mounted"), timeout_seconds=3600)
    )
    taken_in = asyncio.Event()
    session.on_change(taken_in.set)
    await taken_in.wait()
    assert not waiting.done()
    session.take(
        Observation(body=event.body, occurred_at=event.occurred_at)
        for event in ROAD["17"].events[len(story.events) :]
    )
    assert await waiting == 0


async def test_the_time_is_up() -> None:
    """Exit code 1 after the time-out, with sources that live on."""
    assert await waited(ROAD["15"], "mounted", timeout=0.05) == 1


async def test_several_must_all_have_it(capsys: pytest.CaptureFixture[str]) -> None:
    """One that is there does not make up for one that is not."""
    session, take_in = living(ROAD["17"])
    targets = [Target(text, parse_volume_filter(text)) for text in ("data", "logs")]
    assert await wait_session(session, take_in, targets, parse_condition("bound"), 0) == 1
    assert capsys.readouterr().err == "not bound now: no volume matches logs\n"


async def test_an_empty_selection_is_not_waited_for() -> None:
    """Nothing passes a selection: said at once, whatever the time-out."""
    session, take_in = living(ROAD["17"])
    target = Target("-l app=x", parse_volume_filter("nothing-like-this"), must_exist=True)
    assert await wait_session(session, take_in, [target], parse_condition("bound"), 3600) == 1


async def test_a_server_that_is_not_there_is_an_error() -> None:
    """Exit code 3 and not 1: no volume is to blame."""
    story = Story()
    for kind in KINDS:
        story.tell(
            events.SourceDown(witness=Witness.KUBERNETES, scope=kind.name, reason="connection refused")
        )
    with pytest.raises(UnreachableError):
        await waited(story, "bound")


@pytest.mark.parametrize(
    "text", ["", "phase", "phase=GONE", "step=99", "condition=Ready", "bound=yes", "step="]
)
def test_what_cannot_be_waited_for_says_what_can(text: str) -> None:
    """One line."""
    with pytest.raises(UsageError, match="there is phase=CREATED"):
        parse_condition(text)


def test_time_outs_are_kubectls() -> None:
    """Seconds or durations; less than nothing is a week."""
    assert [timeout_seconds(text) for text in ("0", "60s", "1m30s", "5", "-1", "-1s")] == [
        0, 60, 90, 5, A_WEEK_S, A_WEEK_S,
    ]  # fmt: skip
    with pytest.raises(UsageError):
        timeout_seconds("soon")
