"""Where volumes can be reached from: topology segments, keys to values (CSI specification, message Topology)."""

from collections.abc import Mapping, Sequence


def default_segments(driver_name: str, node_id: str) -> dict[str, str]:
    """A node's segments when the command line gives none: the node itself, since the bytes are in its directory."""
    return {f"topology.{driver_name}/node": node_id}


def satisfies(place: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether something at `place` is inside `wanted`: every wanted key is there with the wanted value."""
    return all(place.get(key) == value for key, value in wanted.items())


def choose(
    preferred: Sequence[dict[str, str]],
    requisite: Sequence[dict[str, str]],
    nodes: Sequence[Mapping[str, str]],
) -> dict[str, str] | None:
    """The first wanted place, preferred ones first, where one of `nodes` is; None where there is none.

    With neither preferred nor requisite places any node will do, and the volume is bound to none: an empty dict.
    """
    if not preferred and not requisite:
        return {}
    for segments in (*preferred, *requisite):
        if any(satisfies(node, segments) for node in nodes):
            return segments
    return None
