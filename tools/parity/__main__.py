"""`python -m barewire.tools.parity`."""

import sys

from . import main

sys.exit(main(sys.argv[1:]))
