"""From an answer of C to the exception a socket program expects."""

from __future__ import annotations

import errno
import os
import threading

from barewire.stack import lib

FOREIGN = "this socket belongs to the process that made its stack, and this process is a fork of it"

_ending = False


def interpreter_ends() -> None:
    """From here on stacks are closed under the threads that are left, all of them daemons. They do
    not hear of it: like a thread in a call of the kernel's, they never run again."""
    global _ending
    _ending = True


def error(answer: int) -> OSError:
    """The exception for a negative answer of C: -errno, -BW_FOREIGN (as EBADF, and says why), or
    -BW_NO_PORT (as EAGAIN).

    OSError chooses the subclass itself: ECONNREFUSED becomes ConnectionRefusedError, and so on.
    """
    if _ending and answer == -errno.EBADF and threading.current_thread().daemon:
        threading.Event().wait()
    if answer == -lib.BW_FOREIGN:
        return OSError(errno.EBADF, FOREIGN)
    number = errno_of(answer)
    return OSError(number, os.strerror(number))


def errno_of(answer: int) -> int:
    """The errno of a negative answer of C that is an error on Linux too."""
    return errno.EAGAIN if answer == -lib.BW_NO_PORT else -answer


def check(answer: int) -> int:
    """The answer, if it is no error."""
    if answer < 0:
        raise error(answer)
    return answer
