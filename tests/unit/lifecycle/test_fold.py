"""The fold is pure and total, and its cost does not grow with the number of volumes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.history import KEYFRAME_EVERY, History
from csitrace.lifecycle.row import volume_rows
from csitrace.lifecycle.state import State, StepStatus
from csitrace.model import events
from csitrace.model.events import Stamp, TraceEvent, Witness
from tests.story import Story, pod, straight_road, way_back_road

ROAD = way_back_road(straight_road()[-1][1]).events


@settings(max_examples=60)
@given(st.data())
def test_any_order_any_loss_any_repetition_folds_without_an_error(data: st.DataObject) -> None:
    """Facts shuffled, dropped and doubled still give a state whose every row can be drawn."""
    indices = data.draw(st.lists(st.integers(0, len(ROAD) - 1), max_size=80))
    state = State()
    for seq, place in enumerate(indices, start=1):
        event = ROAD[place]
        state = fold(
            state,
            TraceEvent(
                seq=seq, observed_at=event.observed_at, occurred_at=event.occurred_at, body=event.body
            ),
        )
        volume_rows(state, event.observed_at + 10**10)
    assert state.seq == len(indices)


@settings(max_examples=25)
@given(st.permutations(range(6)))
def test_the_order_in_which_kinds_are_listed_does_not_matter(order: list[int]) -> None:
    """The initial lists of different kinds race: whoever comes first, the volumes come out the same."""
    story = straight_road()[-1][1]
    objects = [stored.object for stored in story.state.objects.values()]
    by_kind: dict[str, list[object]] = {}
    for obj in objects:
        by_kind.setdefault(obj.kind, []).append(obj)
    kinds = sorted(by_kind)
    shuffled = Story().hear_everyone()
    for place in order:
        for obj in by_kind[kinds[place % len(kinds)]]:
            shuffled.find(obj)  # type: ignore[arg-type]
    for kind in kinds:
        for obj in by_kind[kind]:
            shuffled.find(obj)  # type: ignore[arg-type]
    volume = shuffled.volume
    assert volume.pv == story.volume.pv
    assert [va for va, _ in volume.attachments] == [va for va, _ in story.volume.attachments]
    assert [use.pod_uid for use in volume.uses] == [use.pod_uid for use in story.volume.uses]


def test_an_unknown_body_is_skipped_and_counted() -> None:
    """A body that this version does not know changes nothing but the count."""

    class Unheard(events._Body, frozen=True, kw_only=True):
        pass

    state = fold(State(), TraceEvent(seq=1, observed_at=1, occurred_at=1, body=Unheard()))  # type: ignore[arg-type]
    assert (state.seq, state.events_skipped, len(state.volumes)) == (1, 1, 0)


def test_history_gives_back_every_state_it_went_through() -> None:
    """`state_at(seq)` equals the state that folding up to seq gives, for every seq, across keyframes."""
    history, states, state = History(), [State()], State()
    for seq in range(1, KEYFRAME_EVERY * 2 + 50):
        source = ROAD[(seq - 1) % len(ROAD)]
        event = TraceEvent(seq=seq, observed_at=seq, occurred_at=seq, body=source.body)
        state = fold(state, event)
        states.append(state)
        history.append(event)
    for seq in (0, 1, 17, KEYFRAME_EVERY - 1, KEYFRAME_EVERY, KEYFRAME_EVERY + 1, len(states) - 1):
        assert history.state_at(seq) == states[seq], seq
    assert [event.seq for event in history.events(5, 9)] == [5, 6, 7, 8, 9]


def test_history_lets_old_events_go_and_says_where_it_begins() -> None:
    """A bounded history begins at a keyframe, and still gives the states from there on."""
    history = History(events_kept=KEYFRAME_EVERY)
    for seq in range(1, KEYFRAME_EVERY * 4 + 2):
        history.append(TraceEvent(seq=seq, observed_at=seq, occurred_at=seq, body=events.Marked(text="x")))
    assert history.first_seq > 0
    assert history.state_at(0).seq == history.first_seq
    assert history.event(history.first_seq + 1) is not None
    assert history.event(1) is None


def test_a_playhead_left_behind_by_the_history_gives_whole_states() -> None:
    """A position that was looked at before its events were let go does not serve for those after it: none is skipped."""
    history, state = History(events_kept=KEYFRAME_EVERY), State()
    asked = KEYFRAME_EVERY + 5
    for seq in range(1, KEYFRAME_EVERY * 2 + 1):
        event = TraceEvent(seq=seq, observed_at=seq, occurred_at=seq, body=ROAD[seq % len(ROAD)].body)
        history.append(event)
        state = fold(state, event) if seq <= asked else state
        if seq == KEYFRAME_EVERY - 10:
            history.state_at(seq - 1)
    assert history.first_seq == KEYFRAME_EVERY
    assert history.state_at(asked) == state


def test_changes_of_step_can_be_walked_forward_and_back() -> None:
    """Every change of the blocking step has a position, the same from both sides."""
    history = History()
    for event in ROAD:
        history.append(event)
    forward, seq = [], 0
    while (found := history.change_after(seq)) is not None:
        forward.append(found)
        seq = found
    backward, seq = [], history.tail_seq + 1
    while (found := history.change_before(seq)) is not None:
        backward.append(found)
        seq = found
    assert forward == sorted(set(forward))
    assert forward == backward[::-1]
    assert len(forward) >= 17


def test_a_restarted_driver_abandons_its_calls_in_flight() -> None:
    """A call that the driver's former process had in flight will never be answered: it is not shown as under way for ever."""
    story = dict(straight_road())["15"]
    story.call("NodeStageVolume", volume_id="vol-1", staging_target_path="/x")
    assert story.volume.calls[-1].in_flight
    story.tell(
        events.SourceDown(witness=Witness.DRIVER, scope="ref.csitrace.dev@n1", reason="connection lost")
    )
    story.tell(events.SourceUp(witness=Witness.DRIVER, scope="ref.csitrace.dev@n1", instance="run-2"))
    assert story.volume.calls[-1].abandoned
    assert "the driver stopped" in story.verdict().sentence


def test_what_is_no_csi_volume_is_left_out_and_counted() -> None:
    """A pod without volumes makes no row."""
    story = Story().hear_everyone()
    plain = pod("n1", "running", "Running", started=True)
    story.put(plain)
    assert len(story.state.volumes) == 0


def test_a_mount_told_again_keeps_its_time() -> None:
    """A remount, or a new listing after the kernel's source was away, does not make an old mount young."""
    story = dict(straight_road())["16b"]
    before = [fact.at for fact in story.volume.mounts]
    for fact in story.volume.mounts:
        story.tell(events.MountAppeared(node_name=fact.node_name, mount=fact.mount))
    assert [fact.at for fact in sorted(story.volume.mounts, key=lambda fact: fact.at)] == sorted(before)


def test_a_feed_that_says_who_it_is_stops_being_an_address() -> None:
    """A feed that was missed under its address is one source, not two, once it is heard."""
    story = Story()
    story.tell(events.SourceDown(witness=Witness.DRIVER, scope="unix:///f", reason="no such socket"))
    story.tell(events.SourceUp(witness=Witness.DRIVER, scope="d@n1", formerly="unix:///f"))
    assert [scope for _, scope in story.state.sources] == ["d@n1"]


def test_a_mount_id_that_is_used_again_is_another_mount() -> None:
    """The kernel gives the ids of mounts again: a volume does not keep a mount whose id is another's by now."""
    story = dict(straight_road())["16b"]
    assert [fact.role for fact in story.volume.mounts] == ["staging", "publish"]
    story.mount("/var/lib/kubelet/pods/other/volumes/kubernetes.io~csi/pvc-other/mount", 101, minor=51)
    assert [fact.role for fact in story.volume.mounts] == ["staging"]
    story.mount("/somewhere/else", 100, minor=52)
    assert story.volume.mounts == ()
    assert story.statuses()["16b"] is not StepStatus.DONE


def test_fuse_facts_are_a_sign_of_life_of_who_told_them() -> None:
    """Counts come from the driver's clock, waiting requests from the node's own look: each is heard, the other is not."""
    story = dict(straight_road())["16b"]
    before = {who: source.last_at for who, source in story.state.sources.items()}
    counted = events.FuseCounted(node_name="n1", connection=50, volume_id="vol-1", interval_ns=1)
    story.tell(counted, stamp=Stamp.ORIGIN)
    heard = {who for who, source in story.state.sources.items() if source.last_at != before[who]}
    assert heard == {(Witness.DRIVER, "ref.csitrace.dev@n1")}
    story.tell(events.FuseObserved(node_name="n1", connection=50, waiting=0))
    heard = {who for who, source in story.state.sources.items() if source.last_at != before[who]}
    assert heard == {(Witness.DRIVER, "ref.csitrace.dev@n1"), (Witness.KERNEL, "n1")}
