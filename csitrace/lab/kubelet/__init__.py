"""kubelet, as far as volumes feel it: plugin registration, node status, the volume manager, and pods with a real process inside.

Below its root directory everything lies where kubelet puts it. A volume's path is never looked at (stat, statvfs): what hangs
there would hang the lab.
"""
