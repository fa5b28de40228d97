"""Fixtures for tests of the driver as a process."""

from collections.abc import Iterator

import pytest

from tests.integration.driver.driving import Driver, driving, need_fuse


@pytest.fixture
def driver() -> Iterator[Driver]:
    """A driver with both roles, gone after the test."""
    need_fuse()
    with driving() as driver:
        yield driver
