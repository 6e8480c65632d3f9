"""`python -m tests.torture`."""

import sys

from .command import main

sys.exit(main())
