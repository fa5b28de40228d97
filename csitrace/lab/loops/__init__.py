"""The controllers that hand a volume over, one module each, in the order in which they act.

`scheduler`; `pv_controller`, `attach_detach` and `protection` (kube-controller-manager); `provisioner` and `attacher`
(the CSI sidecars, which `sidecar` connects to the driver); `leases` (leader election, node heartbeats).
"""
