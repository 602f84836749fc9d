"""The command line: `barewire run | devices | ping | trace | demo | bench`.

What a user does wrong gets one sentence on stderr and status 2; a program's own exceptions are its
own. Ctrl-C ends with 130 and no traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from . import __version__

USAGE_ERROR, INTERRUPTED = 2, 130


class UserError(Exception):
    """A mistake of the user's, in one sentence."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in (["demo"], ["bench"], ["trace"]):  # they have options of their own
        return _tool(*arguments)
    options = _parser().parse_args(arguments)
    try:
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except UserError as problem:
        print(f"barewire {options.name}: {problem}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _tool(name: str, *arguments: str) -> int:
    from importlib import import_module

    try:
        tool = import_module(f"barewire.tools.{name}")
        return int(tool.main(list(arguments)))
    except KeyboardInterrupt:
        return INTERRUPTED


# ---- options -------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="barewire", description="A userspace TCP/IP stack for Python."
    )
    parser.add_argument("--version", action="version", version=f"barewire {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="name")

    run = commands.add_parser(
        "run", help="run an unmodified program, its sockets on the stack",
        usage="barewire run [options] (SCRIPT | - | -m MODULE | -c CODE) [ARGUMENT ...]",
    )  # fmt: skip
    add_stack_options(run)
    add_program(run)
    run.set_defaults(command=_run)

    devices = commands.add_parser("devices", help="list the kinds of devices, or look at one")
    devices.add_argument("device", nargs="*", metavar="KIND:NAME",
                         help="open this one for a moment, and show what it can and counts")  # fmt: skip
    devices.add_argument("-v", "--verbose", action="store_true",
                         help="with every option, and the XDP programs that run")  # fmt: skip
    devices.add_argument("--json", action="store_true", help="as JSON")
    devices.set_defaults(command=_devices)

    ping = commands.add_parser("ping", help="send ICMP echo requests from the stack")
    add_stack_options(ping)
    ping.add_argument("host", metavar="ADDRESS", help="IPv4 address to ask")
    ping.add_argument("-c", "--count", type=int, help="requests to send (until interrupted)")
    ping.add_argument("-i", "--interval", type=float, default=1.0, help="seconds between (1)")
    ping.add_argument("-s", "--size", type=int, default=56, help="bytes of data (56)")
    ping.add_argument("-W", "--wait", type=float, default=1.0, help="seconds for an answer (1)")
    ping.set_defaults(command=_ping)

    commands.add_parser("trace", help="run a program and record what its connections do; draw it")
    commands.add_parser("demo", help="the main job on a TAP interface, beside the kernel")
    commands.add_parser("bench", help="measure barewire and the kernel side by side")
    return parser


def add_program(parser: argparse.ArgumentParser) -> None:
    """Which program to run: a script, a module or a text, and its arguments."""
    parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, metavar="MODULE",
                        help="run a module as a program, with the arguments that follow")  # fmt: skip
    parser.add_argument("-c", dest="code", nargs=argparse.REMAINDER, metavar="CODE",
                        help="run a text as a program, with the arguments that follow")  # fmt: skip
    parser.add_argument("program", nargs=argparse.REMAINDER, metavar="SCRIPT",
                        help="the program, and its arguments")  # fmt: skip


def add_stack_options(parser: argparse.ArgumentParser) -> None:
    """The options that `open_stack` makes a stack from."""
    from ._config import words

    add = parser.add_argument_group("the stack (default: the variable BAREWIRE)").add_argument
    add("--device", metavar="KIND:NAME", help="such as tap:tap0; see `barewire devices`")
    for word, (_, option) in words().items():
        add(
            f"--{word.replace('_', '-')}",
            dest=f"stack_{word}",
            action="append" if option.repeats else "store",
            metavar=option.metavar,
            help=option.help.replace("%", "%%"),
        )
    add("--pcap", metavar="FILE", help="write what the device sends and receives to a capture")


def open_stack(options: argparse.Namespace) -> Any:
    """A stack made from the options, without any from the environment."""
    from . import _config
    from ._default import from_environment, parse
    from ._stack import Stack

    known = _config.words()
    words = [options.device] if options.device else []
    said = {word: getattr(options, f"stack_{word}") for word in known}
    for word, value in said.items():
        values = [] if value is None else value if known[word][1].repeats else [value]
        words += [f"{word}={text}" for text in values]
    if options.pcap and not options.device:
        raise UserError("--pcap needs --device: it captures what a device sends and receives")
    if (said["address"] or said["gateway"] or said["route"]) and not options.device:
        raise UserError("--address, --gateway and --route need --device")
    if options.pcap:
        from urllib.parse import quote

        words[0] += ("&" if "?" in words[0] else "?") + f"pcap={quote(options.pcap)}"
    if any(any(c.isspace() for c in word) for word in words):
        raise UserError("the stack's options cannot have spaces in them")
    here = [] if sys.flags.safe_path else [os.getcwd()]
    sys.path[:0] = here  # callback:MODULE may be a file of the user's
    try:
        return Stack(**parse(" ".join(words))) if words else from_environment()
    except (OSError, ValueError, TypeError) as problem:
        raise UserError(_sentence(problem)) from problem
    finally:
        for path in here:
            sys.path.remove(path)


def _sentence(problem: BaseException) -> str:
    return getattr(problem, "strerror", None) or str(problem)


# ---- run -----------------------------------------------------------------------------------------


def program(options: argparse.Namespace) -> Callable[[Any], int]:
    """What runs the program of `add_program` on a stack and returns its status. Raises UserError."""
    from ._default import set_default_stack
    from ._run import run_code, run_module, run_script

    words = list(options.program)
    if words[:1] == ["--"]:
        del words[0]
    if not options.module and not options.code and not words:
        raise UserError("which program? Give a script, or -m and a module, or -c and a text")
    is_file = options.module is None and options.code is None and words[0] != "-"
    if is_file and not os.path.exists(words[0]):
        raise UserError(f"there is no file {words[0]!r}")

    def run(stack: Any) -> int:
        set_default_stack(stack)
        if options.module:
            return run_module(options.module[0], options.module[1:])
        if options.code:
            return run_code(options.code[0], options.code[1:])
        return run_script(words[0], words[1:])

    return run


def _run(options: argparse.Namespace) -> int:
    from ._default import variable

    run = program(options)
    stack = open_stack(options)
    if not options.device and not variable():
        print(f"barewire run: {_without_device()}", file=sys.stderr, flush=True)
    return run(stack)


def _without_device() -> str:
    from barewire.nic_drivers import available

    from ._default import VARIABLE

    kinds = ", ".join(info.kind for info in available() if info.available)
    ignored = f" ({VARIABLE} is ignored here)" if os.environ.get(VARIABLE) else ""
    return (
        f"no device{ignored}, so the stack has its loopback only; there are {kinds} here, for instance:"
        " --device 'tap:tap0?host=198.18.0.1/24' --address 198.18.0.2/24"
    )


# ---- devices -------------------------------------------------------------------------------------


def _devices(options: argparse.Namespace) -> int:
    from barewire.nic_drivers import DeviceError

    from . import _devices as show

    try:
        if options.device:
            show.devices(options.device, as_json=options.json)
        else:
            show.kinds(verbose=options.verbose, as_json=options.json)
    except DeviceError as problem:
        raise UserError(str(problem)) from problem
    return 0


# ---- ping ----------------------------------------------------------------------------------------


def _ping(options: argparse.Namespace) -> int:
    from ._ping import MAX_SIZE, ping

    if options.count is not None and options.count < 1:
        raise UserError("-c: at least one request")
    if not 0 <= options.size <= MAX_SIZE:
        raise UserError(f"-s: from 0 to {MAX_SIZE} bytes")
    if not options.interval >= 0.01 or not options.wait >= 0:
        raise UserError("-i: at least 0.01 seconds; -W: not negative")
    with open_stack(options) as stack:
        try:
            count, interval = options.count, options.interval
            return ping(stack, options.host, count, interval, options.size, options.wait)
        except OSError as problem:
            raise UserError(_sentence(problem)) from problem
