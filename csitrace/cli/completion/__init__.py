"""Completion, for the shells and for kubectl: one completer that knows the parser, and small scripts that ask it.

* `candidates`: what may stand where the cursor is, from the parser itself. `lookup`: names that only a cluster or a
  kubeconfig knows.
* `program`: the completer as a program of its own, `kubectl_complete-csitrace` and `csitrace __complete`.
* `command`: `csitrace completion`, which prints `csitrace.bash`, `csitrace.zsh`, `csitrace.fish`, the shells' scripts, or
  `kubectl_complete-csitrace.sh`, for a csitrace that was installed without it.

The protocol is cobra's, which kubectl speaks with its plugins' completers: a candidate a line, its description after a tab, and
last a line `:N`, the sum of directives to the shell.
"""
