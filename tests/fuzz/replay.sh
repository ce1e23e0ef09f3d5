#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# replay.sh BUILD [SECONDS [SEED]] - runs the kept inputs of each fuzz target with the programs of a
# build, and then random changes of them for SECONDS each (0). The last line is "N passed, N failed,
# N skipped". An input that fails is printed in hex, as a line for corpus/TARGET.hex.
set -u
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
build=$1 seconds=${2:-0} seed=${3:-1}
passed=0 failed=0 skipped=0
dir=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-replay.XXXXXX")
trap 'rm -rf "$dir"' EXIT
# shellcheck disable=SC2013 # words
for t in $(sed -n "s/^all='\(.*\)'\$/\1/p" "$here/run"); do
  program=$build/tests/fuzz/fuzz_$t
  if [ ! -x "$program" ]; then
    skipped=$((skipped + 1))
    echo "skip $t: $program was not built"
    continue
  fi
  FUZZ_INPUT=$dir/input timeout $((seconds + 300)) "$program" --seconds "$seconds" \
    --seed "$seed" "$here/corpus/$t.hex" >"$dir/out" 2>&1
  status=$?
  if [ $status = 0 ]; then
    passed=$((passed + 1))
    echo "ok $t: $(head -n 1 "$dir/out")"
  else
    failed=$((failed + 1))
    echo "FAIL $t: exit status $status; the input: $(od -An -v -tx1 "$dir/input" | tr -d ' \n')"
    tail -n 40 "$dir/out"
  fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
