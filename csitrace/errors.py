"""Every error that may end a command: one tree, each class with an exit code and a one-line message.

Exit codes are part of the command line's contract: 0 healthy or done, 1 a finding or a wait that failed,
2 wrong usage, 3 cannot reach or not allowed.
"""


class CsitraceError(Exception):
    """Base of all errors meant for the user. `str(error)` is one line: what was tried, on what, what to do."""

    exit_code = 1


class UsageError(CsitraceError):
    """The command line, a filter or a file's content is wrong; trying again unchanged cannot help."""

    exit_code = 2


class FilterError(UsageError):
    """A filter expression that cannot be read; `position` is the 0-based offset of the offending word."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class ConfigError(UsageError):
    """A kubeconfig, context or credential that cannot be used as it is."""


class UnreachableError(CsitraceError):
    """A server, socket or program did not answer."""

    exit_code = 3


class NotAllowedError(CsitraceError):
    """The server or the operating system refused: credentials are valid, permission is missing."""

    exit_code = 3


class TraceError(UsageError):
    """A recording that cannot be read or written as asked; the text says which file, where in it, and what to do."""
