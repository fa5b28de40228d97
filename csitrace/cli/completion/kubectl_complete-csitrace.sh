#!/bin/sh
# kubectl asks this at `kubectl csitrace …<TAB>`. Keep it on your PATH, executable, under the name kubectl_complete-csitrace.
exec kubectl csitrace __complete "$@"
