"""The manifests for a user's cluster, checked against the program that they start."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import driver_ref
from driver_ref import settings
from driver_ref.faults import from_parameters

DEPLOY = Path(driver_ref.__file__).parent / "deploy"
PLACEHOLDERS = {"DRIVER_IMAGE", "SIDECAR_IMAGES"}


def _objects() -> list[dict[str, Any]]:
    return [
        document
        for path in sorted(DEPLOY.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    ]


def _containers() -> list[dict[str, Any]]:
    kinds = ("StatefulSet", "Deployment", "DaemonSet")
    return [c for o in _objects() if o["kind"] in kinds for c in o["spec"]["template"]["spec"]["containers"]]


def test_the_drivers_arguments_are_its_command_line() -> None:
    """Each driver container's arguments are accepted, and of each driver the two together have both roles."""
    drivers = [container for container in _containers() if container["name"] == "driver"]
    found = [
        settings.parse([re.sub(r"\$\((\w+)\)", "x", text) for text in driver["args"]]) for driver in drivers
    ]
    for name, launcher in ((settings.DEFAULT_NAME, "process"), ("fuse.csitrace.dev", "pod")):
        both = [one for one in found if one.driver_name == name]
        assert sorted((one.controller, one.node) for one in both) == [(False, True), (True, False)]
        assert len({one.state_dir for one in both}) == 1
        assert {one.launcher for one in both} == {launcher}


def test_storage_classes_name_faults_that_can_be_read() -> None:
    """The example of faults on demand is one that CreateVolume takes."""
    classes = [item for item in _objects() if item["kind"] == "StorageClass"]
    drivers = {item["metadata"]["name"] for item in _objects() if item["kind"] == "CSIDriver"}
    assert {item["provisioner"] for item in classes} == drivers
    assert sum(len(from_parameters(item.get("parameters", {}), "v")) for item in classes) == 1


def test_only_the_container_that_mounts_is_privileged() -> None:
    """Every other one drops all capabilities and cannot gain any."""
    for container in _containers():
        context = container["securityContext"]
        if context.get("privileged"):
            assert container["name"] == "driver"
            assert any(
                mount.get("mountPropagation") == "Bidirectional" for mount in container["volumeMounts"]
            )
        else:
            assert context["capabilities"]["drop"] == ["ALL"]
            assert context["allowPrivilegeEscalation"] is False


def test_no_rule_is_broader_than_it_says() -> None:
    """No wildcard, and nobody reads Secrets."""
    rules = [rule for item in _objects() for rule in item.get("rules", ())]
    assert rules
    for rule in rules:
        named = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert "*" not in named
        assert "secrets" not in named


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("*.yaml")), ids=lambda path: path.name)
def test_placeholders_are_the_documented_ones(path: Path) -> None:
    """docs/driver.md tells the user to set these two, and no other."""
    assert set(re.findall(r"\$\{(\w+)\}", path.read_text())) <= PLACEHOLDERS


def test_the_documentation_speaks_of_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Every option in docs/driver.md is in --help, and every fault in its examples can be read."""
    text = (DEPLOY.parents[1] / "docs" / "driver.md").read_text()
    with pytest.raises(SystemExit):
        settings.parse(["--help"])
    options = set(re.findall(r"`(?:[^`]* )?(--[a-z-]+)", text)) - {"--help"}
    assert len(options) > 5
    assert options <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    examples = dict(re.findall(r'^  (fault\.\S+): "(\S+)"$', text, re.MULTILINE))
    assert len(from_parameters(examples, "v")) == len(examples) == 3
