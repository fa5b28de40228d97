"""Who is elected to act, and has fallen silent: the Lease tells, also to who comes later."""

import pytest

from csitrace.lifecycle.views import Severity
from csitrace.model import events
from csitrace.model.events import Witness
from csitrace.model.times import SECOND, format_rfc3339
from tests.fleet import ATTACHER_LEASE, HOME, lease
from tests.story import START, Story, claim, csi_driver, pod, storage_class
from tests.unit.lifecycle.test_verdict import story_at

LONG = 600.0
SILENT_SINCE = START - int(LONG * SECOND)


def test_an_attacher_that_does_not_renew_its_lease_is_told_from_the_step_it_holds() -> None:
    """The Lease names who was elected, and since when he is silent, however late csitrace comes."""
    story = story_at("11").put(lease(ATTACHER_LEASE, "attacher-0", START, LONG))
    word = story.verdict(later=90)
    assert (word.severity, word.step_id) == (Severity.STUCK, "12")
    since = format_rfc3339(SILENT_SINCE)[11:19]
    assert f"external-attacher: attacher-0 does not renew its Lease since {since}Z" in word.sentence
    assert word.holder == "external-attacher, which nobody leads"
    assert word.command == f"kubectl -n {HOME} describe lease {ATTACHER_LEASE}"
    (told,) = [fact for fact in word.evidence if "Lease" in fact.text]
    assert (told.witness, told.at) == (Witness.KUBERNETES, SILENT_SINCE)


def test_an_attacher_that_renews_its_lease_is_waited_for() -> None:
    """A Lease that is good says nothing."""
    story = story_at("11")
    story.put(lease(ATTACHER_LEASE, "attacher-0", story.at))
    word = story.verdict(later=3)
    assert (word.step_id, word.holder) == ("12", "external-attacher")


def test_a_lease_that_an_earlier_installation_left_accuses_nobody() -> None:
    """Another namespace has one of the same name, which is good."""
    story = story_at("11").put(lease(ATTACHER_LEASE, "old-0", START, LONG, "old"))
    story.put(lease(ATTACHER_LEASE, "attacher-0", story.at))
    assert story.verdict(later=3).holder == "external-attacher"


def test_a_lease_that_nobody_holds_says_that_none_leads() -> None:
    """The holder has let go of it, as it does when it ends in good order."""
    story = story_at("11").put(lease(ATTACHER_LEASE, "", START))
    assert "nobody holds its Lease" in story.verdict(later=90).sentence


def test_a_lease_that_is_not_heard_any_more_accuses_nobody() -> None:
    """Where Leases are no longer told, one that is old by now is no sign."""
    story = story_at("11").put(lease(ATTACHER_LEASE, "attacher-0", START, LONG))
    story.tell(events.SourceDown(witness=Witness.KUBERNETES, scope="Lease", reason="refused"))
    assert story.verdict(later=90).holder == "external-attacher"


@pytest.mark.parametrize("namespace", ["kube-system", "elsewhere"])
def test_a_scheduler_that_is_silent_is_told_by_its_lease_in_kube_system(namespace: str) -> None:
    """kube-scheduler's Lease is where it takes it, and nowhere else."""
    story = Story().hear_everyone().put(storage_class()).put(csi_driver()).put(claim()).put(pod())
    story.put(lease("kube-scheduler", "host-1", START, LONG, namespace))
    word = story.verdict(later=90)
    assert word.step_id in ("2", "3")
    assert ("host-1 does not renew" in word.sentence) is (namespace == "kube-system")
