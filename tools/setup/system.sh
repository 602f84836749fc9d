#!/bin/sh
# Installs the system packages that are missing, and says in one sentence what to do where it cannot.
# Usage: system.sh PYTHON GROUP...   groups: build (compiler, headers, venv), demo (ping),
#        test (curl, wrk, ip and tc, tshark, Python's own tests, redis), servers (what the long tests talk to),
#        lint (clang), fuzz (clang and its libFuzzer), fuzz-coverage (LLVM's tools), root (debootstrap),
#        drivers (the libraries of some: without them those are left out)
set -eu
PATH="$PATH:/usr/sbin:/sbin" # where Debian has ip, tc and debootstrap, and users have no path to

python=$1
shift
missing=
optional=

need() { # need PACKAGE TEST...: the package is missing if the test fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

want() { # want PACKAGE MODULE: the package of an optional library that pkg-config does not find
    pkg-config --exists "$2" 2>/dev/null || optional="$optional $1"
}

has_headers() {
    "$python" -c 'import os, sysconfig; os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))'
}

python_name() { # such as python3.11
    "$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])' 2>/dev/null
}

has_own_tests() { # or is no interpreter of the system's, whose package would not help
    "$python" -c 'import sys, importlib.util as util
sys.exit(sys.base_prefix == "/usr" and util.find_spec("test.test_asyncio") is None)'
}

compiles() {
    echo 'int main(void) { return 0; }' | gcc -include stdlib.h -x c -o /dev/null -
}

clang_version() { # clang's major version, or that of the one which apt-get would install
    { clang -dumpversion || apt-cache show clang | sed -n 's/^Version: [0-9]*://p'; } 2>/dev/null |
        sed -n '1s/[^0-9].*//p'
}

links_fuzzer() {
    echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
        clang -fsanitize=fuzzer,address,undefined -x c -o /dev/null -
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
        need iproute2 sh -c "command -v ip && command -v tc"
        need curl command -v curl
        need wrk command -v wrk
        need tshark command -v tshark
        need "lib$(python_name)-testsuite" has_own_tests
        need redis-server command -v redis-server
        ;;
    servers) # of the long tests' programs
        need postgresql sh -c "ls /usr/lib/postgresql/*/bin/initdb"
        need mosquitto command -v mosquitto
        ;;
    lint) need clang command -v clang ;;
    fuzz)
        need clang command -v clang
        need "libclang-rt-$(clang_version)-dev" links_fuzzer
        ;;
    fuzz-coverage) need llvm sh -c "command -v llvm-cov && command -v llvm-profdata" ;;
    root)
        need debootstrap command -v debootstrap
        need debian-archive-keyring test -e /usr/share/keyrings/debian-archive-keyring.gpg
        ;;
    drivers)
        command -v pkg-config >/dev/null || optional="$optional pkg-config"
        command -v clang >/dev/null || optional="$optional clang"
        want libxdp-dev libxdp
        want libbpf-dev libbpf
        want libdpdk-dev libdpdk
        want liburing-dev liburing
        ;;
    *) die "system.sh does not know the group $group" ;;
    esac
done

as_root= # what makes a command root's
if [ "$(id -u)" != 0 ]; then
    as_root=sudo
fi

can_install() { # without a question, or with one where somebody can answer it (can_install -t)
    command -v apt-get >/dev/null || return 1
    [ -n "$as_root" ] || return 0
    command -v sudo >/dev/null && { sudo -n true 2>/dev/null || { [ "${1-}" = -t ] && [ -t 0 ]; }; }
}

for_root() { # the command that somebody has to run
    if command -v apt-get >/dev/null; then echo "as root, apt-get install$*"; else echo "install$*"; fi
}

# Nobody is asked for a password for what the build can do without.
if [ -n "$optional" ] && ! can_install; then
    echo "barewire: some drivers are left out for want of system packages; to have them: $(for_root "$optional")"
    optional=
fi
if [ -n "$missing" ] && ! can_install -t; then
    die "system packages are missing: $(for_root "$missing")"
fi
missing="$missing$optional"
if [ -n "$missing" ]; then
    echo "barewire: installing$missing"
    $as_root apt-get update -qq
    policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d} # while it says 101, no server is started (invoke-rc.d(8))
    if [ ! -e $policy ]; then
        trap '$as_root rm -f $policy' EXIT
        printf '#!/bin/sh\nexit 101\n' | $as_root sh -c "cat >$policy && chmod +x $policy"
    fi
    # shellcheck disable=SC2086  # a list of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "$python is older than 3.11; name a newer one: make PYTHON=/path/to/python3"
case " $* " in *" build "*)
    has_headers || die "$python has no C headers; name an interpreter that does: make PYTHON=/usr/bin/python3" ;;
esac
