"""FUSE daemons in pods of their own: `--launcher pod`.

The Controller's half (`keeper`) has one pod for each node that a volume is attached to, and alone talks to the API server. The
Node's half (`launcher`) meets the daemon in a directory of the host that the pod shares with the node plugin: there the pod
mounts the volume (mount propagation carries it out to the host) and listens on its control socket.
"""
