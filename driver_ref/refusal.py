"""The one exception that an RPC answers with: a gRPC code and a message for whoever called."""

from csitrace.model.rpc import Code


class RefusedError(Exception):
    """Ends an RPC with `code` and `message`. The message says what and why in one line, and never holds a secret."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
