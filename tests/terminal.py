"""A program in a terminal (tmux), driven as people drive it: keys go in, and what is on the screen can be read."""

import os
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, TracebackType

_WITHIN_S = 30.0
_LOOK_AGAIN_S = 0.05
"""A screen tells nobody that it changes."""

_LOOKS_AT_REST = 8


class Terminal:
    """One program from `__enter__` to `__exit__`, which ends it. `directory`: where it runs, private to us."""

    def __init__(
        self,
        directory: Path,
        command: Sequence[str],
        environment: Mapping[str, str] = MappingProxyType({}),
        columns: int = 140,
        rows: int = 40,
    ) -> None:
        self._socket = Path(tempfile.mkdtemp(dir=directory)) / "tmux"
        self._directory, self._command, self._environment = directory, command, environment
        self._size = ("-x", str(columns), "-y", str(rows))
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Terminal":
        # In the foreground, and not to outlive us: what runs in it is hung up when it ends, however it ends.
        self._server = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "tmux", "-D", "-u", "-S", str(self._socket), "-f", "/dev/null"],
            env={**_without_size(os.environ), **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _wait(self._socket.exists, lambda: "tmux does not start")
            self._tmux("set-option", "-g", "remain-on-exit", "on")
            self._tmux("new-session", "-d", "-c", str(self._directory), *self._size, "--", *self._command)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def screen(self) -> list[str]:
        """What can be read now, a string a line, without the spaces at its end."""
        return [line.rstrip() for line in self._tmux("capture-pane", "-p").splitlines()]

    def press(self, *keys: str) -> None:
        """Keys, as tmux names them: `Enter`, `Escape`, `g`."""
        self._tmux("send-keys", *keys)

    def write(self, text: str) -> None:
        """Characters, each as it is."""
        self._tmux("send-keys", "-l", text)

    def until(self, what: str, holds: Callable[[list[str]], bool], within_s: float = _WITHIN_S) -> list[str]:
        """The first screen of which `holds` is true; AssertionError with the last one where there is none in time."""
        seen: list[str] = []

        def shown() -> bool:
            seen[:] = self.screen
            return holds(seen)

        _wait(shown, lambda: "\n".join([f"not shown: {what}", *seen]), within_s)
        return seen

    def at_rest(self, part: Callable[[list[str]], list[str]] = list) -> list[str]:
        """A part of the screen (or all of it) once it has stayed the same for some looks."""
        looks: deque[list[str]] = deque(maxlen=_LOOKS_AT_REST)

        def rests() -> bool:
            looks.append(part(self.screen))
            return len(looks) == _LOOKS_AT_REST and all(look == looks[0] for look in looks)

        _wait(rests, lambda: "\n".join(["the screen does not come to rest", *looks[-1]]))
        return looks[-1]

    def kill(self) -> None:
        """SIGKILL to the program, and wait for its end."""
        os.kill(int(self._tmux("display-message", "-p", "#{pane_pid}")), signal.SIGKILL)
        _wait(
            lambda: self._tmux("display-message", "-p", "#{pane_dead}").strip() == "1", lambda: "it lives on"
        )

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-u", "-S", str(self._socket), *arguments], capture_output=True, text=True, check=False, timeout=20
        )  # fmt: skip
        assert done.returncode == 0, f"tmux {arguments[0]}: {done.stderr}"
        return done.stdout

    def _end(self) -> None:
        assert self._server is not None
        with suppress(AssertionError, subprocess.TimeoutExpired):
            self._tmux("kill-server")
        with suppress(subprocess.TimeoutExpired):
            self._server.wait(timeout=10)
        self._server.kill()
        self._server.wait()


def _without_size(environment: Mapping[str, str]) -> dict[str, str]:
    """Programs believe these rather than their terminal."""
    return {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}


def _wait(holds: Callable[[], bool], complaint: Callable[[], str], within_s: float = _WITHIN_S) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(complaint())
        time.sleep(_LOOK_AGAIN_S)
