"""The filter language: what matches, and what a wrong filter says."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csitrace.errors import FilterError
from csitrace.lifecycle.filter import VOLUME_FIELDS, parse_volume_filter
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Severity, Verdict, VolumeRow
from csitrace.model.times import MINUTE, SECOND

NOW = 1_000 * SECOND
DONE, PENDING = StepStatus.DONE, StepStatus.PENDING
ROW = VolumeRow(
    key="claim/1",
    namespace="shop",
    name="orders-data",
    display_name="shop/orders-data",
    pv_name="pvc-1f15",
    driver="ebs.csi.aws.com",
    storage_class="gp3",
    phases=(DONE, DONE, PENDING, PENDING),
    stage="Mount",
    step_id="16a",
    step_title="NodeStageVolume",
    since=NOW - 2 * MINUTE,
    node_names=("n3", "n4"),
    pods=("orders-0",),
    severity=Severity.STUCK,
    finding="stage refused: bad key",
    verdict=Verdict(Severity.STUCK, "16a", "Stage is refused."),
    ops_per_second=12.5,
    errors=3,
)
UNTOLD = replace(ROW, since=None, ops_per_second=None, errors=None, finding="", severity=Severity.OK)


def matches(text: str, row: VolumeRow = ROW) -> bool:
    return parse_volume_filter(text).matches(row, NOW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "orders",
        "ORDERS",
        "shop/orders",
        "n4",
        "pvc-1f",
        "ebs orders-0",
        "driver:ebs and stuck>30s and not ns:dev",
        "ns:dev or ns:shop",
        "not (ns:dev or ns:test)",
        "phase:node_ready",
        "phase>=CREATED",
        "phase<published",
        "stage:mount",
        'finding:"bad key"',
        "finding:*",
        "claim:orders-*",
        "age<=2m",
        'claim="orders-data"',
        "ns=SHOP",
        "errors=3",
        "age>1m59s",
        "age:2m",
        "stuck:*",
        "ops>12",
        "errors:3",
        "NOT ns:dev",
        "class:gp3 node:n3 pod:orders pv:pvc",
        "not not orders",
    ],
)
def test_what_matches(text: str) -> None:
    """Words and terms match names, lists, numbers, durations and phases, in any case; blanks mean and."""
    assert matches(text)


@pytest.mark.parametrize(
    "text",
    [
        "payments",
        "ns:dev",
        "orders and payments",
        "not orders",
        "phase:published",
        "claim:orders*x",
        "claim:*orders",
        "claim=orders",
        "age>2m",
        "stuck<30s",
        "ops<1",
        '"and"',
        "dev or (shop and not orders)",
    ],
)
def test_what_does_not_match(text: str) -> None:
    """A term that is not so hides the row."""
    assert not matches(text)


@pytest.mark.parametrize("text", ["ops>0", "ops<=0", "errors:0", "age>0s", "stuck>0s", "finding:*", "ops:*"])
def test_what_is_not_told_matches_no_comparison(text: str) -> None:
    """Unknown is neither more nor less than anything, and not there for `*`."""
    assert not matches(text, UNTOLD)


def test_and_binds_tighter_than_or() -> None:
    """`a or b and c` is `a or (b and c)`."""
    assert matches("orders or dev and nothing")
    assert not matches("(orders or dev) and nothing")


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("orders and", 10, "missing here"),
        ("or orders", 0, "found 'or'"),
        ("(orders", 0, "never closed"),
        ("orders )", 7, "closes nothing"),
        ("orders drivr:ebs", 7, "no field 'drivr'"),
        ("stuck>fast", 6, "duration"),
        ("ops>many", 4, "a number"),
        ("phase:mounted", 6, "vol_ready"),
        ("ns>dev", 2, "write ns:dev"),
        ("ns:", 3, "needs a text"),
        ('x "open', 2, "quote"),
        ("()", 1, "found ')'"),
        ("not " * 300 + "x", 400, "levels"),
    ],
)
def test_wrong_filter_says_where_and_why(text: str, position: int, words: str) -> None:
    """The error names the offset of the offending word and what is wrong with it, in one line."""
    with pytest.raises(FilterError) as caught:
        parse_volume_filter(text)
    assert caught.value.position == position
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_a_filter_error(text: str) -> None:
    """No input does anything but parse or raise FilterError with a position inside the text."""
    position = 0
    try:
        parse_volume_filter(text).matches(ROW, NOW)
    except FilterError as error:
        position = error.position
    assert 0 <= position <= len(text)


WORDS = st.sampled_from(
    ["orders", "dev", "ns:shop", "driver:ebs", "age>1m", "ops<3", "errors:3", "finding:*", "phase:created"]
)
EXPRESSIONS = st.recursive(
    WORDS.map(lambda word: (word, matches(word))),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(
            lambda pair: (f"({pair[0][0]}) and ({pair[1][0]})", pair[0][1] and pair[1][1])
        ),
        st.tuples(inner, inner).map(
            lambda pair: (f"({pair[0][0]}) or ({pair[1][0]})", pair[0][1] or pair[1][1])
        ),
        inner.map(lambda one: (f"not ({one[0]})", not one[1])),
    ),
    max_leaves=12,
)


@given(EXPRESSIONS)
def test_operators_are_those_of_logic(expression: tuple[str, bool]) -> None:
    """Any nesting of and, or, not means what it means in logic."""
    text, meaning = expression
    assert matches(text) is meaning


def test_fields_are_all_explained() -> None:
    """The table names every field of the language, each with a meaning for help."""
    assert (
        " ".join(VOLUME_FIELDS)
        == "ns claim pv driver class node pod phase stage finding stuck age ops errors"
    )
    assert all(field.meaning for field in VOLUME_FIELDS.values())


def test_how_a_volume_fares_is_a_word() -> None:
    """`stuck` finds what the header counts as stuck, and `not gone` hides what is gone."""
    fares = ROW.severity.name.lower()
    assert parse_volume_filter(fares).matches(ROW, NOW)
    assert not parse_volume_filter(f"not {fares}").matches(ROW, NOW)
    assert parse_volume_filter("not gone").matches(ROW, NOW)
