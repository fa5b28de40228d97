"""Roads walked abreast leave nothing behind in their thread: neither tasks nor a place that is half closed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from csitrace.engine.session import Session
from tests.roads.abreast import Abreast, Opening
from tests.roads.road import Place, road
from tests.roads.traveller import Traveller

_TURNS = 100
"""Of the event loop, that closing the place takes: more than the main thread needs to leave the block."""


@road("nowhere", "A road that nobody walks")
async def _nowhere(traveller: Traveller) -> None:
    """Is never driven."""


async def test_a_place_is_closed_in_full() -> None:
    """Who leaves as soon as the last road is told neither breaks into the closing of the place nor leaves a task pending."""
    closed: list[int] = []

    @asynccontextmanager
    async def place() -> AsyncIterator[tuple[Place, Session]]:
        async def listen() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                for turn in range(_TURNS):
                    await asyncio.sleep(0.001)
                    closed.append(turn)

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0)
        try:
            yield cast(Any, None), Session("test")
        finally:
            listening.cancel()
            await asyncio.wait({listening})

    assert isinstance(
        await asyncio.to_thread(_how_it_ended, place), AssertionError
    )  # there is nothing to walk on
    assert closed == list(range(_TURNS))


async def test_a_place_that_cannot_be_opened_is_told_of_every_road() -> None:
    """The result of each road is what went wrong with the place."""

    @asynccontextmanager
    async def place() -> AsyncIterator[tuple[Place, Session]]:
        raise AssertionError("no room")
        yield

    assert str(await asyncio.to_thread(_how_it_ended, place)) == "no room"


def _how_it_ended(place: Opening) -> Exception | None:
    with Abreast([_nowhere], place) as abreast:
        try:
            abreast.result(_nowhere)
        except Exception as error:  # noqa: BLE001 - it is what is asked for
            return error
    return None
