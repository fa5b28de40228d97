"""The page of a volume: what it says, in 80 columns, and the same as JSON, whose names are a contract."""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from csitrace.errors import UsageError
from csitrace.lifecycle.explanation import explain
from csitrace.model.times import SECOND
from csitrace.report.explain import explain_recording, explain_state
from csitrace.report.page import WIDTH, page
from csitrace.sources.recording import Recording
from tests.story import NODE, PV_NAME, START, Story, claim, happened, pod, straight_road

PAGES = Path(__file__).parent / "pages"


def refused_mount() -> Story:
    """Its mount is refused, for a minute."""
    story = dict(straight_road())["15"]
    message = (
        f'MountVolume.MountDevice failed for volume "{PV_NAME}" : rpc error: code = Internal desc = no device'
    )
    told = happened("FailedMount", message, pod(NODE))
    story.put(replace(told, first_timestamp=told.last_timestamp, count=7))
    story.at += 60 * SECOND
    return story


def going_away() -> Story:
    """Its pod is to be deleted, and its containers run on."""
    story = dict(straight_road())["17"]
    going = pod(NODE, "running", "Running", started=True, deleting=True)
    story.put(replace(going, metadata=replace(going.metadata, deletion_grace_period_seconds=0)))
    story.at += 50 * SECOND
    return story


@pytest.mark.parametrize(
    ("name", "story"),
    [
        ("refused-mount", refused_mount),
        ("in-use", lambda: dict(straight_road())["17"]),
        ("going", going_away),
    ],
)
def test_the_page_is_as_it_was_read(name: str, story: object, request: pytest.FixtureRequest) -> None:
    """Each page is a picture in `pages/`; no line is wider than a terminal of 80 columns, and none holds a colour.

    A picture is drawn anew when its file is deleted."""
    told: Story = story()  # type: ignore[operator]
    text = page(explain(told.state, told.volume, told.at)) + "\n"
    picture = PAGES / f"{name}.txt"
    if not picture.exists():
        picture.parent.mkdir(exist_ok=True)
        picture.write_text(text)
        pytest.fail(f"{picture} is drawn: look at it")
    assert text == picture.read_text()
    assert all(len(line) <= WIDTH for line in text.splitlines() if PV_NAME not in line)
    assert "\x1b" not in text


def test_colours_say_no_more_than_signs() -> None:
    """Without its colours, a coloured page is the plain one."""
    import re

    story = refused_mount()
    told = explain(story.state, story.volume, story.at)
    coloured = page(told, coloured=True)
    assert coloured != page(told)
    assert re.sub(r"\x1b\[\d+m", "", coloured) == page(told)
    assert all(len(text) == 1 for text in re.findall(r"\x1b\[3\dm(.*?)\x1b\[0m", coloured))


def test_what_a_name_or_a_message_holds_steers_no_terminal() -> None:
    """Control characters of a driver's message are blanks."""
    story = dict(straight_road())["15"].rpc("NodeStageVolume", 13, "bad\x1b[2J\nthing")
    text = page(explain(story.state, story.volume, story.at))
    assert "\x1b" not in text
    assert "bad [2J thing" in text


STEP = {
    "step", "stage", "title", "actor", "status", "time", "stamp", "source", "atLatest", "precisionMs",
    "tookMs", "tookPrecisionMs", "note",
    "testimonies",
}  # fmt: skip


def test_the_names_of_the_json_are_a_contract(capsys: pytest.CaptureFixture[str]) -> None:
    """As docs/explain.md lists them; a reconstructed time says from which field and how fine it is."""
    story = refused_mount()
    assert explain_state(story.state, story.at, "", named=False, form="json") == 1
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"time", "volumes", "others", "notHeard"}
    (volume,) = told["volumes"]
    assert set(volume) == {
        "namespace", "claim", "pv", "driver", "storageClass", "phase", "stage", "step", "stepTitle", "since", "nodes",
        "pods", "severity", "holder", "finding", "next", "volumeHandle", "verdict", "sinceSource", "sinceAtLatest", "pod",
        "steps", "wayBack", "expansion", "evidence", "events",
    }  # fmt: skip
    assert len(volume["steps"]) == 18
    assert all(set(step) == STEP for step in volume["steps"])
    by_id = {step["step"]: step for step in volume["steps"]}
    assert (by_id["7"]["source"], by_id["7"]["precisionMs"], by_id["7"]["stamp"]) == (
        "creationTimestamp of PersistentVolume",
        1000,
        "server",
    )
    assert by_id["14"]["precisionMs"] == 1
    assert set(by_id["14"]["testimonies"][0]) == {
        "witness", "status", "text", "time", "stamp", "source", "atLatest", "precisionMs", "seq",
    }  # fmt: skip
    assert set(volume["evidence"][0]) == {"witness", "text", "time", "seq"}
    assert volume["events"][0]["count"] == 7
    assert set(volume["events"][0]) == {
        "reason", "type", "count", "first", "last", "component", "kind", "name", "message",
    }  # fmt: skip
    documented = (Path(__file__).parents[3] / "docs" / "explain.md").read_text()
    names = {
        *told,
        *volume,
        *STEP,
        *volume["evidence"][0],
        *volume["events"][0],
        *by_id["14"]["testimonies"][0],
    }
    assert [name for name in names if f"`{name}`" not in documented] == []


def test_without_names_the_well_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """A volume in use has a page only when it is named; the exit code is 0 while none explained is stuck."""
    story = dict(straight_road())["17"]
    assert explain_state(story.state, story.at, "", named=False, form="text") == 0
    assert capsys.readouterr().out == "nothing to explain: 1 volumes: 1 well\n"
    assert explain_state(story.state, story.at, 'claim="data"', named=True, form="text") == 0
    assert "17 ● containers started" in capsys.readouterr().out


def test_a_volume_that_is_not_there_is_said_with_what_there_is() -> None:
    """Wrong usage: who mistyped a name sees the right one."""
    story = dict(straight_road())["17"]
    with pytest.raises(UsageError, match="there is shop/data"):
        explain_state(story.state, story.at, 'claim="date"', named=True, form="text")


def test_a_recording_is_explained_as_of_its_last_event(capsys: pytest.CaptureFixture[str]) -> None:
    """Its notes go to stderr; the verdict is the live one."""
    story = refused_mount()
    story.put(claim("Bound", PV_NAME))
    recording = Recording("x", story.events, ["x: a block could not be read"])
    assert explain_recording(recording, 'pod="web-0"', named=True, form="text") == 1
    captured = capsys.readouterr()
    assert "no device" in captured.out
    assert captured.err == "x: a block could not be read\n"
    assert f"as of     {story.time()[:19]}" in captured.out.replace("  as of", "as of")
    assert story.at > START
