#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# coverage.sh - which lines of src/ do the tests run?
#
# Installs gcovr (Debian package), builds with -Db_coverage=true in $CM_BUILD (default: a directory
# below ${TMPDIR:-/tmp}), runs the suites of meson with the labels below, and prints the share of
# lines for each folder and for each file below LIMIT percent. Exit status 1: a test failed, or all
# of src/ together is below LIMIT. What is not counted, and why some files stay below, is in
# docs/notes/coverage.md.
set -u
labels='unit model crash tool bench abi'
limit=92
[ $# = 0 ] || {
  sed -n '/^# coverage.sh/,/^set/s/^# \{0,1\}//p' "$0"
  exit 2
}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=$(dirname -- "$here")
. "$top/examples/need.sh"
scratch=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-coverage.XXXXXX")
trap 'need_end; rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
need build-essential meson ninja-build pkg-config python3 libxxhash-dev gcovr || exit 1
need liblmdb-dev libsqlite3-dev liblzma-dev sqlite3 ||
  echo "without these some tests are skipped"

b=${CM_BUILD:-${TMPDIR:-/tmp}/cachemax-build-coverage}
[ -f "$b/build.ninja" ] || meson setup "$b" "$top" -Db_coverage=true >"$scratch/build" 2>&1 || {
  tail -n 30 "$scratch/build"
  exit 1
}
ninja -C "$b" >"$scratch/build" 2>&1 || {
  tail -n 30 "$scratch/build"
  exit 1
}
find "$b" -name '*.gcda' -delete # of an earlier run
failed=0
# shellcheck disable=SC2046,SC2086 # words
meson test -C "$b" --no-rebuild $(printf -- "--suite %s " $labels) >"$scratch/tests" 2>&1 ||
  failed=1
grep -E ' (FAIL|ERROR|TIMEOUT|SKIP) ' "$scratch/tests"
grep -E '^(Ok|Fail|Skipped|Timeout):' "$scratch/tests" | tr -s ' \n' ' '
echo
[ $failed = 0 ] || echo "coverage.sh: a test failed: $b/meson-logs/testlog.txt"

gcovr -r "$top" --filter "$top/src/" "$b" --csv >"$scratch/csv" || exit 1
awk -F, -v limit=$limit -v failed=$failed '
  NR == 1 { next }
  {
    file = $1
    folder = file
    sub(/\/[^\/]*$/, "", folder)
    lines[folder] += $2
    run[folder] += $3
    all += $2
    all_run += $3
    if ($2 > 0 && 100 * $3 < limit * $2)
      below = below sprintf("%5.1f %%  %s: %d of %d lines not run\n", 100 * $3 / $2, file, $2 - $3,
        $2)
  }
  END {
    if (all == 0) {
      print "coverage.sh: nothing was counted"
      exit 1
    }
    for (f in lines)
      printf "%5.1f %%  %s: %d lines\n", 100 * run[f] / lines[f], f, lines[f] | "sort -k3"
    close("sort -k3")
    if (below != "")
      printf "below %d %%:\n%s", limit, below
    low = 100 * all_run < limit * all
    printf "coverage: %.1f %% of %d lines of src/, at least %d %% are wanted\n",
      100 * all_run / all, all, limit
    exit failed || low
  }' "$scratch/csv"
status=$?
echo "which lines: gcovr -r $top --filter $top/src/FOLDER/FILE $b"
exit $status
