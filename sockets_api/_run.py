"""`barewire run`: a program as `python` would run it, with its `socket` on the stack.

Each form leaves sys.argv, sys.path[0], __file__ and the exit status as python's own does; the program's
module is a fresh `__main__`.
"""

from __future__ import annotations

import io
import linecache
import os
import pkgutil
import runpy
import signal
import sys
import types
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from types import CodeType, FrameType
from typing import Any, ParamSpec

from . import _guard
from ._patch import patch

P = ParamSpec("P")
TERMINATED = 128 + signal.SIGTERM


def _terminate(number: int, frame: FrameType | None) -> None:
    """Ends as sys.exit() does, so that the stack drains; the kernel's default would not."""
    raise SystemExit(TERMINATED)


def _as_python(run: Callable[P, None]) -> Callable[P, int]:
    """Gives the exit status. A traceback begins where python's own does: none of our frames is in it."""

    def status(*arguments: P.args, **names: P.kwargs) -> int:
        try:
            run(*arguments, **names)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as problem:
            trace = problem.__traceback__
            while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
                trace = trace.tb_next
            sys.excepthook(type(problem), problem.with_traceback(trace), trace)
            return 1
        return 0

    return status


@_as_python
def run_script(path: str, arguments: Sequence[str]) -> None:
    """Runs a file, a folder or archive with a __main__, or "-": standard input."""
    sys.argv = [path, *arguments]
    if path == "-":
        _first_path("")
        code = compile(sys.stdin.read(), "<stdin>", "exec", dont_inherit=True)
        _execute(code, __file__="<stdin>")
        return
    where = os.path.join(os.getcwd(), path)
    if pkgutil.get_importer(where) is not None:
        _first_path(where, always=True)
        _begin()
        _as_main("__main__", False)
        return
    _first_path(os.path.dirname(os.path.realpath(path)))
    _execute(_code(where), __file__=where, __cached__=None, __loader__=_loader(where))


@_as_python
def run_module(name: str, arguments: Sequence[str]) -> None:
    """Runs a module as `python -m` does."""
    _first_path(os.getcwd())
    sys.argv = ["-m", *arguments]
    _begin()
    _as_main(name, True)


@_as_python
def run_code(code: str, arguments: Sequence[str]) -> None:
    """Runs a text as `python -c` does."""
    _first_path("")
    sys.argv = ["-c", *arguments]
    if sys.version_info >= (3, 13):  # since when tracebacks show the lines of such a text
        lines = [f"{line}\n" for line in code.splitlines()]
        linecache.cache["<string>"] = (len(code), None, lines, "<string>")
    _execute(compile(code, "<string>", "exec", dont_inherit=True))


def _first_path(path: str, *, always: bool = False) -> None:
    """In the place of the folder of whatever started us."""
    if not sys.flags.safe_path:
        sys.path[0] = path
    elif always:  # a folder or archive, under -P too
        sys.path.insert(0, path)


def _code(path: str) -> CodeType:
    with io.open_code(path) as file:
        compiled: CodeType | None = pkgutil.read_code(file)
    if compiled is not None:
        return compiled
    with io.open_code(path) as file:
        return compile(file.read(), path, "exec", dont_inherit=True)


def _loader(path: str) -> Any:
    kind = SourcelessFileLoader if path.endswith(".pyc") else SourceFileLoader
    return kind("__main__", path)


def _begin() -> dict[str, Any]:
    """The names of the program's module."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # not where the parent ignores it
        signal.signal(signal.SIGTERM, _terminate)
    patch()
    _guard.watch()
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    return main.__dict__


def _execute(code: CodeType, **names: Any) -> None:
    space = _begin()
    space.update(names, __builtins__=sys.modules["builtins"])
    exec(code, space)


def _as_main(name: str, alter_argv: bool) -> None:
    """What `python -m` itself calls: a module that is not there is one line on stderr and status 1."""
    run: Any = runpy._run_module_as_main  # type: ignore[attr-defined]
    run(name, alter_argv)
