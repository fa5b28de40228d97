"""The roles that `csitrace rbac` prints."""

from typing import Any

import pytest
import yaml

from csitrace.cli.rbac import manifest
from csitrace.errors import UsageError
from csitrace.model.kinds import EVENT, KINDS, PERSISTENT_VOLUME_CLAIM, POD


def allowed(role: Any) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of all rules."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_cluster_role_allows_just_what_is_read() -> None:
    """Each watched kind may be listed and watched; nothing else may be done."""
    role = yaml.safe_load(manifest())
    assert role["kind"] == "ClusterRole"
    assert allowed(role) == {
        (kind.group, kind.resource, verb) for kind in KINDS for verb in ("list", "watch")
    }


def test_the_role_is_of_one_namespace() -> None:
    """Claims, pods and Events, in the namespace that was named."""
    role = yaml.safe_load(manifest("shop"))
    assert (role["kind"], role["metadata"]["namespace"]) == ("Role", "shop")
    kinds = (PERSISTENT_VOLUME_CLAIM, POD, EVENT)
    assert allowed(role) == {
        (kind.group, kind.resource, verb) for kind in kinds for verb in ("list", "watch")
    }


@pytest.mark.parametrize("name", ["Shop", "a/b", "x: y", "$x", "-a"])
def test_what_is_no_namespace_is_refused(name: str) -> None:
    """Nothing but a namespace's name comes into the YAML."""
    with pytest.raises(UsageError, match="is no name of a namespace"):
        manifest(name)
