"""`python -m sipstack`: the same as the command `sipstack`."""

import sys

from sipstack.cli import main

sys.exit(main())
