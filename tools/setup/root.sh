#!/bin/sh
# Runs a command, as root, in a root of a Debian release that debootstrap made; the tree lies there in /src.
# Usage: root.sh RELEASE KIND COMMAND [ARGUMENT...]
#        RELEASE: a codename, or `other`: of Debian 12 and 13 the one that this machine does not run
#        KIND: bare (python3 with venv, no compiler) or build (and make: what a fresh machine has)
# Roots are kept in ${XDG_CACHE_HOME:-~/.cache}/barewire/roots, and made anew when this file or system.sh
# changed. The settings of this machine's apt and pip are mounted into them and never written down. Every
# mount is one of a namespace that goes with the command, however it ends.
set -eu
PATH="$PATH:/usr/sbin:/sbin"

die() {
    echo "barewire: $*" >&2
    exit 1
}

# ---- outside -------------------------------------------------------------------------------------

here=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")

mirror() { # where apt gets the main part of this machine's release
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        sed -n "s/^$here main //p" | head -n 1
}

isolated() { # isolated FUNCTION ARGUMENT...: in a namespace of mounts and processes, which ends with this script
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc sh "$0" "$@"
}

install_in() { # install_in FOLDER PACKAGE...
    # shellcheck disable=SC2016  # the root's shell looks at it
    isolated :enter "$1" sh -c 'shift; apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"' sh "$@"
}

make_bare() { # make_bare FOLDER RELEASE
    uri=$(mirror)
    [ -n "$uri" ] || die "apt's sources do not name where Debian's $here comes from"
    http_proxy=${http_proxy:-$(apt-config dump --format '%v' Acquire::http::Proxy)}
    export http_proxy
    isolated :debootstrap "$1" "$2" "$uri" || isolated :debootstrap "$1" "$2" "$uri" || return 1 # a mirror moves
    install_in "$1" python3 python3-venv
}

make_build() { # make_build FOLDER RELEASE
    kept "$2" bare &&
        cp -a --reflink=auto "$roots/$2-bare/." "$1" &&
        install_in "$1" make
}

kept() { # kept RELEASE KIND: the root is there, made if it was not, or was made by other scripts
    local folder stamp
    folder=$roots/$1-$2
    stamp=$(cat "$0" "$(dirname "$0")/system.sh" | sha256sum)
    [ "$(cat "$folder.made" 2>/dev/null)" != "$stamp" ] || return 0
    echo "barewire: making a root of Debian $1 ($2)"
    rm -rf "$folder" "$folder.made"
    mkdir -p "$folder"
    if ! ("make_$2" "$folder" "$1") >"$folder.log" 2>&1; then
        tail -n 30 "$folder.log" >&2
        die "the root was not made: $folder.log"
    fi
    rm "$folder.log"
    echo "$stamp" >"$folder.made"
}

lay_tree() { # lay_tree FOLDER: this tree, and dist; what was built there before stays
    mkdir -p "$1"
    find "$1" -mindepth 1 -maxdepth 1 ! -name '.venv*' -exec rm -rf {} +
    sh "$(dirname "$0")/copy_tree.sh" "$1"
    [ ! -d dist ] || cp -r dist "$1"
}

# ---- inside a namespace --------------------------------------------------------------------------

mount_file() { # mount_file PATH [HOW]: this machine's file or folder, at the same place
    [ -e "$1" ] || return 0
    if [ -d "$1" ]; then
        mkdir -p "$root$1"
    else
        mkdir -p "$root$(dirname "$1")"
        [ -e "$root$1" ] || : >"$root$1"
    fi
    mount --bind -o "${2:-ro}" "$(readlink -f "$1")" "$root$1"
}

mount_apt() { # sources, keys and what is said of the way to them, with the root's release for ours
    mount -t tmpfs tmpfs "$root/etc/apt"
    mount -t tmpfs tmpfs "$root/var/lib/apt/lists" # what is fetched tells where it came from
    mount -t tmpfs tmpfs "$root/var/cache/apt"
    mkdir -p "$root/etc/apt/apt.conf.d" "$root/etc/apt/sources.list.d" "$root/etc/apt/preferences.d"
    for name in auth.conf auth.conf.d keyrings trusted.gpg trusted.gpg.d; do
        [ ! -e "/etc/apt/$name" ] || cp -a "/etc/apt/$name" "$root/etc/apt/"
    done
    apt-config dump | grep '^Acquire::' | grep -v '^Acquire::IndexTargets' >"$root/etc/apt/apt.conf.d/50outside"
    release=$(. "$root/etc/os-release" && echo "$VERSION_CODENAME")
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        ! grep -qsw "$here" "$file" || sed "s/\b$here\b/$release/g" "$file" >"$root$file"
    done
}

mount_pip() { # pip's files, what they and the environment name, and the downloads that it keeps
    pip() { command "$([ -x .venv/bin/pip ] && echo .venv/bin/pip || echo pip3)" "$@" 2>/dev/null || true; }
    pip config debug | sed -n 's/^ *\(.*\), exists: True$/\1/p' | while read -r file; do mount_file "$file"; done
    # an index in a folder has its files beside it
    pip config list | grep -o "/[^' ]*" | sed 's#^//*#/#; s#/simple/*$##' | sort -u |
        while read -r path; do mount_file "$path"; done
    cache=$(pip cache dir)
    [ -z "$cache" ] || { mkdir -p "$cache" && mount_file "$cache" rw; }
}

enter() { # enter ROOT COMMAND...
    root=$1
    shift
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/tmp"
    mount -t tmpfs tmpfs "$root/run"
    mount_apt
    mount_pip
    for path in /etc/resolv.conf /etc/hosts /etc/ssl/certs; do mount_file "$path"; done
    mkdir -p "$root$HOME" "$root/src" "$root/run/outside"
    cd "$root"
    pivot_root . run/outside
    cd /src
    umount -l /run/outside
    exec env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u VIRTUAL_ENV -u PYTHONPATH -u PYTHONHOME \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"
}

case $1 in
:enter)
    shift
    enter "$@"
    ;;
:debootstrap)
    # Without waiting for the disk: what a crash left half made is made anew. What it writes down of this
    # machine is taken out again.
    mkdir -p "$2/etc/dpkg/dpkg.cfg.d"
    echo force-unsafe-io >"$2/etc/dpkg/dpkg.cfg.d/unsafe-io"
    debootstrap --variant=minbase --include=ca-certificates "$3" "$2" "$4"
    rm -rf "$2/var/log/bootstrap.log" "$2"/var/lib/apt/lists/* "$2"/var/cache/apt/*
    for file in apt/sources.list resolv.conf hostname; do : >"$2/etc/$file"; done
    exit
    ;;
esac

[ "$(id -u)" = 0 ] || die "a root of another Debian release needs root: run it as root, or with sudo"
release=$1 kind=$2
shift 2
case $release-$here in
other-bookworm) release=trixie ;;
other-trixie) release=bookworm ;;
other-*) die "this machine runs neither Debian 12 nor 13: name the release (bookworm, trixie)" ;;
esac
roots=${XDG_CACHE_HOME:-$HOME/.cache}/barewire/roots
mkdir -p "$roots"
exec 9>"$roots/lock"
flock 9
kept "$release" "$kind"
lay_tree "$roots/$release-$kind/src"
isolated :enter "$roots/$release-$kind" "$@"
