"""A node's mount table, followed: woken by the kernel, without ever touching a mounted path.

* `interest`: which mounts matter: those below the kubelet's root.
* `syscalls`: fanotify, listmount and statmount, which neither Python nor most C libraries know yet.
* `statmount`: one mount as statmount(2) tells it, in the words of mountinfo.
* `watchers`: the three ways to follow the table, and the choice among them.
"""
