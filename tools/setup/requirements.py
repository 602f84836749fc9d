"""Prints what pyproject.toml asks for: build requirements, dependencies and one group, a line each.

So that `make` can install them before, and apart from, barewire itself: a changed source file then
costs a build, and no look at a package index.
"""

import sys
import tomllib
from typing import Any


def members(groups: dict[str, list[Any]], name: str) -> list[str]:
    """A dependency group with those that it includes (PEP 735)."""
    found = []
    for entry in groups[name]:
        found += [entry] if isinstance(entry, str) else members(groups, entry["include-group"])
    return found


def main(group: str) -> None:
    with open("pyproject.toml", "rb") as file:
        config = tomllib.load(file)
    lines = [
        *config["build-system"]["requires"],
        *config["project"]["dependencies"],
        *members(config["dependency-groups"], group),
    ]
    print("\n".join(dict.fromkeys(lines)))


if __name__ == "__main__":
    main(sys.argv[1])
