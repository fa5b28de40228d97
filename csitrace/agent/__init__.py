"""AGENT: on a node, the kernel and the local drivers as sources, and a feed of all they tell as the view.

* `service`: the process: sources, publisher, listener, signals. `relay`: what is told of what the sources say.
* `watchdog`: ends a process whose event loop no longer turns. `probe`: asks, for the kubelet, whether the feed is served.
* `manifest`: what to apply to a cluster.
"""
