"""The house rules, checked on the tree: arrows, symbols, sizes, one definition of each.

A failure names file and rule. A rule is changed in ARCHITECTURE.md and here, in one commit.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.tree

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "sockets_api": "barewire",
    "stack": "barewire.stack",
    "l2": "barewire.l2",
    "nic_drivers": "barewire.nic_drivers",
    "tools": "barewire.tools",
    "fuzz": "barewire.fuzz",
}
# Who may import whom; each folder itself too.
MAY_IMPORT = {
    "sockets_api": {"stack", "l2", "nic_drivers"},
    "stack": {"l2", "nic_drivers"},
    "l2": {"nic_drivers"},
    "nic_drivers": set(),
    "tools": {"sockets_api", "stack", "l2", "nic_drivers"},
    "fuzz": {"sockets_api", "stack", "l2", "nic_drivers", "tools"},
}
# The command line starts the tools by name; nothing else above knows them.
TOOL_STARTERS = {"sockets_api/__main__.py", "sockets_api/cli.py"}
THIRD_PARTY = {
    "sockets_api": {"_cffi_backend", "cffi", "matplotlib"},
    "stack": {"_cffi_backend", "cffi"},
    "l2": set(),
    "nic_drivers": {"_cffi_backend", "cffi", "pyroute2"},
    # aiohttp and uvicorn are measured
    "tools": {
        "_cffi_backend",
        "aiohttp",
        "cffi",
        "pyroute2",
        "matplotlib",
        "numpy",
        "rich",
        "uvicorn",
    },
    "fuzz": {"hypothesis"},
}
BUILD_SCRIPTS = {
    "sockets_api/spsc/spsc_build.py",
    "nic_drivers/netdev_build.py",
    "stack/engine_build.py",
    "tools/bench/echo_client_build.py",
    "tools/bench/syn_sender_build.py",
    "tools/relay/pump_build.py",
}
CONTRACT = {
    f"nic_drivers/{name}.h" for name in ("netdev", "bytes", "checksum", "memory", "toeplitz")
}
PURE_HEADERS = {
    "errno.h", "inttypes.h", "limits.h", "stdalign.h", "stdarg.h", "stdbool.h", "stddef.h",
    "sanitizer/asan_interface.h", "stdint.h", "stdlib.h", "string.h",
}  # fmt: skip
# What the engine may call outside itself: memory, nothing that knows time, files or threads.
ENGINE_MAY_CALL = {
    "memcpy", "memmove", "memset", "memcmp", "memchr", "strlen", "strcmp", "strncmp",
    "malloc", "calloc", "realloc", "free",
}  # fmt: skip
# What is no global of ours, by file: what a thread owns, and the module's definition, which CPython keeps.
NO_GLOBALS = {"stack/drive/wait.c": {"signals"}, "sockets_api/_direct.c": {"module"}}
# __cpu_model: what the processor has, for a vector of the right width
COMPILER_HELPERS = {"_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail", "__cpu_model"}
MAX_C_FILE, MAX_C_FUNCTION, MAX_PYTHON = 600, 80, 500
GENERATED = {"_echo_client.c", "_engine.c", "_netdev.c", "_pump.c", "_spsc.c", "_syn_sender.c"}
NOT_OURS = {".git", ".venv", ".venv-sanitize", "build", "dist", "__pycache__", "node_modules"}


def files(*suffixes: str, under: tuple[str, ...] = ("",)) -> list[Path]:
    """Files of the project with one of these suffixes, sorted, relative to the root."""
    found = []
    for folder in under:
        for path, folders, names in os.walk(ROOT / folder):
            folders[:] = [
                f for f in folders if f not in NOT_OURS and not f.endswith(("_cache", ".egg-info"))
            ]
            found += [Path(path, n).relative_to(ROOT) for n in names if n.endswith(suffixes)]
    return sorted(f for f in found if f.name not in GENERATED)


def code(*suffixes: str) -> list[Path]:
    return files(*suffixes, under=tuple(PACKAGES))


def text(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def folder_of(path: Path) -> str:
    return path.parts[0]


def driver_of(path: Path) -> str | None:
    """`tap` for nic_drivers/tap/...: a driver has a folder of its own. The SYN guard has one too, and is
    no driver: those that offer it share it."""
    if folder_of(path) != "nic_drivers" or len(path.parts) <= 2 or path.parts[1] == "guard":
        return None
    return path.parts[1]


def ids(path: Path) -> str:
    return str(path)


# ---- Python imports ------------------------------------------------------------------------------


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts[1:]
    if parts and parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join((PACKAGES[folder_of(path)], *parts))


def imports(path: Path) -> Iterator[str]:
    """Absolute names of the modules a file imports, wherever in it the statement stands."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{name}.{alias.name}" for alias in node.names)


def target_folder(name: str) -> str:
    """The folder of a name of ours: barewire.stack.x is stack, barewire.x is sockets_api."""
    second = name.split(".")[1] if "." in name else ""
    return second if second in PACKAGES and second != "sockets_api" else "sockets_api"


@pytest.mark.parametrize("path", code(".py"), ids=ids)
def test_python_arrows(path: Path) -> None:
    here = folder_of(path)
    for name in imports(path):
        top = name.split(".")[0]
        if top == "barewire":
            there = target_folder(name)
            allowed = there == here or there in MAY_IMPORT[here]
            if there == "tools" and path.as_posix() in TOOL_STARTERS:
                allowed = True
            assert allowed, f"{path} imports {name}: {here} may not know {there}"
        elif top not in sys.stdlib_module_names and path.as_posix() not in BUILD_SCRIPTS:
            assert top in THIRD_PARTY[here], f"{path} imports {name}"


@pytest.mark.parametrize("path", [p for p in code(".py") if driver_of(p)], ids=ids)
def test_a_driver_imports_the_contract_and_no_other_driver(path: Path) -> None:
    drivers = {p.parts[1] for p in code(".py", ".c", ".h") if driver_of(p)} - {driver_of(path)}
    for name in imports(path):
        parts = name.split(".")
        if parts[:2] == ["barewire", "nic_drivers"] and len(parts) > 2:
            assert parts[2] not in drivers, f"{path} imports the driver {parts[2]}"


@pytest.mark.parametrize(
    "path", [p for p in code(".py") if folder_of(p) in ("stack", "l2")], ids=ids
)
def test_the_stack_knows_no_driver(path: Path) -> None:
    drivers = {p.parts[1] for p in code(".py", ".c", ".h") if driver_of(p)}
    for name in imports(path):
        parts = name.split(".")
        if parts[:2] == ["barewire", "nic_drivers"] and len(parts) > 2:
            assert parts[2] not in drivers, f"{path} imports the driver {parts[2]}"


# ---- C includes ----------------------------------------------------------------------------------


def is_engine(path: Path) -> bool:
    return folder_of(path) in ("stack", "l2") and path.parts[1] != "drive"


def is_harness(path: Path) -> bool:
    return folder_of(path) == "fuzz" and path.stem.endswith("_fuzz")


def includes(path: Path) -> Iterator[tuple[str, str]]:
    """(quote or bracket, name) of each include."""
    yield from re.findall(r'^\s*#\s*include\s*(["<])([^">]+)[">]', text(path), re.MULTILINE)


def resolve(path: Path, name: str) -> Path:
    for candidate in (ROOT / path.parent / name, ROOT / name):
        if candidate.is_file():
            return candidate.resolve().relative_to(ROOT)
    raise AssertionError(f"{path} includes {name}, which is not there")


@pytest.mark.parametrize("path", code(".c", ".h"), ids=ids)
def test_c_arrows(path: Path) -> None:
    here = folder_of(path)
    for quote, name in includes(path):
        if quote == "<":
            assert not is_engine(path) or name in PURE_HEADERS, f"{path} includes <{name}>"
            continue
        there = resolve(path, name)
        inside = folder_of(there)
        assert inside == here or inside in MAY_IMPORT[here], f"{path} includes {there}"
        if is_harness(path) and inside != "fuzz":
            continue  # it is made of what it fuzzes
        if inside == "nic_drivers" and here != "nic_drivers":
            assert there.as_posix() in CONTRACT, f"{path} includes {there}: not the contract"
        if driver_of(there):
            assert driver_of(path) == driver_of(there), f"{path} includes {there}: a driver"
        if is_engine(path):
            assert there.parts[:2] != ("stack", "drive"), f"{path} includes {there}: the driver"


# ---- what the compiler sees ----------------------------------------------------------------------

C_UNITS = [
    p
    for p in code(".c")
    if p.as_posix() == "stack/engine.c"
    or p.parts[:2] == ("stack", "drive")
    or driver_of(p)
    or folder_of(p) == "sockets_api"
    if not p.name.endswith(".bpf.c")  # runs in the kernel, which keeps its maps
]


def symbols(unit: Path, folder: Path) -> list[tuple[str, str]]:
    """(type, name) of each symbol of the unit's object, in nm's letters."""
    if not shutil.which("gcc") or not shutil.which("nm"):
        pytest.skip("needs gcc and nm")
    target = folder / "unit.o"
    # No position-independent code: constant tables of pointers then count as constant.
    flags = ["-std=gnu11", "-O2", "-fno-pic", "-fno-stack-protector", "-U_FORTIFY_SOURCE", "-I."]
    flags.append("-I" + sysconfig.get_path("include"))
    if driver_of(unit) == "dpdk":
        asked = ["pkg-config", "--cflags-only-I", "libdpdk"]
        flags += subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["gcc", *flags, "-c", unit, "-o", target], cwd=ROOT, check=True)
    lines = subprocess.run(["nm", target], capture_output=True, text=True, check=True).stdout
    return [(line.split()[-2], line.split()[-1]) for line in lines.splitlines()]


def test_the_engine_calls_nothing_but_memory(tmp_path: Path) -> None:
    wanted = {name for kind, name in symbols(Path("stack/engine.c"), tmp_path) if kind == "U"}
    assert wanted <= ENGINE_MAY_CALL | COMPILER_HELPERS, (
        f"the engine calls {sorted(wanted - ENGINE_MAY_CALL - COMPILER_HELPERS)}"
    )


@pytest.mark.parametrize("unit", C_UNITS, ids=ids)
def test_no_globals(unit: Path, tmp_path: Path) -> None:
    allowed = NO_GLOBALS.get(unit.as_posix(), set())
    found = [n.split(".")[0] for kind, n in symbols(unit, tmp_path) if kind in "bBdDCsSgG"]
    written = [n for n in found if n not in allowed]
    assert not written, f"{unit} has global variables: {written}"


# ---- sizes and single definitions ----------------------------------------------------------------


@pytest.mark.parametrize("path", code(".c", ".h"), ids=ids)
def test_c_sizes(path: Path) -> None:
    lines = text(path).splitlines()
    assert len(lines) <= MAX_C_FILE, f"{path} has {len(lines)} lines"
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            size = number - start + 1
            assert size <= MAX_C_FUNCTION, f"{path}:{start}: a function of {size} lines"
            start = None


@pytest.mark.parametrize("path", files(".py"), ids=ids)
def test_python_sizes(path: Path) -> None:
    count = len(text(path).splitlines())
    assert count <= MAX_PYTHON, f"{path} has {count} lines"


def test_each_struct_is_defined_once() -> None:
    seen: dict[str, Path] = {}
    for path in code(".c", ".h"):
        for kind, name in re.findall(r"^(struct|union|enum) (\w+)\s*\{", text(path), re.MULTILINE):
            key = f"{kind} {name}"
            assert key not in seen, f"{key} is defined in {seen[key]} and in {path}"
            seen[key] = path


def test_bytes_in_network_order_are_read_and_written_by_one_header() -> None:
    own = re.compile(
        r"^static .*\b\w*(?:get|put|load|store)_?(?:be)?(?:16|32)\(|<< 8 \| \w+\[\d+\]"
    )
    for path in code(".c", ".h"):
        if path.name != "bytes.h" and not path.name.endswith(".bpf.c"):
            for number, line in enumerate(text(path).splitlines(), 1):
                assert not own.search(line), f"{path}:{number}: {line.strip()}"


@pytest.mark.parametrize("path", code(".c", ".h"), ids=ids)
def test_c_files_say_their_licence(path: Path) -> None:
    assert text(path).startswith("/* SPDX-License-Identifier: MIT */\n"), path


def test_sequence_numbers_are_compared_in_one_header() -> None:
    number = r"(?:snd_(?:una|nxt|max|up|wl1|wl2)|rcv_nxt|rcv_up|seg_seq|seg_ack|high_seq|recover)"
    bare = re.compile(rf"\b{number}\s*(?:<=?|>=?)\s|(?<![-<>])[<>]=?\s*(?:\w+(?:->|\.))*{number}\b")
    for path in code(".c", ".h"):
        if path.name == "seq.h":
            continue
        for line_number, line in enumerate(text(path).splitlines(), 1):
            line_of_code = re.sub(r"/\*.*?\*/|/\*.*|^ \*.*|//.*", "", line)
            assert not bare.search(line_of_code), f"{path}:{line_number}: {line.strip()}"


def test_tcp_headers_are_read_and_written_in_one_place() -> None:
    """No other file of TCP's reads or writes numbers of a packet, or indexes a header."""
    here = re.compile(r"\b(?:get|put)(?:16|32)\((?!id )|\b(?:tcp|l4|h|of|opt)(?: \+ \d|\[\d)")
    for path in code(".c", ".h"):
        if path.parts[:2] != ("stack", "tcp") or path.stem == "tcp_header":
            continue
        for number, line in enumerate(text(path).splitlines(), 1):
            assert not here.search(line), f"{path}:{number}: {line.strip()}"


def test_transports_do_not_know_how_long_an_ip_header_is() -> None:
    """A path does (hlen): no file of a transport calls IPv4's own functions or has its numbers."""
    known = re.compile(r"\bip4_|\bIP4_|\bl3\b|\b(?:20|40)u? \+|[-+>] (?:20|40)u?\b")
    for path in code(".c"):
        if path.parts[:2] not in (("stack", "tcp"), ("stack", "udp")):
            continue
        for number, line in enumerate(text(path).splitlines(), 1):
            assert not known.search(line), f"{path}:{number}: {line.strip()}"


# ---- what must not be written down ---------------------------------------------------------------


def test_no_path_of_a_build_machine() -> None:
    machine = re.compile(r"(?<![\w.$}])/(?:work|root|home|Users)/\w")
    suffixes = (
        ".py",
        ".c",
        ".h",
        ".md",
        ".toml",
        ".sh",
        ".txt",
        ".json",
        ".yml",
        "Makefile",
        "run",
    )
    for path in files(*suffixes):
        for number, line in enumerate(text(path).splitlines(), 1):
            assert not machine.search(line), f"{path}:{number}: {line.strip()}"
