"""The lab does what a real cluster was recorded to do: the same changes of each object, the same Events, the same calls."""

import asyncio
from collections.abc import Callable

import aiohttp
import msgspec
import pytest

from csitrace.lab.client import Client, Endpoint
from tests.integration.lab.compared import NAMES, RECORDED, STRAIGHT, Outcomes, form_of, live_all
from tests.integration.lab.conftest import LabProcess
from tests.integration.lab.sequence import STRAIGHT_ROAD, recording
from tests.roads.in_lab import InLab


@pytest.fixture(scope="module")
def lived(new_lab: Callable[..., LabProcess]) -> Outcomes:
    """All lives, side by side in one lab of two nodes."""
    lab = new_lab("--scenario", "none", "--speed", "10", "--nodes", "2")
    lab.wait_registered()

    async def live() -> Outcomes:
        feeds = [node["feed"] for node in lab.nodes]
        async with (
            aiohttp.ClientSession() as session,
            recording(lab.ready["kubeconfig"], feeds) as recorded,
        ):
            place = InLab(lab, Client(session, Endpoint(lab.ready["url"], lab.token), "kubectl"))
            return await live_all(place, recorded, "lab")

    outcomes = asyncio.run(live())
    lab.close()
    return outcomes


@pytest.mark.parametrize("life", NAMES)
def test_the_lab_lives_as_the_cluster_did(lived: Outcomes, life: str) -> None:
    """Each life gives the recorded sequences: of every object, of the Events about it, of the calls for it."""
    assert form_of(lived[life]) == msgspec.json.decode(RECORDED.read_bytes())[life]


def test_the_lab_keeps_the_order_of_causes(lived: Outcomes) -> None:
    """There and back: between the objects the steps come in the one order that all programs together allow."""
    told = lived[STRAIGHT]
    assert isinstance(told, list)
    assert [step for step in told if step in STRAIGHT_ROAD] == list(STRAIGHT_ROAD)
