"""The process that runs one module of tests: `python -m barewire.tools.parity.child MODULE DESCRIPTOR`.

Standard input says which tests to leave out. On the descriptor it writes a line of JSON as a test begins
(its name), one as it ends (name, how, what was said, whether kernel sockets of AF_INET were opened),
and null at the end.
"""

from __future__ import annotations

import json
import socket
import sys
import unittest
from collections.abc import Iterator
from importlib import import_module
from typing import Any


class Result(unittest.TestResult):
    """Tells on a file what happens."""

    def __init__(self, file: Any) -> None:
        super().__init__()
        self._file = file
        self.inet = False

    def tell(self, *words: object) -> None:
        self._file.write(json.dumps(words) + "\n")

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.inet, self._how, self._said = False, "passed", ""
        self.tell(_name(test))

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        self.tell(_name(test), self._how, self._said, self.inet)

    def _failed(self, problem: Any, test: unittest.TestCase) -> None:
        self._how = "failed"
        self._said += self._exc_info_to_string(problem, test)  # type: ignore[attr-defined]

    def addError(self, test: Any, err: Any) -> None:
        if isinstance(test, unittest.TestCase):
            self._failed(err, test)
        else:  # a class or module that could not be set up
            self.tell(test.id(), "failed", self._exc_info_to_string(err, test), False)  # type: ignore[attr-defined]

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._failed(err, test)

    def addSubTest(self, test: unittest.TestCase, subtest: Any, err: Any) -> None:
        if err is not None:
            self._failed(err, test)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._how, self._said = "skipped", reason

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self._how = "failed"


def _name(test: unittest.TestCase) -> str:
    return test.id().removeprefix("test.")


def _each(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _each(test)
        else:
            yield test


def main(name: str, descriptor: int) -> None:
    left_out = set(json.load(sys.stdin))
    with open(descriptor, "w", buffering=1, encoding="utf-8") as file:
        result = Result(file)

        def audited(event: str, args: tuple[Any, ...]) -> None:
            if event == "socket.__new__" and args[1] == socket.AF_INET:
                result.inet = True

        sys.addaudithook(audited)
        support: Any = import_module("test.support")
        support.use_resources = [
            "cpu",
            "subprocess",
            "walltime",
        ]  # and no network beyond the machine
        found = unittest.defaultTestLoader.loadTestsFromModule(import_module(f"test.{name}"))
        chosen = [test for test in _each(found) if _name(test) not in left_out]
        unittest.TestSuite(chosen).run(result)
        result.tell(None)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
