"""Fixtures of the Kubernetes source's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.kubernetes.api_server import ApiServer


@pytest.fixture(params=["streaming", "paged"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[ApiServer]:
    """An API server, once with and once without streaming lists."""
    async with ApiServer(streaming=request.param == "streaming") as server:
        yield server
