#!/bin/sh
# test_header.sh: pumice.h compiles alone, as C99, C11 and C++, with every warning an error.
# ctest: quick
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A user's file: the header first and alone, one call, one struct.
cat >"$work/user.c" <<'SOURCE'
#include "pumice.h"
int use(void);
int use(void) {
    pm_session_desc desc;
    desc.n_ctx = 0;
    return (int)desc.n_ctx + (int)PM_OK + (pm_last_error() != NULL);
}
SOURCE
cp "$work/user.c" "$work/user.cpp"
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror"
tried=0
compile() {
    command -v "$1" >/dev/null 2>&1 || return 0
    echo "$1 $2"
    # shellcheck disable=SC2086
    "$1" "-std=$2" $warnings -I"$root/runtime" -c "$work/$3" -o "$work/user.o"
    tried=$((tried + 1))
}
for compiler in cc gcc clang; do
    compile "$compiler" c99 user.c
    compile "$compiler" c11 user.c
done
for compiler in c++ g++ clang++; do
    compile "$compiler" c++11 user.cpp
    compile "$compiler" c++17 user.cpp
done
[ "$tried" -gt 0 ] || { echo "no compiler found"; exit 77; }
