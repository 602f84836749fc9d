#!/bin/sh
# Copies what git would take of this tree, as it is now, to a folder: for building beside it.
# Usage: copy_tree.sh FOLDER      its files are of the time of the copy: make builds anew
set -eu
cd "$(dirname "$0")/../.."
mkdir -p "$1"
git -c safe.directory='*' ls-files -z --cached --others --exclude-standard --deduplicate |
    xargs -0 sh -c 'for path; do [ ! -e "$path" ] || printf "%s\0" "$path"; done' sh |
    tar --null --files-from=- --create | tar --extract --touch --no-same-owner --directory="$1"
