"""``csitrace watch`` as people and programs run it, on a real cluster."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

from tests.cluster.conftest import Target
from tests.cluster.harness import objects, storage
from tests.cluster.harness.kubectl import Kubectl

_CHANGE_WITHIN_S = 60.0


async def test_a_program_reads_changes_as_json(
    target: Target, kubectl: Kubectl, image: objects.Image
) -> None:
    """Without a terminal a volume's changes come as one JSON object a line, from its claim to its end, every step later than the
    one before; SIGINT ends the program with 130 and without a word of Python."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "csitrace", "watch", "-o", "json", "-n", kubectl.namespace, "pvc/data", *_local(target),
        env=os.environ | {"KUBECONFIG": str(kubectl.kubeconfig)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    unheard = (
        set() if target.cluster is not None else {"unknown"}
    )  # what only driver and kernel of a node see
    try:
        assert program.stdout is not None
        lines = _lines(program.stdout)
        claim, pod = objects.claim("data", storage.WAITING_CLASS), objects.pod("pod", image, claims=("data",))
        await asyncio.to_thread(kubectl.apply, claim, pod)
        there = [line async for line in _until(lines, severity="ok")]
        assert there[0]["change"] == "appeared"
        assert _others(there, {"waiting", "moving", "ok"} | unheard) == []
        assert (there[-1]["phase"], there[-1]["pods"], there[-1]["finding"]) == ("PUBLISHED", ["pod"], "")
        await asyncio.to_thread(kubectl, "delete", "pod/pod", "persistentvolumeclaim/data", "--wait=false")
        back = [line async for line in _until(lines, change="gone")]
        assert _others(back, {"ok", "waiting", "moving", "gone"} | unheard) == []
        assert sorted(line["time"] for line in there + back) == [line["time"] for line in there + back]
        program.send_signal(signal.SIGINT)
        _, complaints = await asyncio.wait_for(program.communicate(), 10)
        assert (program.returncode, complaints) == (130, b"")
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


def _local(target: Target) -> list[str]:
    """The flags by which csitrace hears the other witnesses, where the cluster's nodes are this machine."""
    if target.cluster is None:
        return []
    return target.cluster.hearing()


async def _lines(output: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """Decoded lines, each awaited for at most ``_CHANGE_WITHIN_S``."""
    while line := await asyncio.wait_for(output.readline(), _CHANGE_WITHIN_S):
        yield json.loads(line)


async def _until(lines: AsyncIterator[dict[str, Any]], **last: str) -> AsyncIterator[dict[str, Any]]:
    """The lines up to the first that has these fields."""
    async for line in lines:
        yield line
        if last.items() <= line.items():
            return
    raise AssertionError(f"the program ended before it told {last}")


def _others(lines: list[dict[str, Any]], severities: set[str]) -> list[dict[str, Any]]:
    """The lines of none of these severities."""
    return [line for line in lines if line["severity"] not in severities]
