"""Every way to follow a mount table tells the same, and what it tells is what mountinfo shows."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csitrace.model.events import (
    Body,
    ListCompleted,
    MountAppeared,
    MountVanished,
    SourceDown,
    SourceGap,
    SourceUp,
)
from csitrace.sources.kernel import KernelSource
from csitrace.sources.mountinfo.interest import Interest
from csitrace.sources.mountinfo.watchers import WAYS, Changes, FanotifyWatcher, MountinfoWatcher
from tests.integration.kernel.conftest import NAMES, available_ways, require_way
from tests.integration.kernel.listener import Listener, listening
from tests.integration.kernel.namespace import MountNamespace

_name = st.sampled_from(NAMES)
_step = st.one_of(
    st.tuples(st.just("mount_tmpfs"), _name),
    st.tuples(st.just("bind"), _name, _name),
    st.tuples(st.just("remount"), _name, st.booleans()),
    st.tuples(st.just("move"), _name, _name),
    st.tuples(st.just("unmount"), _name),
    st.tuples(st.just("churn"), _name, st.integers(1, 20)),
)
_real_mounts = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    print_blob=True,
)


def _source(namespace: MountNamespace, *ways: str) -> KernelSource:
    return KernelSource(node_name="node-1", kubelet_root=str(namespace.root), pid=namespace.pid, ways=ways)


def _do(namespace: MountNamespace, step: tuple[object, ...]) -> None:
    """One step; a step that the kernel refuses (nothing is mounted there) changes nothing, which is fine."""
    operation, *arguments = step
    try:
        if operation == "remount":
            name, read_only = arguments
            namespace.remount(str(name), read_only=bool(read_only))
        else:
            getattr(namespace, str(operation))(*arguments)
    except OSError:
        pass


async def _agrees(listener: Listener, namespace: MountNamespace) -> None:
    truth = namespace.mounts()
    await listener.until(lambda: listener.mounts == truth, f"the mounts of mountinfo: {truth}")


@_real_mounts
@given(script=st.lists(_step, max_size=12))
def test_all_ways_tell_the_same_step_by_step(
    namespace: MountNamespace, script: list[tuple[object, ...]]
) -> None:
    """After every single change each way's account equals mountinfo, and all ways came there by the same observations."""

    async def claim() -> None:
        namespace.clear()
        async with AsyncExitStack() as stack:
            listeners = [
                await stack.enter_async_context(listening(_source(namespace, way)))
                for way in available_ways(namespace)
            ]
            for listener in listeners:
                await listener.until_listed()
            for step in script:
                if step[0] == "churn":
                    continue
                _do(namespace, step)
                for listener in listeners:
                    await _agrees(listener, namespace)
            accounts = [list(_about_mounts(listener.heard)) for listener in listeners]
            assert all(account == accounts[0] for account in accounts)

    asyncio.run(claim())


def _about_mounts(bodies: list[Body]) -> Iterator[Body]:
    return (body for body in bodies if isinstance(body, MountAppeared | MountVanished))


@_real_mounts
@given(before=st.lists(_step, max_size=6), after=st.lists(_step, max_size=20))
def test_an_account_converges_after_a_storm(
    namespace: MountNamespace, way: str, before: list[tuple[object, ...]], after: list[tuple[object, ...]]
) -> None:
    """Whatever happens between two looks, however fast, each way ends up with what mountinfo shows, and nothing vanishes that
    had not appeared."""

    async def claim() -> None:
        namespace.clear()
        for step in before:
            _do(namespace, step)
        async with listening(_source(namespace, way)) as listener:
            await listener.until_listed()
            assert listener.mounts == namespace.mounts()
            for step in after:
                _do(namespace, step)
            await _agrees(listener, namespace)

    asyncio.run(claim())


async def test_a_source_says_first_that_it_is_up_and_when_its_list_is_complete(
    namespace: MountNamespace, way: str
) -> None:
    """SourceUp with the way in its detail, the mounts, ListCompleted with their number."""
    namespace.mount_tmpfs("a")
    namespace.mount_tmpfs("b")
    async with listening(_source(namespace, way)) as listener:
        await listener.until_listed()
        up, *mounts, listed = listener.heard
    assert isinstance(up, SourceUp)
    assert f"mounts by {way}" in up.detail
    assert [type(body) for body in mounts] == [MountAppeared, MountAppeared]
    assert isinstance(listed, ListCompleted)
    assert (listed.scope, listed.count) == ("node-1", 2)


async def test_a_remount_is_told_as_the_same_mount_with_other_options(
    namespace: MountNamespace, way: str
) -> None:
    """A bind mount that kubelet makes read-only in a second step appears again with its id, and never vanishes."""
    namespace.mount_tmpfs("a")
    async with listening(_source(namespace, way)) as listener:
        await listener.until_listed()
        namespace.bind("a", "b")
        appeared = await listener.until_heard(
            MountAppeared, lambda body: body.mount.mount_point.endswith("/b")
        )
        namespace.remount("b", read_only=True)
        remounted = await listener.until_heard(MountAppeared, lambda body: body.mount.read_only)
        assert remounted.mount.mount_id == appeared.mount.mount_id
        assert not any(isinstance(body, MountVanished) for body in listener.heard)


_FLAGS = {
    "read-only, nosuid": 1 | 2,
    "nodev, noexec": 4 | 8,
    "synchronous, dirsync": 16 | 128,
    "noatime, nodiratime": 1024 | 2048,
    "strictatime": 1 << 24,
    "nosymfollow": 256,
    "lazytime": 1 << 25,
}


@pytest.mark.parametrize("flags", list(_FLAGS.values()), ids=list(_FLAGS))
async def test_every_option_is_told_in_the_words_of_mountinfo(
    namespace: MountNamespace, way: str, flags: int
) -> None:
    """statmount tells bits where mountinfo tells words; no reader can tell which of them was asked."""
    namespace.mount_tmpfs("a", flags)
    async with listening(_source(namespace, way)) as listener:
        await listener.until_listed()
        assert listener.mounts == namespace.mounts()
        assert listener.mounts


async def test_propagation_is_told_in_the_words_of_mountinfo(namespace: MountNamespace, way: str) -> None:
    """Shared, slave of a peer group, both, unbindable."""
    shared, slave, unbindable = 1 << 20, 1 << 19, 1 << 17
    namespace.mount_tmpfs("a")
    namespace.change("a", shared)
    for name in ("b", "c"):
        namespace.bind("a", name)
        namespace.change(name, slave)
    namespace.change("c", shared)
    namespace.mount_tmpfs("d")
    namespace.change("d", unbindable)
    async with listening(_source(namespace, way)) as listener:
        await listener.until_listed()
        assert listener.mounts == namespace.mounts()
        words = {
            word.partition(":")[0] for mount in listener.mounts.values() for word in mount.propagation.split()
        }
        assert words == {"shared", "master", "unbindable"}


async def test_mounts_elsewhere_are_not_told(namespace: MountNamespace, way: str, tmp_path: Path) -> None:
    """Neither a mount outside the kubelet's root nor one at the root itself."""
    inner = namespace.root / "a"
    source = KernelSource(node_name="node-1", kubelet_root=str(inner), pid=namespace.pid, ways=(way,))
    async with listening(source) as listener:
        await listener.until_listed()
        namespace.mount_tmpfs("b")
        namespace.mount_tmpfs("a")
        (Path(f"/proc/{namespace.pid}/root{inner}") / "volume").mkdir()
        namespace.mount_tmpfs("a/volume")
        await listener.until_heard(MountAppeared)
        assert [mount.mount_point for mount in listener.mounts.values()] == [f"{inner}/volume"]


async def test_a_kubelet_root_that_is_a_link_is_resolved(
    namespace: MountNamespace, way: str, tmp_path: Path
) -> None:
    """mountinfo tells resolved paths only; naming the root by a symbolic link finds its mounts all the same."""
    link = tmp_path / "kubelet"
    link.symlink_to(namespace.root)
    namespace.mount_tmpfs("a")
    source = KernelSource(node_name="node-1", kubelet_root=str(link), pid=namespace.pid, ways=(way,))
    async with listening(source) as listener:
        await listener.until_listed()
        assert listener.mounts == namespace.mounts()


def test_dropped_events_are_told_and_made_good(namespace: MountNamespace) -> None:
    """More changes than the kernel's queue of mount events holds: a gap is told, and the account is right nevertheless."""
    require_way("fanotify", namespace)
    watcher = FanotifyWatcher(namespace.pid, Interest.below(str(namespace.root)))
    try:
        namespace.mount_tmpfs("a")
        assert [mount.mount_point for mount in watcher.read(0.0).appeared] == [f"{namespace.root}/a"]
        namespace.unmount("a")
        namespace.churn("b", 8_500)
        namespace.mount_tmpfs("c")
        changes = watcher.read(1.0)
    finally:
        watcher.close()
    assert "dropped" in changes.gap
    assert [mount.mount_point for mount in changes.vanished] == [f"{namespace.root}/a"]
    assert [mount.mount_point for mount in changes.appeared] == [f"{namespace.root}/c"]


async def test_a_gap_reaches_the_listener(namespace: MountNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a watcher says of a gap becomes a SourceGap before the changes that made it good."""

    class Gapped(MountinfoWatcher):
        def read(self, now: float) -> Changes:
            changes = super().read(now)
            return Changes(changes.vanished, changes.appeared, "lost some")

    monkeypatch.setitem(WAYS, "gapped", Gapped)
    async with listening(_source(namespace, "gapped")) as listener:
        await listener.until_listed()
        namespace.mount_tmpfs("a")
        gap = await listener.until_heard(SourceGap)
        await listener.until_heard(MountAppeared)
        assert gap.reason == "lost some"


async def test_what_vanished_during_an_outage_is_told_afterwards(
    namespace: MountNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing mount table is SourceDown with its reason; when it can be read again, missed changes are made good."""

    class Failing(MountinfoWatcher):
        reads = 0

        def read(self, now: float) -> Changes:
            Failing.reads += 1
            if Failing.reads == 2:
                namespace.unmount("a")
                raise OSError(5, "it broke")
            return super().read(now)

    monkeypatch.setitem(WAYS, "failing", Failing)
    namespace.mount_tmpfs("a")
    async with listening(_source(namespace, "failing")) as listener:
        await listener.until_listed()
        namespace.mount_tmpfs("b")
        down = await listener.until_heard(SourceDown)
        assert "it broke" in down.reason
        assert not down.denied
        await listener.until(lambda: listener.mounts == namespace.mounts(), "recovered")
        assert sum(isinstance(body, SourceUp) for body in listener.heard) == 2


async def test_the_end_of_the_watched_process_is_told(namespace: MountNamespace, tmp_path: Path) -> None:
    """Its namespace may live on unseen, so the source goes down at once and says why."""
    program = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
    async with listening(
        KernelSource(node_name="node-1", kubelet_root=str(tmp_path), pid=str(program.pid))
    ) as listener:
        await listener.until_listed()
        program.kill()
        down = await listener.until_heard(SourceDown)
        assert str(program.pid) in down.reason
        assert "ended" in down.reason
    await program.wait()


async def test_a_refusal_is_told_as_such(namespace: MountNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even mountinfo may not be read, the source is down, denied, and says so once."""

    class Refused(MountinfoWatcher):
        def read(self, now: float) -> Changes:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setitem(WAYS, "refused", Refused)
    async with listening(_source(namespace, "refused")) as listener:
        down = await listener.until_heard(SourceDown)
        assert down.denied
        assert "Operation not permitted" in down.reason
    assert listener.heard == [down]


@pytest.mark.skipif(os.geteuid() != 0, reason="puts root's privileges aside, and has none to put aside")
@pytest.mark.parametrize("pid", ["self", "1"])
async def test_without_privilege_mounts_are_seen_and_the_detail_says_what_is_not(pid: str) -> None:
    """An ordinary user has mountinfo, of other processes as well, but neither fanotify nor the waiting requests."""
    os.seteuid(65534)
    try:
        async with listening(KernelSource(node_name="node-1", kubelet_root="/", pid=pid)) as listener:
            await listener.until_listed()
            up = await listener.until_heard(SourceUp)
    finally:
        os.seteuid(0)
    assert "(fanotify: " in up.detail
    assert "waiting FUSE requests unknown:" in up.detail
    assert listener.mounts
