"""What somebody sees who may not see everything, and how often csitrace asks for what it was refused."""

import asyncio

import pytest

from csitrace.engine.merge import merge
from csitrace.engine.session import Session
from csitrace.errors import NotAllowedError
from csitrace.lifecycle.ladder import ladder
from csitrace.lifecycle.row import volume_row
from csitrace.lifecycle.state import State, StepStatus
from csitrace.lifecycle.verdict import standing
from csitrace.lifecycle.views import Severity
from csitrace.model.events import ListCompleted, SourceDown, SourceUp
from csitrace.model.kinds import KINDS, PERSISTENT_VOLUME, POD
from csitrace.report.once import print_once
from csitrace.report.printer import print_changes
from csitrace.report.refusal import unless_refused
from csitrace.sources.kubernetes.access import Access
from csitrace.sources.kubernetes.source import KubernetesSource
from tests import story
from tests.integration.kubernetes import permissions
from tests.integration.kubernetes.api_server import ApiServer
from tests.integration.kubernetes.listener import listening


@pytest.fixture(scope="module")
def states() -> permissions.States:
    """What is seen by whom."""
    return asyncio.run(permissions.all_seen())


def test_the_documented_table_is_what_is_shown(states: permissions.States) -> None:
    """docs/permissions.md tells, for each permission that is missing, what csitrace shows.

    To mend it: `python -m tests.integration.kubernetes.permissions`.
    """
    assert permissions.table(states) in permissions.DOCUMENT.read_text()


@pytest.mark.parametrize("moment", permissions.MOMENTS)
@pytest.mark.parametrize("case", permissions.CASES, ids=lambda case: case.lacks)
def test_a_missing_permission_makes_nothing_untrue(
    states: permissions.States, case: permissions.Case, moment: str
) -> None:
    """Whoever sees less is told no step as done, failed or not applicable that is not so, and no volume as late that is used."""
    whole, partly = states[permissions.CASES[0], moment], states[case, moment]
    if story.KEY not in partly.volumes:
        return
    truth, said = statuses(whole), statuses(partly)
    definite = (StepStatus.DONE, StepStatus.FAILED, StepStatus.NOT_APPLICABLE)
    untrue = {
        step: (said[step], truth[step])
        for step in said
        if said[step] in definite and said[step] is not truth[step]
    }
    assert untrue == {}
    now = story.START + permissions.AFTER_NS
    if volume_row(whole, whole.volumes[story.KEY], now).severity is Severity.OK:
        assert volume_row(partly, partly.volumes[story.KEY], now).severity in (Severity.OK, Severity.UNKNOWN)


def statuses(state: State) -> dict[str, StepStatus]:
    """How each step is shown, for the pod that has come least far."""
    volume = state.volumes[story.KEY]
    return {view.step_id: view.status for view in ladder(state, volume, standing(state, volume).use)}


def test_the_user_of_one_namespace_is_told_the_drivers_own_words(states: permissions.States) -> None:
    """Claims, pods and Events of one namespace show what is in use, what failed, and why."""
    tenant = permissions.CASES[-1]
    shown = {moment: permissions.shown(states[tenant, moment]) for moment in permissions.MOMENTS}
    assert shown["in use"].startswith("**OK** 17")
    assert shown["attach is refused"].startswith("**STUCK** 13")
    assert "no slot is free" in shown["attach is refused"]
    assert shown["cannot be provisioned"].startswith("**STUCK** 6")
    assert "the pool is full" in shown["cannot be provisioned"]


async def test_what_is_refused_is_asked_for_ever_more_seldom(server: ApiServer) -> None:
    """A kind that may not be read is asked for again after ever longer pauses, not in a storm; and heard once it may be."""
    server.refusals["persistentvolumes"] = 403
    source = KubernetesSource(Access(server=server.url, near=True), kinds=(PERSISTENT_VOLUME,))
    async with listening(source) as heard:
        await server.until_asked_for("persistentvolumes", 3)
        server.refusals.clear()
        await heard.until(lambda: heard.of(ListCompleted))
    asked_at = [at for request, at in server.requests if request.path.endswith("persistentvolumes")]
    assert asked_at[1] - asked_at[0] >= 0.5
    assert asked_at[2] - asked_at[1] >= 1.0
    assert len(heard.of(SourceDown)) == 1


async def test_nothing_is_decided_before_the_namespace_was_tried(server: ApiServer) -> None:
    """That the cluster may not be listed is told with the word on the namespace, so that no view takes it for the end."""
    server.refusals["pods"] = 403
    server.put("pods", "mine", "shop")
    source = KubernetesSource(Access(server=server.url, namespace="shop", near=True), kinds=(POD,))
    async with listening(source) as heard:
        await heard.until_listed("Pod/shop")
    told = [(type(body), body.scope) for body in heard.bodies if isinstance(body, (SourceUp, SourceDown))]
    assert told == [(SourceUp, "Pod/shop"), (SourceDown, "Pod")]


async def test_a_permission_that_is_given_is_used(server: ApiServer) -> None:
    """Once the cluster may be listed, what was refused is heard as a whole, and the narrower refusal is no longer told."""
    server.refusals |= {"pods": 403, "pods/shop": 403}
    server.put("pods", "theirs", "bank")
    session = Session("test")
    source = KubernetesSource(Access(server=server.url, namespace="shop", near=True), kinds=(POD,))
    listed = asyncio.Event()
    session.on_change(lambda: listed.set() if any(s.listed for s in session.state.sources.values()) else None)
    running = asyncio.create_task(session.run(merge([source])))
    try:
        await server.until_asked_for("pods", 2)
        del server.refusals["pods"]
        await asyncio.wait_for(listed.wait(), permissions.PATIENCE_S)
    finally:
        running.cancel()
        await asyncio.wait({running})
    assert {scope: source.up for (_, scope), source in session.state.sources.items()} == {"Pod": True}


@pytest.mark.parametrize("printing", [print_changes, print_once])
async def test_who_may_read_nothing_is_told_so_at_once(
    printing: "type[object]", capsys: pytest.CaptureFixture[str]
) -> None:
    """A user without any right ends with one error that says what is refused and what to do, and with nothing printed before."""
    async with ApiServer() as server:
        for kind in KINDS:
            server.refusals |= {kind.resource: 403, f"{kind.resource}/shop": 403}
        session = Session("test")
        source = KubernetesSource(Access(server=server.url, namespace="shop", near=True))

        async def take_in() -> None:
            await session.run(unless_refused(session, merge([source])))

        with pytest.raises(NotAllowedError, match=r"persistentvolumeclaims in namespace shop.* -n") as caught:
            await asyncio.wait_for(printing(session, take_in), permissions.PATIENCE_S)  # type: ignore[arg-type, call-arg]
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")


async def test_one_kind_is_enough_to_go_on() -> None:
    """Somebody who may read anything at all, be it Events alone, is not sent away."""
    async with ApiServer() as server:
        for kind in KINDS:
            if kind.name != "Event":
                server.refusals |= {kind.resource: 403, f"{kind.resource}/shop": 403}
        session = Session("test")
        source = KubernetesSource(Access(server=server.url, namespace="shop", near=True))

        async def take_in() -> None:
            await session.run(unless_refused(session, merge([source])))

        assert await asyncio.wait_for(print_once(session, take_in), permissions.PATIENCE_S) == 0
