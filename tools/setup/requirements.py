"""Prints what pyproject.toml asks for: build requirements, dependencies and one extra, a line each.

So that `make` can install them before, and apart from, barewire itself: a changed source file then
costs a build, and no look at a package index.
"""

import sys
import tomllib


def main(extra: str) -> None:
    with open("pyproject.toml", "rb") as file:
        config = tomllib.load(file)
    project = config["project"]
    lines = [
        *config["build-system"]["requires"],
        *project["dependencies"],
        *project["optional-dependencies"][extra],
    ]
    print("\n".join(dict.fromkeys(lines)))


if __name__ == "__main__":
    main(sys.argv[1])
