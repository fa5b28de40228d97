"""The one error of the harness: what failed, where, and what to do about it."""


class ClusterError(Exception):
    """The cluster cannot do what was asked; the message is for a person and is complete."""


class UnavailableError(ClusterError):
    """This machine lacks something a cluster needs (Go, root, a Debian package)."""
