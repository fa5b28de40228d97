"""What tells a client such as kubectl what is served here: `/version`, `/api`, `/apis` and the lists of resources."""

import itertools

from csitrace.lab.apiserver.resources import RESOURCES, Resource
from csitrace.lab.status import Object

GIT_VERSION = "v1.34.4+csitrace-lab"
"""The release whose behaviour is followed."""

_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


def documents() -> dict[str, Object]:
    """Path -> the answer to a GET of it."""
    found: dict[str, Object] = {
        "/version": {"major": "1", "minor": "34", "gitVersion": GIT_VERSION, "platform": "linux/amd64"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    }
    for group, rows in itertools.groupby(sorted(RESOURCES, key=_group), key=_group):
        resources = list(rows)
        version = {"groupVersion": resources[0].api_version, "version": resources[0].version}
        path = f"/apis/{version['groupVersion']}" if group else f"/api/{version['groupVersion']}"
        found[path] = {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": version["groupVersion"],
            "resources": [entry for resource in resources for entry in _entries(resource)],
        }
        if group:
            entry = {"name": group, "versions": [version], "preferredVersion": version}
            found["/apis"]["groups"].append(entry)
            found[f"/apis/{group}"] = {"kind": "APIGroup", "apiVersion": "v1"} | entry
    return found


def _group(resource: Resource) -> str:
    return resource.group


def _entries(resource: Resource) -> list[Object]:
    entry: Object = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _VERBS,
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    entries = [entry]
    if resource.has_status:
        status = {
            "name": f"{resource.plural}/status",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": ["get", "patch", "update"],
        }
        entries.append(status)
    return entries
