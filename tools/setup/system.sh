#!/bin/sh
# Installs the system packages that are missing, and says in one sentence what to do where it cannot.
# Usage: system.sh PYTHON GROUP...   groups: build (compiler, headers, venv), demo (ping),
#        test (curl, tshark), lint (clang)
set -eu

python=$1
shift
missing=

need() { # need PACKAGE TEST...: the package is missing if the test fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

has_headers() {
    "$python" -c 'import os, sysconfig; os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))'
}

compiles() {
    echo 'int main(void) { return 0; }' | gcc -include stdlib.h -x c -o /dev/null -
}

die() {
    echo "barewire: $*" >&2
    exit 1
}

command -v "$python" >/dev/null || missing=" python3"
for group in "$@"; do
    case $group in
    build)
        need gcc command -v gcc
        need libc6-dev compiles
        need python3-venv "$python" -c 'import venv, ensurepip'
        need python3-dev has_headers
        ;;
    demo) need iputils-ping command -v ping ;;
    test)
        need curl command -v curl
        need tshark command -v tshark
        ;;
    lint) need clang command -v clang ;;
    *) die "system.sh does not know the group $group" ;;
    esac
done

if [ -n "$missing" ]; then
    as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die "these packages are missing:$missing; install them as root, or install sudo"
        as_root="sudo"
    fi
    command -v apt-get >/dev/null || die "these packages are missing:$missing; install them with your system's package manager"
    echo "barewire: installing$missing"
    $as_root apt-get update -qq
    # shellcheck disable=SC2086  # a list of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "$python is older than 3.11; name a newer one: make PYTHON=/path/to/python3"
case " $* " in *" build "*)
    has_headers || die "$python has no C headers; name an interpreter that does: make PYTHON=/usr/bin/python3" ;;
esac
