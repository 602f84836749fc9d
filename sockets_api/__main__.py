"""`python -m barewire` and the `barewire` command."""

from __future__ import annotations

import sys

from barewire.cli import main

if __name__ == "__main__":
    sys.exit(main())
