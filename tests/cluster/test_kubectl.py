"""``kubectl csitrace`` with the real kubectl: found on PATH, called by its name, completed, and given kubectl's flags."""

import json

import pytest
import yaml

from csitrace.cli.program import COMMANDS
from tests.cluster import plugin
from tests.cluster.conftest import Target
from tests.cluster.harness import objects, storage
from tests.cluster.harness.kubectl import Kubectl

_TABS = 20


def test_kubectl_finds_the_plugin(target: Target) -> None:
    """It is in kubectl's list, without a warning that it shadows or is shadowed."""
    done = plugin.run(target, "plugin", "list")
    assert "/kubectl-csitrace" in done.stdout
    assert "warning" not in [
        line.strip().partition(":")[0] for line in done.stderr.splitlines() if "csitrace" in line
    ]


@pytest.mark.parametrize("words", [[], ["watch"], ["get"], ["agent"], ["agent", "manifest"]])
def test_it_calls_itself_as_it_was_called(target: Target, words: list[str]) -> None:
    """Usage, also of commands, says ``kubectl csitrace``; so does an error, in one line with exit code 2."""
    done = plugin.run(target, "csitrace", *words, "--help")
    assert done.stdout.startswith(" ".join(["usage: kubectl csitrace", *words]))
    wrong = plugin.run(target, "csitrace", *words, "--no-such-flag")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("kubectl csitrace")
    assert len(wrong.stderr.splitlines()) == 1


def test_kubectl_completes_the_plugin(target: Target, kubectl: Kubectl) -> None:
    """Commands, flags, values, namespaces, contexts and names, by kubectl_complete-csitrace."""
    kubectl.apply(objects.claim("data", storage.WAITING_CLASS))

    def offered(*words: str) -> list[str]:
        done = plugin.run(target, "__complete", "csitrace", *words)
        *lines, directive = done.stdout.splitlines()
        assert directive.startswith(":")
        return [line.partition("\t")[0] for line in lines]

    def is_offered(expected: list[str], *words: str) -> bool:
        """Names that are looked up in time: on a busy machine one presses tab again."""
        return any(offered(*words) == expected for _ in range(_TABS))

    assert offered("") == [command.name for command in COMMANDS]
    assert {"--namespace", "--as-uid", "--selector"} <= set(offered("watch", "--"))
    assert offered("watch", "-o", "w") == ["wide"]
    contexts = plugin.run(target, "config", "get-contexts", "-o", "name").stdout.split()
    assert is_offered(contexts, "watch", "--context", "")
    assert offered("watch", "p") == ["pvc/", "pod/", "pv/"]
    assert is_offered([kubectl.namespace], "watch", "-n", kubectl.namespace[:-1])
    assert is_offered(["pvc/data"], "watch", "-n", kubectl.namespace, "pvc/")
    assert is_offered(["data"], "get", "pvc", "-n", kubectl.namespace, "d")


def test_a_volume_in_every_form(target: Target, kubectl: Kubectl, image: objects.Image) -> None:
    """``get`` takes kubectl's ways to name objects, and prints a table, a wide one, JSON and YAML of the same volume."""
    kubectl.apply(
        objects.claim("data", storage.WAITING_CLASS), objects.pod("web", image, claims=("data",)),
        objects.claim("other", storage.WAITING_CLASS),
    )  # fmt: skip
    kubectl.wait("condition=Ready", "pod/web", timeout_s=100)
    here = ("-n", kubectl.namespace, "--no-agents")
    name = f"{kubectl.namespace}/data"
    for words in (["pvc/data"], ["pvc", "data"], ["pods"], ["pod/web"], ["pvc,pod", "data"]):
        done = plugin.run(target, "csitrace", "get", *words, *here)
        assert done.returncode == 0, done.stderr
        heading, *lines = done.stdout.splitlines()
        assert heading.split()[:3] == ["VOLUME", "STATE", "STEP"]
        assert [line.split()[0] for line in lines] == [name]
    everything = plugin.run(target, "csitrace", "get", "-A", "--no-agents")
    assert {name, f"{kubectl.namespace}/other"} <= {
        line.split()[0] for line in everything.stdout.splitlines()[1:]
    }
    wide = plugin.run(target, "csitrace", "get", "pvc/data", "-o", "wide", *here).stdout
    assert storage.DRIVER_NAME in wide
    told = json.loads(plugin.run(target, "csitrace", "get", "pvc/data", "-ojson", *here).stdout)
    assert (told["volumes"][0]["claim"], told["volumes"][0]["phase"]) == ("data", "PUBLISHED")
    said = yaml.safe_load(plugin.run(target, "csitrace", "get", "pvc/data", "--output=yaml", *here).stdout)
    assert said["volumes"] == told["volumes"]


def test_labels_select_claims(target: Target, kubectl: Kubectl) -> None:
    """``-l`` shows the claims with these labels."""
    for name in ("red", "blue"):
        claim = objects.claim(name, storage.WAITING_CLASS)
        claim["metadata"]["labels"] = {"colour": name}
        kubectl.apply(claim)
    done = plugin.run(
        target, "csitrace", "get", "-n", kubectl.namespace, "-l", "colour=red", "-o", "json", "--no-agents"
    )
    assert [volume["claim"] for volume in json.loads(done.stdout)["volumes"]] == ["red"]
