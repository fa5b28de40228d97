"""AGENTS: what the nodes of a cluster tell, heard through its API server, so that the user's own permissions decide.

* `source`: the one source: finds the agents' pods by label, has a listener for each node, says which are not heard and why.
* `node`: one node's agent, whichever pod that is now.
* `pods`: an agent's pod, as far as it matters here.
* `portforward`: a private unix socket of ours that leads to a port of a pod.
* `duplicates`: whom else we hear, so that nobody is heard twice.
"""
