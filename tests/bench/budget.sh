#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# budget.sh BUILD_DIR [OTHER_BUILD_DIR] - instructions of each operation, and its time.
#
# Counts with valgrind's callgrind what "budget OPERATION" runs inside its measured(), and prints
# the instructions of one operation. Valgrind shows every program the same CPU, so that the counts
# of one compiler are the same on each x86-64 machine. Beside them the nanoseconds on this machine,
# without valgrind: the median of several rounds. With two builds both are run in turns, and a last
# column says what the second takes of the first. Release builds mean something:
#   meson setup --buildtype=release -Db_ndebug=true BUILD_DIR
set -u
[ $# = 1 ] || [ $# = 2 ] || {
  echo "usage: budget.sh BUILD_DIR [OTHER_BUILD_DIR]" >&2
  exit 2
}
rounds=9
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-budget.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
for build; do
  [ -x "$build/tests/bench/budget" ] || {
    echo "budget.sh: $build/tests/bench/budget is not there: build it with ninja" >&2
    exit 2
  }
done
command -v valgrind >/dev/null || {
  echo "budget.sh: valgrind is not installed (Debian package valgrind)" >&2
  exit 77
}

instructions() { # BUILD OPERATION
  valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect=measured \
    "$1/tests/bench/budget" "$2" >"$work/out" 2>"$work/err" || {
    cat "$work/err" >&2
    exit 1
  }
  echo "$(sed -n 's/.*Collected : //p' "$work/err") $(cut -d' ' -f1 "$work/out")" |
    awk '{ printf "%.1f", $1 / $2 }'
}
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
per() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", (a > 0 ? b / a : 0) }'; }

sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1
if [ $# = 1 ]; then
  printf '%-14s %12s %8s\n' operation instructions ns
else
  printf '%-14s %12s %12s %6s %8s %8s %6s\n' operation instructions other ratio ns other ratio
fi
for op in hit read_many run miss fill fill_buffered bracket; do
  rm -f "$work"/ns.*
  for _ in $(seq $rounds); do
    n=0
    for build; do
      n=$((n + 1))
      "$build/tests/bench/budget" $op | cut -d' ' -f2 >>"$work/ns.$n" || exit 1
    done
  done
  first=$(instructions "$1" $op) || exit 1
  ns=$(median "$work/ns.1")
  if [ $# = 1 ]; then
    printf '%-14s %12s %8s\n' $op "$first" "$ns"
  else
    second=$(instructions "$2" $op) || exit 1
    ns2=$(median "$work/ns.2")
    printf '%-14s %12s %12s %6s %8s %8s %6s\n' $op "$first" "$second" "$(per "$first" "$second")" \
      "$ns" "$ns2" "$(per "$ns" "$ns2")"
  fi
done
