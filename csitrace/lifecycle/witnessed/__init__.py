"""What each witness says of each step: small functions of a Context, named after what they attest, one module per stage.

A function returns None where its witness has nothing to say about the step, and never guesses: DONE needs a fact. Sources of
the facts: the objects' fields as the controllers write them (docs/lifecycle.md lists them per step), seen on a real cluster.
"""

from collections.abc import Callable

from csitrace.lifecycle.context import Context
from csitrace.lifecycle.views import Testimony

Attest = Callable[[Context], Testimony | None]
