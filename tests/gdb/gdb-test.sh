#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# gdb-test.sh BUILD - what gdb prints with cachemax.py, beside what sample.c says it shall print.
#
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" and a summary as the last line.
set -u
build=${1:?usage: gdb-test.sh BUILD}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
passed=0 failed=0
skip() {
  echo "skip gdb: $1"
  echo "0 passed, 0 failed, 1 skipped"
  exit 77
}
command -v gdb >/dev/null || skip "no gdb here"
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-gdb.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
gdb="gdb -nx -q -batch -iex 'set auto-load off' -iex 'set debuginfod enabled off'"
eval "$gdb -ex 'python print(6 * 7)'" 2>/dev/null | grep -qx 42 || skip "this gdb has no python"

sample=$build/tests/gdb/gdb-sample
readelf -S "$sample" | grep -q '\.debug_info' || skip "this build has no debug information"
cat >"$work/script" <<END
set print elements 0
set width 0
break gdb_looks_here
run >$work/want
python
names = [('cache', '*cache'), ('file', 'file'), ('object', '*\$cm_object(file)'),
  ('stripe', '*stripe'), ('lock', 'cache->super.lock'), ('header', 'header'),
  ('unused', 'unused'), ('bucket', 'bucket'), ('empty', 'empty'), ('cell', '\$cm_cell(cell)'),
  ('w0', '\$cm_w0(header.w0)'), ('ring', 'cache->policy.ring'), ('miss', 'miss'), ('none', 'none')]
for name, what in names:
    print('SAYS %s: %s' % (name, gdb.execute('output ' + what, to_string=True).strip('"')))
end
kill
END
eval "$gdb -ex 'source $here/cachemax.py' -x $work/script $sample" >"$work/out" 2>&1 </dev/null
! grep -qi 'ptrace: operation not permitted\|could not trace the inferior' "$work/out" ||
  skip "gdb may not run a program here"
sed -n 's/^SAYS //p' "$work/out" >"$work/have"
# That very process said what it is to be: numbers and addresses are the same.
while IFS= read -r line; do
  have=$(grep "^${line%%:*}: " "$work/have")
  if [ "$line" = "$have" ]; then
    passed=$((passed + 1))
    echo "ok ${line%%:*}"
  else
    failed=$((failed + 1))
    echo "FAIL ${line%%:*}: '$have' instead of '$line'"
  fi
done <"$work/want"
[ $passed -gt 0 ] || failed=1
[ $failed = 0 ] || sed 's/^/  | /' "$work/out"
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
