"""A session printed while it takes facts in."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from csitrace.engine.session import Session
from csitrace.errors import FilterError, UnreachableError
from csitrace.model import events
from csitrace.model.events import TraceEvent, Witness
from csitrace.report.printer import has_begun, print_changes
from tests.story import DRIVER, NODE, Story, straight_road


def session_of(story: Story) -> Session:
    return Session("test", lambda: story.at)


async def batches(story: Story) -> AsyncIterator[list[TraceEvent]]:
    for event in story.events:
        yield [event]


async def test_the_whole_road_ends_with_the_last_step_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """However fast the facts come, what is printed last is where the volume stands when they end."""
    story = dict(straight_road())["17"]
    session = session_of(story)
    assert await print_changes(session, lambda: session.run(batches(story)), form="json") == 0
    lines = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert (lines[-1]["claim"], lines[-1]["step"], lines[-1]["severity"]) == ("data", "17", "ok")


async def test_silent_witnesses_are_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """A scope that may not be read is said once, and does not disturb the lines."""
    story = Story().hear_everyone()
    story.tell(
        events.SourceDown(witness=Witness.KUBERNETES, scope="Pod", reason="may not list pods", denied=True)
    )
    session = session_of(story)
    await print_changes(session, lambda: session.run(batches(story)))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "not heard: kubernetes Pod: may not list pods\n"


async def test_an_error_of_the_sources_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    """What is known is printed, then the error passes on to whoever says it."""
    story = dict(straight_road())["17"]
    session = session_of(story)

    async def fail() -> None:
        await session.run(batches(story))
        raise UnreachableError("the server went away")

    with pytest.raises(UnreachableError):
        await print_changes(session, fail)
    assert "shop/data" in capsys.readouterr().out


async def test_a_wrong_filter_is_an_error_before_anything_runs() -> None:
    """The filter is read first."""
    with pytest.raises(FilterError):
        await print_changes(Session("test"), asyncio.Event().wait, "drivr:x")  # type: ignore[arg-type]  # never awaited


def test_lines_begin_when_everyone_has_told_what_there_is() -> None:
    """A volume seen before its other objects are listed would be a line full of unknowns: the first line waits for the lists."""
    story = Story()
    assert not has_begun(story.state)
    story.tell(events.SourceUp(witness=Witness.KERNEL, scope="n1"))
    story.tell(events.ListCompleted(witness=Witness.KERNEL, scope="n1"))
    assert not has_begun(story.state)
    story.hear_everyone()
    story.tell(events.ListCompleted(witness=Witness.DRIVER, scope=f"{DRIVER}@{NODE}"))
    assert has_begun(story.state)
    story.tell(
        events.SourceDown(witness=Witness.KUBERNETES, scope="Pod", reason="may not list pods", denied=True)
    )
    assert has_begun(story.state)
