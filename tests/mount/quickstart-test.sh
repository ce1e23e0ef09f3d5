#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# quickstart-test.sh - the README's first command: over files that are quiet, over files that somebody
# writes meanwhile, and over nothing. The last line is "N passed, N failed, N skipped".
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-quick-test.XXXXXX")
passed=0 failed=0
cleanup() {
  [ -z "${writer:-}" ] || kill "$writer" 2>/dev/null
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# runs NAME STATUS PATTERN [DIR]
runs() {
  local name=$1 want=$2 pattern=$3 got
  shift 3
  sh "$top/examples/quickstart.sh" "$@" >"$work/out" 2>&1
  got=$?
  if [ $got = "$want" ] && grep -q -- "$pattern" "$work/out"; then
    passed=$((passed + 1))
    echo "ok $name"
  else
    failed=$((failed + 1))
    echo "FAIL $name: status $got"
    tail -n 12 "$work/out" | sed 's/^/  /'
  fi
}

mkdir "$work/quiet"
cp -R "$top/src" "$top/docs" "$work/quiet"
: >"$work/quiet/empty"
printf 'x' >"$work/quiet/odd name with 'quotes'"
truncate -s 3M "$work/quiet/sparse"
find "$work/quiet" -type f -exec sha256sum {} + >"$work/before"
runs "quiet files" 0 'every byte equals the origin; the pool checks sound' "$work/quiet"
if find "$work/quiet" -type f -exec sha256sum {} + | cmp -s - "$work/before" &&
  ! mountpoint -q "$work/quiet"; then
  passed=$((passed + 1))
else
  failed=$((failed + 1))
  echo "FAIL the directory is not as it was"
fi
mkdir "$work/busy"
cp "$top/README.md" "$work/busy"
while sleep 0.05; do date +%N >>"$work/busy/log"; done &
writer=$!
runs "files that are written meanwhile" 1 'were changed while they were read' "$work/busy"
runs "no such directory" 2 'is not a directory' "$work/none"
if ls /dev/shm/cachemax-quickstart.* >/dev/null 2>&1; then
  failed=$((failed + 1))
  echo "FAIL a pool was left behind"
fi
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
