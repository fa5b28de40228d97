"""What to look at in each of the demo's scenarios: one line over the list of volumes, for 80 columns."""

DEMO_HINTS = {
    "healthy": "All is well. Enter on a volume, then 4: its FUSE operations, live.",
    "wait-for-consumer": "report waits for a pod, as its class asks. Enter, 2: the steps.",
    "stuck-attach": "The attach of orders is refused. Enter: who says so, who must act.",
    "failing-stage": "Staging images fails, and then works. Enter, 2: step 16a, its tries.",
    "hung-fuse": "The daemon of uploads stops answering. Enter, 4: what waits; N: its node.",
    "teardown": "Pods and claims go. Enter, b: the way back, until nothing is left.",
    "expand": "archive grows while it is used. Enter, 2: the steps of the expansion.",
    "move-node": "ledger is wanted on one node while another has it. Enter: who holds it.",
    "shared": "assets is used on two nodes. Enter, p: the other pod's steps; N: the nodes.",
    "mixed": "The worst is on top: Enter shows why. ? explains keys and signs.",
}
