#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# objects-test.sh BUILD - objects-bench with few objects: all values are right, and cachemax is warm
# after a kill and a close. How fast it is does not matter here: other programs run beside it.
# The last line is "N passed, N failed, N skipped".
set -u
: "${1:?usage: objects-test.sh BUILD}"
program=$(realpath "$1")/tests/bench/objects-bench
[ -x "$program" ] || {
  echo "skip objects-bench: it is not built"
  exit 77
}
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-objects.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
for stores in cachemax,LMDB RocksDB; do
  if timeout 300 "$program" "$work" --objects 5000 --rounds 1 --stores "$stores" >"$work/out" 2>&1
  then
    passed=$((passed + 1)) && echo "ok $stores"
  else
    failed=$((failed + 1)) && echo "FAIL $stores: $(tail -n 5 "$work/out" | tr '\n' ' ')"
  fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
