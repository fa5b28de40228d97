"""The lives that the lab is held to: walked on a real cluster, recorded, and walked in the lab.

A life is short, deletes all it made, and asks nothing of the order of a race: what a user does next waits until what came of the
last thing is over.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tests.integration.lab.lives import LIVES, Life
from tests.integration.lab.sequence import Recording, normal_form, steps
from tests.integration.lab.walker import Walker
from tests.roads.road import Place

RECORDED = Path(__file__).with_name("recorded.json")
"""By life the normal form of its walk on Kubernetes 1.34 with the stock sidecars; tests/cluster/test_lab.py made it."""

STRAIGHT = "immediate"
"""The life whose steps are looked at for their order between the objects."""

Outcomes = dict[str, list[str] | BaseException]
"""By life its steps (`sequence.steps`), or what went wrong in it."""


NAMES = tuple(life.__name__.replace("_", "-") for life in LIVES)


async def live_all(place: Place, recording: Recording, suffix: str, lives: Sequence[str] = NAMES) -> Outcomes:
    """All lives side by side. `suffix`: of their namespaces."""
    chosen = [(name, life) for name, life in zip(NAMES, LIVES, strict=True) if name in lives]
    outcomes = await asyncio.gather(
        *(_live(life, place, recording, f"{name}-{suffix}") for name, life in chosen), return_exceptions=True
    )
    return {name: outcome for (name, _), outcome in zip(chosen, outcomes, strict=True)}


async def _live(life: Life, place: Place, recording: Recording, namespace: str) -> list[str]:
    walker = Walker(place, recording, namespace)
    await place.open_namespace(namespace)
    try:
        await life(walker)
        await walker.over()
    finally:
        await place.close_namespace(namespace)
    return steps(recording.observations, namespace)


def form_of(outcome: list[str] | BaseException) -> dict[str, list[str]]:
    """The normal form of a life's steps; raises what went wrong in it."""
    if isinstance(outcome, BaseException):
        raise outcome
    return normal_form(outcome)
