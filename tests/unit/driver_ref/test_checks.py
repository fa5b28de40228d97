"""The table of arguments, against the descriptors that it speaks of."""

from typing import Any

import pytest

from csitrace.csi import csi_pb2
from csitrace.model.rpc import RPCS, Code
from driver_ref.capabilities import FEATURES, NAMES, Capabilities
from driver_ref.checks import RULES, check, mode_of
from driver_ref.refusal import RefusedError

_GROUPS_LEFT_OUT = {"CreateSnapshot", "DeleteSnapshot", "ListSnapshots", "ControllerModifyVolume"}


def _request(method: str) -> Any:
    return getattr(csi_pb2, f"{method}Request")


def test_every_call_that_the_driver_serves_has_a_rule() -> None:
    """A new call in the catalogue is either checked or on the short list of those that are not implemented."""
    assert set(RULES) | _GROUPS_LEFT_OUT == {rpc.method for rpc in RPCS}


@pytest.mark.parametrize("method", sorted(RULES))
def test_rules_name_fields_that_exist(method: str) -> None:
    """A misspelt field would never be checked."""
    fields = set(_request(method).DESCRIPTOR.fields_by_name)
    assert {*RULES[method].required, *RULES[method].paths} <= fields


@pytest.mark.parametrize("method", sorted(method for method, rule in RULES.items() if rule.required))
def test_an_empty_request_is_refused_with_the_first_field_that_is_missing(method: str) -> None:
    """INVALID_ARGUMENT, and the field by name."""
    with pytest.raises(RefusedError) as caught:
        check(method, _request(method)())
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == f"{RULES[method].required[0]} is required"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"volume_id": "v" * 129}, "volume_id is longer than 128 bytes"),
        ({"staging_target_path": "relative"}, "must be an absolute path"),
        ({"staging_target_path": "/with\0nul"}, "must be an absolute path"),
        ({"volume_capability": csi_pb2.VolumeCapability()}, "no access_type"),
        ({"volume_capability": csi_pb2.VolumeCapability(mount={})}, "no access_mode"),  # type: ignore[arg-type]
    ],
)
def test_a_malformed_field_is_refused(fields: dict[str, Any], words: str) -> None:
    """One field wrong in an otherwise good NodeStageVolume."""
    good = {
        "volume_id": "v",
        "staging_target_path": "/s",
        "volume_capability": {"mount": {}, "access_mode": {"mode": 1}},
    }
    check("NodeStageVolume", csi_pb2.NodeStageVolumeRequest(**good))  # type: ignore[arg-type]  # a table of fields
    with pytest.raises(RefusedError) as caught:
        check("NodeStageVolume", csi_pb2.NodeStageVolumeRequest(**good | fields))
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert words in caught.value.message


def test_an_access_mode_of_the_future_is_unknown_not_an_error() -> None:
    """proto3 enums are open: a number that this csi.proto has no name for is treated as UNKNOWN."""
    mode = csi_pb2.VolumeCapability.AccessMode.FromString(b"\x08\x63")
    assert mode_of(csi_pb2.VolumeCapability(access_mode=mode)) == ""


def test_capabilities_stand_and_fall_with_their_calls() -> None:
    """Each row's calls exist, and are refused exactly when the row is off."""
    methods = {rpc.method for rpc in RPCS}
    for feature in FEATURES:
        assert set(feature.methods) <= methods
        off = Capabilities(frozenset({feature.name}))
        assert [off.refused(method) for method in feature.methods] == [feature.name] * len(feature.methods)
        on = Capabilities(frozenset(NAMES) - {feature.name})
        assert [on.refused(method) for method in feature.methods] == [None] * len(feature.methods)
