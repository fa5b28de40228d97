"""The command line: arguments become sources, a session and a view. The only room that knows all three.

* `program`: the table of commands, the parser made from it, and how the program ends. `parser`: argparse with kubectl's habits.
* `flags`: the groups of flags that commands share. `resources`: what may be named, and the filter it becomes.
* `hearing`: the sources and the session that flags ask for. `showing`: the view that was asked for, until it ends.
* One module for each command: `configure(parser)` adds its arguments, `run(arguments)` does it and returns the exit code.

Nothing heavy is imported before a command runs: `csitrace --help` loads neither textual, grpc, aiohttp nor kubernetes. So modules
here import the rest of csitrace inside functions.
"""

from csitrace.cli.program import main

__all__ = ["main"]
