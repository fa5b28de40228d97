"""What `make sanity` makes of a run of csi-sanity."""

from pathlib import Path

from tools.sanity import LISTED, Outcome, judge, listed, outcomes

REPORT = """<testsuites><testsuite><testcase name="[BeforeSuite]"/>
<testcase name="[It] good"/>
<testcase name="[It] bad"><failure message="expected OK"/></testcase>
<testcase name="[It] left out"><skipped message="skipped - not supported"/></testcase>
<testcase name="[It] disabled"><skipped message="pending"/></testcase>
</testsuite></testsuites>"""


def test_a_report_is_read_test_by_test(tmp_path: Path) -> None:
    """The suite's own nodes are no tests."""
    path = tmp_path / "junit.xml"
    path.write_text(REPORT)
    assert outcomes(path) == [
        Outcome("good", "passed", ""),
        Outcome("bad", "failed", "expected OK"),
        Outcome("left out", "skipped", "not supported"),
        Outcome("disabled", "pending", "disabled by the suite itself"),
    ]


def test_a_run_is_good_when_all_passed_but_what_is_listed() -> None:
    """A failure, a skip that is not listed, a listed test that is not skipped, and an empty run are each told."""
    passed, skipped = Outcome("a", "passed", ""), Outcome("b", "skipped", "why")
    assert judge([passed, skipped], {"b"}) == []
    assert judge([passed, skipped], set()) == ["skipped, but not listed in sanity.md: b"]
    assert judge([passed], {"b"}) == ["listed in sanity.md, but not skipped: b"]
    assert judge([Outcome("a", "failed", "x")], set()) == ["FAILED a: x"]
    assert judge([], set()) == ["no test was run"]


def test_the_documentation_lists_tests_with_reasons() -> None:
    """The table of docs/sanity.md is what `listed` reads, and no row lacks its reason."""
    text = LISTED.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(listed(text)) == len(rows) > 0
    assert all(row.strip("| ").split("` |")[1].strip() for row in rows)
