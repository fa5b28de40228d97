"""An embedded control plane: what a Kubernetes cluster does to CSI volumes, on one machine, without a cluster.

`apiserver` serves the objects over HTTP as the real one does; `loops` are the controllers that move a volume (scheduler, PV
controller, attach/detach controller, protection controllers, external-provisioner, external-attacher); `kubelet` registers
the driver and mounts. They know each other only through the API, and the driver only through gRPC, so whoever watches the lab
sees what a real cluster shows: same objects, conditions, events and calls, in the same order. Only waiting is shortened
(`pace`). `sandbox` keeps all of it, mounts included, in a mount namespace that ends with the program that entered it.

Used by `csitrace demo` and by fast tests; nothing else in csitrace imports it.
"""
