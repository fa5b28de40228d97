"""What to look at in each of the demo's scenarios: one line over the list of volumes."""

DEMO_HINTS = {
    "healthy": "All is well. Enter on a volume, then 4: the FUSE operations of its pod, live.",
    "wait-for-consumer": "default/report waits for a pod, as its class asks; its pod comes in a moment. Enter, 2: the steps.",
    "stuck-attach": "The driver refuses to attach orders. Enter: who says so, who must act, what to run.",
    "failing-stage": "Staging of images fails, is tried again, and then works. Enter, 2: step 16a and its tries.",
    "hung-fuse": "The daemon of uploads stops answering. Enter, 4: the requests that wait; N: its node.",
    "teardown": "Pods and claims go. Enter, b: the way back, until nothing is left.",
    "expand": "archive grows while it is used. Enter, 2: the steps of the expansion.",
    "move-node": "ledger is wanted on the second node while the first still has it. Enter: who holds it.",
    "shared": "assets is used on two nodes at once. Enter, p: the other pod's steps; D, Enter: the nodes.",
    "mixed": "The worst is on top: Enter shows why. D drivers, N nodes, ? keys and signs.",
}
