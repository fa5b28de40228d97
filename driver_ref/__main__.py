"""`python -m driver_ref`: run the reference driver."""

import asyncio
import logging
import sys

from csitrace.errors import CsitraceError
from driver_ref import server, settings


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit code."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        asyncio.run(server.run(settings.parse(arguments)))
    except CsitraceError as error:
        print(f"driver_ref: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"driver_ref: {error.strerror}: {error.filename or 'no path'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
