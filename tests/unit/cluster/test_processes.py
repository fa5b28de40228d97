"""Programs that the harness of the real cluster owns."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness.errors import ClusterError
from tests.cluster.harness.processes import Processes, Program

LISTENS = """
import pathlib, socket, sys
tries = pathlib.Path("tries")
count = int(tries.read_text()) + 1 if tries.exists() else 1
tries.write_text(str(count))
if count <= int(sys.argv[1]):
    sys.exit("the place is taken")
listening = socket.socket(socket.AF_UNIX)
listening.bind("place")
listening.listen()
while True:
    listening.accept()
"""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    owned = Processes(tmp_path)
    yield owned
    owned.stop_all()


def listens(processes: Processes, failures: int, transient: str = "the place is taken") -> Program:
    """A program that ends with a word on it the first few times, and then serves."""
    return Program(
        name="listens",
        argv=[sys.executable, "-c", LISTENS, str(failures)],
        ready=f"unix://{processes.directory}/place",
        transient=transient,
    )


def tries(processes: Processes) -> int:
    return int((processes.directory / "tries").read_text())


def test_what_passes_is_tried_again(processes: Processes) -> None:
    """A program that ended for a cause that is known to pass is started until it serves, and the one that serves is recorded."""
    processes.start(listens(processes, failures=2))
    assert tries(processes) == 3
    assert processes.alive("listens")


@pytest.mark.parametrize(
    ("failures", "transient", "started"), [(9, "the place is taken", 4), (1, "", 1), (1, "no room", 1)]
)
def test_what_does_not_pass_is_told(
    processes: Processes, failures: int, transient: str, started: int
) -> None:
    """A cause that stays, or that is not known to pass, ends the start with the program's last words."""
    with pytest.raises(ClusterError, match="listens ended before it was ready") as told:
        processes.start(listens(processes, failures, transient))
    assert "the place is taken" in str(told.value)
    assert tries(processes) == started
