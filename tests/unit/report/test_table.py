"""The list of volumes printed once, and who is not heard, in few sentences."""

import json
from dataclasses import replace

import pytest
import yaml

from csitrace.engine.session import Session
from csitrace.errors import UnreachableError
from csitrace.lifecycle.views import Severity
from csitrace.model import events
from csitrace.model.events import TraceEvent, Witness
from csitrace.model.kinds import KINDS
from csitrace.report.changes import Change, What
from csitrace.report.lines import json_line, wide_line, yaml_document
from csitrace.report.once import print_once
from csitrace.report.silence import sentences, silences
from csitrace.report.table import table
from tests.story import Story, straight_road
from tests.tui.synthetic import NOW, REFUSED, row

STUCK = replace(
    row(
        "shop/data",
        Severity.STUCK,
        step_id="13",
        step_title="ControllerPublishVolume",
        since=NOW - 20 * 10**9,
    ),
    finding="two\nlines",
    verdict=REFUSED,
)


def test_columns_line_up_and_nothing_is_left_blank() -> None:
    """Every cell begins below its heading; an empty one is a dash; what was said stays on its line."""
    text = table(
        [STUCK, replace(STUCK, display_name="a-namespace/a-longer-name", pods=(), node_names=())], NOW
    )
    heading, first, second = text.splitlines()
    for name in ("STATE", "STEP", "FOR", "NODE", "POD", "FINDING"):
        start = heading.index(name)
        assert all(line[start - 1] == " " and line[start] != " " for line in (first, second))
    assert first.startswith("shop/data ")
    assert first.endswith("two lines")
    assert second.split()[-4:] == ["-", "-", "two", "lines"]


def test_wide_has_more_columns() -> None:
    """`-o wide` tells driver, class, PV and who is waited for, besides."""
    narrow, wide = (table([STUCK], NOW, wide=wide).splitlines()[0].split() for wide in (False, True))
    assert [name for name in wide if name not in narrow] == ["DRIVER", "CLASS", "PV", "HELD", "BY"]
    assert f"held by {REFUSED.holder}" in wide_line(Change(What.APPEARED, STUCK), NOW)


def test_yaml_tells_what_json_tells() -> None:
    """A change as one document of a YAML stream has the fields of the JSON line."""
    change = Change(What.APPEARED, STUCK)
    documents = list(yaml.safe_load_all(f"{yaml_document(change, NOW)}\n{yaml_document(change, NOW)}\n"))
    assert documents == [json.loads(json_line(change, NOW))] * 2


async def printed(story: Story, form: str = "table") -> int:
    session = Session("test", lambda: story.at)

    async def batches():  # type: ignore[no-untyped-def]
        events_: list[TraceEvent] = story.events
        yield events_

    return await print_once(session, lambda: session.run(batches()), form=form)


async def test_what_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The volume with its step; exit code 0 while none is stuck. In JSON, who is not heard is told beside."""
    story = dict(straight_road())["17"]
    assert await printed(story) == 0
    captured = capsys.readouterr()
    assert "17 in use" in captured.out
    assert captured.err == ""
    story.tell(events.SourceDown(witness=Witness.KUBERNETES, scope="Lease", reason="may not", denied=True))
    assert await printed(story, "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [volume["claim"] for volume in told["volumes"]] == ["data"]
    assert told["notHeard"] == [
        {"witness": "kubernetes", "scope": "Lease", "denied": True, "reason": "may not"}
    ]


async def test_a_stuck_volume_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    """So a script can ask whether all is well."""
    story = dict(straight_road())["15"]
    story.at += 3600 * 10**9
    assert await printed(story) == 1
    assert "STUCK" in capsys.readouterr().out


async def test_a_server_that_is_not_there_is_an_error() -> None:
    """Nothing is printed as if there were no volumes."""
    story = Story()
    for kind in KINDS:
        story.tell(
            events.SourceDown(witness=Witness.KUBERNETES, scope=kind.name, reason="connection refused")
        )
    with pytest.raises(UnreachableError, match="connection refused"):
        await printed(story)


def test_refusals_are_one_sentence() -> None:
    """What may not be listed is named together; what may in one namespace, too; every other silence has its own words."""
    story = Story().hear_everyone()
    for scope in ("Pod", "PersistentVolume", "Node"):
        reason = f"may not list and watch {scope} at the cluster scope"
        story.tell(events.SourceDown(witness=Witness.KUBERNETES, scope=scope, reason=reason, denied=True))
    story.tell(events.SourceUp(witness=Witness.KUBERNETES, scope="Pod/shop"))
    story.tell(events.SourceDown(witness=Witness.KERNEL, scope="n1", reason="no agent"))
    assert sentences(silences(story.state).values()) == [
        "not heard: kernel n1: no agent",
        "not heard: kubernetes Node, PersistentVolume: may not list and watch them",
        "heard in namespace shop only: kubernetes Pod",
    ]


def test_a_kind_that_is_refused_everywhere_is_named_once() -> None:
    """In the cluster and in the namespace: the namespace says it all."""
    story = Story()
    for scope in ("Pod/shop", "Pod"):
        reason = f"may not list and watch pods of {scope}"
        story.tell(events.SourceDown(witness=Witness.KUBERNETES, scope=scope, reason=reason, denied=True))
    assert sentences(silences(story.state).values()) == [
        "not heard: kubernetes Pod/shop: may not list and watch pods of Pod/shop"
    ]


def test_a_cause_is_told_once_of_all_that_are_silent_for_it() -> None:
    """An API server that cannot be reached is one sentence, not one for each kind."""
    story = Story().hear_everyone()
    for kind in ("Pod", "Node"):
        story.tell(events.SourceDown(witness=Witness.KUBERNETES, scope=kind, reason="connection refused"))
    story.tell(events.SourceDown(witness=Witness.KUBERNETES, scope="Lease", reason="timed out"))
    assert sentences(silences(story.state).values()) == [
        "not heard: kubernetes Lease: timed out",
        "not heard: kubernetes Node, Pod: connection refused",
    ]
