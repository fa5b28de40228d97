"""Where the lab differs from a real cluster, the lab is wrong: what it is compared with is what a real cluster does.

With CSITRACE_RECORD=lives the lives are recorded instead.
"""

import asyncio
import os
import uuid

import msgspec
import pytest

from tests.cluster.conftest import Target
from tests.cluster.harness import storage
from tests.integration.lab.compared import NAMES, RECORDED, STRAIGHT, Outcomes, form_of, live_all
from tests.integration.lab.sequence import STRAIGHT_ROAD, recording
from tests.roads.on_cluster import OnCluster


@pytest.fixture(scope="module")
def lived(target: Target) -> Outcomes:
    """All lives, side by side."""
    if target.cluster is None:
        pytest.skip(
            "needs the reference driver and its feed, which CSITRACE_TEST_KUBECONFIG does not tell of"
        )
    cluster = target.cluster
    nodes = tuple(node.name for node in cluster.nodes)
    place = OnCluster(target.kubectl, target.image, cluster, nodes)
    feeds = [storage.driver_feed(node) for node in cluster.nodes]

    async def live() -> Outcomes:
        async with recording(str(target.kubectl.kubeconfig), feeds) as recorded:
            return await live_all(place, recorded, uuid.uuid4().hex[:6])

    outcomes = asyncio.run(live())
    if os.environ.get("CSITRACE_RECORD") == "lives":
        forms = {life: form_of(told) for life, told in outcomes.items() if isinstance(told, list)}
        known = msgspec.json.decode(RECORDED.read_bytes(), type=dict[str, dict[str, list[str]]])
        kept = {life: form for life, form in known.items() if life in NAMES} | forms
        RECORDED.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
    return outcomes


@pytest.mark.parametrize("life", NAMES)
def test_the_recording_is_true(lived: Outcomes, life: str) -> None:
    """Each life gives the sequences that the lab is held to."""
    assert form_of(lived[life]) == msgspec.json.decode(RECORDED.read_bytes())[life]


def test_the_order_of_causes_is_true(lived: Outcomes) -> None:
    """There and back: between the objects the steps come in the one order that all programs together allow."""
    told = lived[STRAIGHT]
    assert isinstance(told, list)
    assert [step for step in told if step in STRAIGHT_ROAD] == list(STRAIGHT_ROAD)
