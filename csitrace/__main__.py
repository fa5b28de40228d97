"""Where the program begins, by whatever name it is called: `csitrace`, `kubectl csitrace`, `python -m csitrace`."""

import sys

_INTERRUPTED = 130


def main() -> int:
    """`csitrace.cli.main`, and no traceback where Ctrl-C comes before all of it is loaded."""
    try:
        from csitrace.cli import main as run

        return run()
    except KeyboardInterrupt:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
