"""What holds for all tests: how fast a machine is decides none of them."""

import os

from hypothesis import settings

settings.register_profile(
    "csitrace", settings.get_profile("ci" if os.environ.get("CI") else "default"), deadline=None
)
settings.load_profile("csitrace")
