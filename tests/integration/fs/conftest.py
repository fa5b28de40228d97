"""Fixtures for tests on a real FUSE mount."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.fs.mounted import MountedVolume, mounted


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[MountedVolume]:
    """A served volume of 512 MiB, gone after the test."""
    with mounted(tmp_path) as volume:
        yield volume


@pytest.fixture(scope="module")
def shared_volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MountedVolume]:
    """One volume for the tests of a module that each keep to their own directory."""
    with mounted(tmp_path_factory.mktemp("volume")) as volume:
        yield volume


@pytest.fixture
def here(shared_volume: MountedVolume, request: pytest.FixtureRequest) -> Path:
    """A directory of this test's own on the shared volume."""
    directory = shared_volume.path / request.node.name.replace("/", "-")
    directory.mkdir()
    return directory
