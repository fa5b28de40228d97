"""csitrace without a screen: its sources and session on a cluster, and conditions of their state to wait for."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from csitrace.cli.hearing import local_sources
from csitrace.engine.merge import merge
from csitrace.engine.session import Session
from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.history import History
from csitrace.lifecycle.state import State, Volume
from csitrace.lifecycle.verdict import verdict
from csitrace.lifecycle.views import Verdict
from csitrace.model.events import Witness
from csitrace.model.times import format_rfc3339
from csitrace.sources import Source
from csitrace.sources.kubernetes.config import ConnectionOptions
from csitrace.sources.kubernetes.source import KubernetesSource
from tests.cluster.conftest import Target
from tests.cluster.harness import storage

T = TypeVar("T")

HEARD_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Watching:
    """A session that is taking facts in. ``heard``: the witnesses that this machine can hear of the cluster."""

    session: Session
    heard: frozenset[Witness]
    running: "asyncio.Task[None]"

    @property
    def state(self) -> State:
        return self.session.state

    async def until(self, what: str, condition: Callable[[State], T | None], within_s: float = 60.0) -> T:
        """What ``condition`` returns for the first state, from now on, for which that is true.

        It is asked after every change. Fails with ``what`` was awaited, and with how things stand, after ``within_s``.
        """
        changed = asyncio.Event()
        forget = self.session.on_change(changed.set)
        try:
            async with asyncio.timeout(within_s):
                while not (found := condition(self.state)):
                    assert not self.running.done(), f"the session has ended: {self.running}"
                    await changed.wait()
                    changed.clear()
                return found
        except TimeoutError:
            raise AssertionError(
                f"not within {within_s:g} s: {what}\n{describe(self.state, self.session.now)}"
            ) from None
        finally:
            forget()

    def verdicts(self, key: str) -> Iterator[Verdict]:
        """Every verdict that anyone looking at one volume can have been given: after each fact, and just before the next."""
        history = self.session.history
        state = history.state_at(history.first_seq)
        for event in history.events(history.first_seq + 1, history.tail_seq):
            if key in state.volumes:
                yield verdict(state, state.volumes[key], event.observed_at)
            state = fold(state, event)
            if key in state.volumes:
                yield verdict(state, state.volumes[key], event.observed_at)


@asynccontextmanager
async def watching(
    target: Target, history: History | None = None, feeds: Sequence[str] = ()
) -> AsyncIterator[Watching]:
    """``csitrace watch`` on the cluster, begun and complete: every witness that can be heard has told all there is. ``feeds``: of
    drivers besides the usual one."""
    kubernetes = await KubernetesSource.open(ConnectionOptions(kubeconfig=str(target.kubectl.kubeconfig)))
    sources: list[Source] = [kubernetes]
    heard = {Witness.KUBERNETES}
    if target.cluster is not None:  # its nodes are this machine
        nodes = target.cluster.nodes
        sources += local_sources(
            [(str(node.kubelet_root), node.name) for node in nodes],
            [*(storage.driver_feed(node) for node in nodes), *feeds],
        )
        heard |= {Witness.DRIVER, Witness.KERNEL}
    async with hearing(sources, heard, history) as watched:
        yield watched


@asynccontextmanager
async def hearing(
    sources: Sequence[Source], heard: Collection[Witness], history: History | None = None
) -> AsyncIterator[Watching]:
    """A session over some sources, once those of the witnesses named have told all there is."""
    session = Session("test", history=history)
    running = asyncio.create_task(session.run(merge(sources)))
    try:
        watched = Watching(session, frozenset(heard), running)
        await watched.until("every witness is heard", lambda state: is_heard(state, *heard), HEARD_WITHIN_S)
        yield watched
    finally:
        running.cancel()
        await asyncio.wait({running})


def is_heard(state: State, *witnesses: Witness) -> bool:
    """Whether each of these has at least one source, all of its sources are up, and no first list is outstanding."""
    return all(
        any(who is witness for who, _ in state.sources)
        and all(
            source.up and (source.listed or witness is Witness.DRIVER)
            for (who, _), source in state.sources.items()
            if who is witness
        )
        for witness in witnesses
    )


def find_volume(state: State, namespace: str, name: str = "data") -> Volume | None:
    """The volume of a claim, also when it is gone."""
    return next((v for v in state.volumes.values() if (v.namespace, v.name) == (namespace, name)), None)


def describe(state: State, now: int) -> str:
    """How every source and every volume stands, for the message of a failed test."""
    lines = [
        f"{witness.value} {scope}: {'up' if source.up else f'down, {source.reason}'}"
        for (witness, scope), source in state.sources.items()
    ]
    for volume in state.volumes.values():
        word = verdict(state, volume, now)
        lines.append(
            f"{volume.display_name}: {word.severity.name} at {word.step_id}, {word.sentence} ({word.holder})"
        )
        lines += [
            f"  {item.witness.value}: {item.text} [{item.seq}, {format_rfc3339(item.at) if item.at else 'no time'}]"
            for item in word.evidence
        ]
    return "\n".join(lines)
