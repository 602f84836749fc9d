#!/bin/sh
# Installs a wheel of dist/ where there is python3 and nothing else, no compiler and no library that a driver
# needs, and runs smoke.py there: in a root of Debian 13 if there is a wheel for its Python, else of this
# machine's own release.
set -eu
here=$(. /etc/os-release && echo "$VERSION_CODENAME")
case $(ls dist) in
*-cp313-*) release=trixie ;;
*) release=$here ;;
esac
# shellcheck disable=SC2016  # the root's shell looks at it
exec sh "$(dirname "$0")/root.sh" "$release" bare sh -euc '
    if command -v gcc cc clang make || ldconfig -p | grep -E "lib(bpf|xdp|uring|elf)\.so"; then
        echo "barewire: this root is not bare" >&2
        exit 1
    fi
    tag=$(python3 -c "import sys; print(*sys.version_info[:2], sep=\"\")")
    python3 -m venv /tmp/venv
    /tmp/venv/bin/pip install --quiet dist/*-cp"$tag"-cp"$tag"-*.whl
    /tmp/venv/bin/barewire devices
    /tmp/venv/bin/python -P tools/setup/smoke.py wheel'
