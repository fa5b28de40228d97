"""Patches change what they name and nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csitrace.lab.apiserver.patch import merge_patch, strategic_merge_patch

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        # The cases of RFC 7386, appendix A.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: Any, patch: Any, merged: Any) -> None:
    """RFC 7386, case by case."""
    assert merge_patch(target, patch) == merged


@given(JSON, JSON)
def test_a_merge_patch_applied_twice_is_applied_once(target: Any, patch: Any) -> None:
    """Merge patches are idempotent, so a retried one does no harm."""
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


def test_strategic_lists_merge_by_their_key() -> None:
    """A condition is replaced by its type, and the others stay."""
    target = {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Initialized", "status": "True"}]}
    patch = {"conditions": [{"type": "Ready", "status": "True"}]}
    merged = strategic_merge_patch(target, patch)
    assert merged["conditions"] == [
        {"type": "Ready", "status": "True"},
        {"type": "Initialized", "status": "True"},
    ]


def test_strategic_directives() -> None:
    """Entries are removed by directive: from keyed lists, from finalizers, and whole maps are replaced."""
    target = {"metadata": {"finalizers": ["a", "b"]}, "conditions": [{"type": "Ready"}], "spec": {"x": 1}}
    patch = {
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]},
        "conditions": [{"type": "Ready", "$patch": "delete"}],
        "spec": {"$patch": "replace", "y": 2},
    }
    assert strategic_merge_patch(target, patch) == {
        "metadata": {"finalizers": ["b", "c"]},
        "conditions": [],
        "spec": {"y": 2},
    }
