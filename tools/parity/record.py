"""The file of exceptions: rows of tables, a pattern of test names in backticks and the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from .suite import Outcome, Suite

_ROW = re.compile(r"\| `(test_[\w.*\[\]?]+)` \| (\S.*) \|$", re.MULTILINE)


@dataclass
class Record:
    """Patterns (as in fnmatch) of test names, with their reasons."""

    reasons: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Record:
        return cls(dict(_ROW.findall(path.read_text(encoding="utf-8"))))

    def excepts(self, test: str) -> bool:
        return any(fnmatchcase(test, pattern) for pattern in self.reasons)

    def check(self, module: str, theirs: Suite, ours: Suite) -> list[str]:
        """What the file does not say as it was seen, a line each."""
        wrong = [
            f"{name}: passes on the kernel, and here: {ours.get(name, Outcome()).how}"
            for name, one in theirs.items()
            if one.passed and not ours.get(name, Outcome()).passed and not self.excepts(name)
        ]
        for pattern in self.reasons:
            if not pattern.startswith(f"{module}."):
                continue
            named = [name for name in theirs if fnmatchcase(name, pattern)]
            if not named:
                wrong.append(f"{pattern}: names no test")
            wrong += [
                f"{name}: is an exception ({pattern}), and passes"
                for name in named
                if theirs[name].passed and ours.get(name, Outcome()).passed
            ]
        return wrong
