"""What every integration test has."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory with a short path, in place of pytest's: a unix socket's may have 107 bytes, and sockets lie deep in it."""
    with tempfile.TemporaryDirectory(prefix="ct-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)
