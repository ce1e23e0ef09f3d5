#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# cpp-test.sh BUILD - examples/cpp: the sample with a new pool, again with a warm one, and without;
# and what is held after errors.
# The last line is "N passed, N failed, N skipped"; status 77 if nothing can run.
set -u
sample=$1/examples/cpp/cpp-sample tool=$1/src/tool/cachemax passed=0 failed=0
[ -x "$sample" ] || {
  echo "skip cpp: not built (Debian package g++)"
  echo "0 passed, 0 failed, 1 skipped"
  exit 77
}
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-cpp.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
says() { # NAME FILE POOL LINE...: exactly these lines, and exit status 0
  name=$1 file=$2 pool=$3
  shift 3
  if "$sample" "$file" "$pool" >"$work/out" 2>"$work/err" &&
    printf '%s\n' "$@" | cmp -s - "$work/out"; then
    passed=$((passed + 1)) && echo "ok $name"
  else
    failed=$((failed + 1)) && echo "FAIL $name: $(cat "$work/out" "$work/err")"
  fi
}
"$tool" create "$work/pool" --size 16M >/dev/null || exit 1
head -c 200000 "$sample" >"$work/file"
cp "$work/file" "$work/before"
sleep 0.1 # its times are no longer fresh
says new "$work/file" "$work/pool" 'read 200000 bytes, new' \
  'pinned 200000 of 200000 bytes, the same' '1 bracket'
says warm "$work/file" "$work/pool" 'read 200000 bytes, kept' \
  'pinned 200000 of 200000 bytes, the same' '1 bracket'
says without "$work/file" "$work/none" 'read 200000 bytes without a cache'
if ! "$sample" "$work/none" "$work/pool" 2>/dev/null && cmp -s "$work/file" "$work/before"; then
  passed=$((passed + 1)) && echo "ok no file"
else
  failed=$((failed + 1)) && echo "FAIL no file: status 0, or the other file changed"
fi
if errors=$("$1/examples/cpp/cpp-errors" "$work/pool" 2>&1); then
  passed=$((passed + 1)) && echo "ok errors"
else
  failed=$((failed + 1)) && echo "FAIL errors: $errors"
fi
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
