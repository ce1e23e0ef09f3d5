#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# check-tidy.sh TOP [--part K/N | FILE...] - does clang-tidy find anything in src/, in every N-th
# file of it (K: 0 to N - 1), or in these files of it? The checks are those of .clang-tidy. Versions
# find different things, so only version 14 (Debian 12) is asked; with another one the test is
# skipped (status 77). Files of other systems and processors need their headers; they are left out.
# It needs no build.
set -u
[ $# -ge 1 ] || {
  echo "usage: check-tidy.sh TOP [--part K/N | FILE...]" >&2
  exit 2
}
cd "$1" || exit 1
shift
for tool in clang-tidy-14 clang-tidy; do
  case $($tool --version 2>/dev/null) in
  *'version 14.'*) break ;;
  *) tool='' ;;
  esac
done
[ -n "$tool" ] || {
  echo "skip tidy: no clang-tidy 14 here (Debian package clang-tidy-14)"
  exit 77
}
$tool --list-checks 2>&1 | grep -q '^ *misc-no-recursion$' || {
  echo "FAIL clang-tidy understands .clang-tidy"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
}
others='src/(platform/win32_|tool/os_win32|persist/arm64)'
echo '#include <microhttpd.h>' | ${CC:-cc} -E - >/dev/null 2>&1 ||
  others="$others|src/tool/dash/server"
part=0/1
[ "${1-}" != --part ] || {
  part=${2:?--part takes K/N}
  shift 2
}
files=${*:-$(find src -name '*.c' | grep -vE "$others" | sort |
  awk -v first="${part%/*}" -v step="${part#*/}" 'NR % step == first')}
# With the code of -Dchecks=full. The rivals of "cachemax bench" and the compressed traces where
# their headers are.
have() { ! echo "#include <$1>" | ${CC:-cc} -E - >/dev/null 2>&1 || echo "-D$2"; }
flags="-std=gnu11 -D_GNU_SOURCE -DCM_CHECKS_FULL -Iinclude -Isrc $(have lmdb.h HAVE_LMDB) \
$(have sqlite3.h HAVE_SQLITE) $(have lzma.h HAVE_LZMA)"
# How far the analyzer follows a function: with its own limit it takes three times as long, and
# found nothing more.
limit='--extra-arg=-Xclang --extra-arg=-analyzer-config --extra-arg=-Xclang
  --extra-arg=max-nodes=50000'
# One file a process, so that two processors end together.
said=$(
  # shellcheck disable=SC2016,SC2086 # words, and of the inner shell
  printf '%s\n' $files | xargs -P "$(nproc)" -I '{}' sh -c '
    out=$("$0" --quiet "$1" $3 -- $2 2>&1) || printf "%s\n" "$out" | grep " error: " ||
      printf "%s\n" "$1: $out"' "$tool" '{}' "$flags" "$limit" |
    sed "s|^$PWD/||" | sort -u # what is in a header is said for many files
)
# shellcheck disable=SC2086 # words
set -- $files
if [ -n "$said" ]; then
  echo "FAIL clang-tidy finds nothing in src/"
  echo "$said" | sed 's/^/  /'
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
fi
echo "ok clang-tidy finds nothing in src/: $# files"
echo "1 passed, 0 failed, 0 skipped"
