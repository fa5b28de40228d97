"""`explain` and `wait` as programs, on an API server that holds what a story left there."""

import asyncio
import json
import os
import sys
from pathlib import Path

from csitrace.model.kubernetes import Event
from tests.integration.kubernetes.api_server import ApiServer
from tests.story import NODE, PV_NAME, Story, attachment, happened, pod, straight_road

ROAD = dict(straight_road())


def stand(server: ApiServer, story: Story) -> None:
    """The server holds what the story's last state holds."""
    for stored in story.state.objects.values():
        server.load(stored.object)


async def csitrace(server: ApiServer, directory: Path, *arguments: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command on the server, heard without agents and drivers."""
    config = directory / "config"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [{"name": "test", "cluster": {"server": server.url}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": ""}}],
            }
        )
    )
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "csitrace",
        *arguments,
        f"--kubeconfig={config}",
        "--no-agents",
        f"--kubelet-root={directory}",
        "--node-name=elsewhere",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
    )
    out, err = await asyncio.wait_for(program.communicate(), 110)
    return program.returncode or 0, out.decode(), err.decode()


async def test_explain_names_what_is_stuck_and_since_when(server: ApiServer, tmp_path: Path) -> None:
    """The attach was refused before anybody watched: the page names the step, the refusal, who acts, and where times are from."""
    story = Story(ROAD["12"].state, list(ROAD["12"].events), ROAD["12"].at)
    story.put(attachment(error="rpc error: code = Internal desc = no such disk", finalizer=True))
    stand(server, story)
    code, out, _ = await csitrace(server, tmp_path, "explain", "pvc/data", "-n", "shop")
    assert code == 1
    assert out.startswith("✗ shop/data   STUCK   13 ControllerPublishVolume\n")
    assert "no such disk" in out
    assert "held by   external-attacher → driver" in out
    assert "kubectl get volumeattachment csi-0123456789 -o yaml" in out
    assert "creationTimestamp of" in out
    assert "\x1b" not in out


async def test_explain_as_json_is_the_same(server: ApiServer, tmp_path: Path) -> None:
    """Without names: what is not well, and the others as a number."""
    story = Story(ROAD["15"].state, list(ROAD["15"].events), ROAD["15"].at)
    message = (
        f'MountVolume.MountDevice failed for volume "{PV_NAME}" : rpc error: code = Internal desc = boom'
    )
    told = happened("FailedMount", message, pod(NODE))
    assert isinstance(told, Event)
    story.put(told)
    stand(server, story)
    code, out, _ = await csitrace(server, tmp_path, "explain", "-o", "json")
    volume = json.loads(out)["volumes"][0]
    assert (code, volume["step"], volume["severity"]) == (1, "16a", "stuck")
    assert volume["events"][0]["reason"] == "FailedMount"


async def test_a_name_that_is_not_there_is_wrong_usage(server: ApiServer, tmp_path: Path) -> None:
    """One line, with what there is."""
    stand(server, ROAD["17"])
    code, out, err = await csitrace(server, tmp_path, "explain", "pvc/date")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == 'csitrace: no volume matches (claim="date"); there is shop/data'


async def test_a_cluster_that_is_not_there_is_3(server: ApiServer, tmp_path: Path) -> None:
    """Neither command says anything of volumes that nobody could ask for."""
    await server.stop()
    for command in (["explain"], ["wait", "pvc/data", "--for", "bound", "--timeout", "0"]):
        code, out, err = await csitrace(server, tmp_path, *command)
        assert (code, out) == (3, "")
        assert "Traceback" not in err


async def test_wait_is_for_scripts(server: ApiServer, tmp_path: Path) -> None:
    """Met: 0. Not met in time: 1 and why. What is not there is deleted."""
    stand(server, ROAD["17"])
    published = ("wait", "pvc/data", "-n", "shop", "--for", "phase=PUBLISHED", "--timeout", "60s")
    assert await csitrace(server, tmp_path, *published) == (0, "shop/data: phase=PUBLISHED\n", "")
    deleted = ("wait", "pvc/data", "--for", "deleted", "--timeout")
    code, _, err = await csitrace(server, tmp_path, *deleted, "0")
    assert (code, err) == (1, "not deleted now: shop/data: step 17: in use\n")
    gone = ("wait", "pvc/never", "--for", "deleted", "--timeout", "60s")
    assert await csitrace(server, tmp_path, *gone) == (0, "", "")
