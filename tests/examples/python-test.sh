#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# python-test.sh BUILD - examples/python: cat.py with a new pool, a warm one, and without one; then
# each call of cachemax.py. The last line is "N passed, N failed, N skipped"; status 77 if nothing
# can run.
set -u
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=$here/../../examples/python
export CACHEMAX_LIBRARY="$1/src/libcachemax.so.0" PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$python"
passed=0 failed=0
if [ ! -f "$CACHEMAX_LIBRARY" ] || ! python3 -c 'import ctypes' 2>/dev/null; then
  echo "skip python: no shared library in this build, or no python3"
  echo "0 passed, 0 failed, 1 skipped"
  exit 77
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-python.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cat_says() { # NAME POOL TEXT: the content is right, and the last line on stderr is TEXT
  if python3 "$python/cat.py" "$2" "$work/file" >"$work/out" 2>"$work/err" &&
    cmp -s "$work/file" "$work/out" && [ "$(tail -n 1 "$work/err")" = "cat.py: $3" ]; then
    passed=$((passed + 1)) && echo "ok $1"
  else
    failed=$((failed + 1)) && echo "FAIL $1: $(cat "$work/err")"
  fi
}
"$1/src/tool/cachemax" create "$work/pool" --size 16M >/dev/null || exit 1
head -c 3000001 "$CACHEMAX_LIBRARY" >"$work/file"
blocks=$((($(wc -c <"$work/file") + 4095) / 4096))
sleep 0.1 # its times are no longer fresh
cat_says new "$work/pool" "0 blocks from the pool"
if ! python3 - "$work" <<'END'; then
import os
import sys
import cachemax
fd = os.open(sys.argv[1] + "/file", os.O_RDONLY)
sys.exit(cachemax.identify(fd)[1].racy != 0)
END
  echo "skip warm: the file system of $work does not show who writes"
else
  cat_says warm "$work/pool" "$blocks blocks from the pool"
fi
cat_says without "$work/none" "cm_open: no such file or directory"
if python3 "$here/python-test.py" "$work" >"$work/out" 2>&1; then
  passed=$((passed + 1)) && echo "ok calls"
else
  failed=$((failed + 1)) && echo "FAIL calls: $(tail -n 3 "$work/out")"
fi
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
