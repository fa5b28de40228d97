"""A cluster for the roads on which nodes fail, and these roads on their way."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from csitrace.engine.session import Session
from tests.cluster.conftest import Target
from tests.cluster.harness import objects
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.processes import ProcessId
from tests.cluster.killed_watch import recording_watch
from tests.cluster.recorded import recording
from tests.roads.on_cluster import OnCluster, on_cluster


@asynccontextmanager
async def failing_cluster() -> AsyncIterator[tuple[OnCluster, Session]]:
    """A cluster of three nodes that are heard, taken down at the end. A recording of the roads has to have every moment of
    them, and that of a watch that was killed when they were over has to show what the watch showed."""
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="csitrace-cluster-")), announce=lambda _: None)
    try:
        await asyncio.to_thread(cluster.up, owner=ProcessId.of(os.getpid()))
        await asyncio.to_thread(cluster.add_node)
        target = Target(cluster.kubectl(), objects.LOCAL, cluster)
        with (
            tempfile.TemporaryDirectory(prefix="csitrace-recording-") as directory,
            recording_watch(target, Path(directory)) as watch,
        ):
            async with (
                on_cluster(target) as (place, session),
                recording(session, Path(directory)) as recorded,
            ):
                watch.mark_moments_of(session)
                yield place, session
                await recorded.expect()
            await asyncio.to_thread(watch.expect_recorded)
    finally:
        await asyncio.shield(asyncio.to_thread(cluster.remove))
