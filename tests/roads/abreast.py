"""Several roads on their way at once, over one watching session, each a result of its own."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractAsyncContextManager
from threading import Thread
from types import TracebackType

from csitrace.engine.session import Session
from tests.roads.road import Place, Road
from tests.roads.table import Journey
from tests.roads.walk import walk

AT_A_TIME = 5
"""Roads mostly wait (for kubelet's periods), and two cores are enough for some."""

Opening = Callable[[], AbstractAsyncContextManager[tuple[Place, Session]]]


class Abreast:
    """Walks roads in a thread of its own from its beginning on. `open_place`: where, and the session that watches it."""

    def __init__(self, roads: Sequence[Road], open_place: Opening) -> None:
        self._journeys: dict[str, Future[Journey]] = {road.name: Future() for road in roads}
        self._end: Future[None] = Future()
        self._roads = roads
        self._open_place = open_place
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = Thread(target=self._run, name="roads")

    def __enter__(self) -> "Abreast":
        self._task = self._loop.create_task(self._walk_all())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        # Once all are told, the place is closing by itself: that is waited for, not broken into.
        if not all(journey.done() for journey in self._journeys.values()):
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def result(self, road: Road) -> Journey:
        """What was seen on a road, once it is over; raises what went wrong on it."""
        return self._journeys[road.name].result()

    def end(self) -> None:
        """Until the place is closed, too; raises what went wrong with that."""
        self._end.result()

    def wait(self) -> None:
        """Until all roads are over, however they end."""
        wait(self._journeys.values())

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:  # it waits for all that was cancelled
            runner.run(self._until_over())

    async def _until_over(self) -> None:
        """What went wrong is told where results are asked for."""
        assert self._task is not None
        try:
            await self._task
        except BaseException as error:  # noqa: BLE001
            self._end.set_exception(error)
        else:
            self._end.set_result(None)

    async def _walk_all(self) -> None:
        try:
            async with self._open_place() as (place, session):
                turn = asyncio.Semaphore(AT_A_TIME)
                await asyncio.gather(*(self._walk_one(road, place, session, turn) for road in self._roads))
        except BaseException as error:
            for journey in self._journeys.values():
                if not journey.done():
                    journey.set_exception(error)
            raise

    async def _walk_one(self, road: Road, place: Place, session: Session, turn: asyncio.Semaphore) -> None:
        journey = self._journeys[road.name]
        async with turn:
            try:
                journey.set_result(await walk(road, place, session))
            except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
                journey.set_exception(error)
