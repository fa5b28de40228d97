"""`python -m csitrace` is the same program as `csitrace`."""

import sys

from csitrace.cli import main

sys.exit(main())
