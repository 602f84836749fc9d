"""Compiles a BPF program when the package is built; the wheel carries it inside an extension."""

from __future__ import annotations

import os
import subprocess
import tempfile


def bpf_array(source: str, name: str) -> str:
    """The compiled program as C: `const unsigned char NAME[]` and `const unsigned long NAME_len`."""
    machine = subprocess.run(
        ["gcc", "-print-multiarch"], capture_output=True, text=True, check=True
    )
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "program.o")
        include = f"/usr/include/{machine.stdout.strip()}"
        flags = ["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-I", include]
        subprocess.run(["clang", *flags, "-c", source, "-o", path], check=True)
        with open(path, "rb") as file:
            data = file.read()
    lines = [", ".join(map(str, data[i : i + 24])) for i in range(0, len(data), 24)]
    array = f"const unsigned char {name}[] = {{\n" + ",\n".join(lines) + "};\n"
    return array + f"const unsigned long {name}_len = {len(data)};\n"
