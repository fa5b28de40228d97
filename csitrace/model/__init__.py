"""VOCABULARY: what csitrace talks about. Frozen values and catalogues of facts; no I/O, no clock, no meaning.

* `kubernetes`: the fields of Kubernetes objects that csitrace may see (an allow-list by type), `kinds`: where they are served.
* `rpc`: the CSI calls, who makes them, what their gRPC codes mean to the caller.
* `mounts`: one line of mountinfo. `fuse`: what a FUSE connection and its daemon are doing.
* `events`: the recorded facts (`TraceEvent`) and their bodies.
* `times`: nanoseconds since the Unix epoch, the only representation of time in csitrace.

A thing belongs here when every other room may need its name. What it *means* for a volume belongs in `lifecycle`.
"""
