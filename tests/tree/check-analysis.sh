#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# check-analysis.sh TOP [--tool | FILE...] - do cppcheck and gcc's analyzer find anything in the
# library, or in the command (--tool), or in these files, that analysis.txt does not explain?
# (clang's analyzer is one of clang-tidy's checks: check-tidy.sh.) analysis.txt has the first 90
# characters of each finding that is none, and says why; one that no tool says any more fails, too,
# if no FILE is given. Versions find different things: the list is that of cppcheck 2.10 and gcc 12
# (Debian 12); another version is skipped. It needs no build.
set -u
[ $# -ge 1 ] || {
  echo "usage: check-analysis.sh TOP [--tool | FILE...]" >&2
  exit 2
}
cd "$1" || exit 1
shift
only='' # of analysis.txt
case ${1:-} in
--tool)
  shift
  only='[a-z]* src/tool/'
  # shellcheck disable=SC2046 # words
  set -- $(find src/tool -name '*.c' | grep -v 'os_win32' | LC_ALL=C sort)
  ;;
'') only='[a-z]* src/[^t]' ;;
esac
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-analysis.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
# Of other systems and processors; the commands, which are no part of the library.
others='src/(platform/win32_|persist/(arm64|generic)|tool/|api/checked_calls)'
files=${*:-$(find src -name '*.c' | grep -vE "$others" | sort)}
passed=0 failed=0 skipped=0
: >"$work/said"
if [[ $(cppcheck --version 2>/dev/null) == *' 2.10' ]]; then
  # shellcheck disable=SC2086 # words
  cppcheck -q -j "$(nproc)" --enable=warning,performance,portability --std=c11 -Iinclude -Isrc \
    -D__x86_64__ -D__linux__ -D__STDC_HOSTED__=1 --suppress=missingIncludeSystem \
    --template='cppcheck {file} {id}: {message}' --template-location='' $files 2>&1 |
    grep '^cppcheck ' >>"$work/said"
  tools=cppcheck
else
  echo "skip cppcheck: version 2.10 is not here (Debian package cppcheck)"
  skipped=$((skipped + 1)) tools=''
fi
if [[ $(gcc -dumpversion 2>/dev/null) == 12* ]]; then
  # shellcheck disable=SC2016,SC2086 # of the inner shell; words
  printf '%s\n' $files | xargs -P "$(nproc)" -I '{}' sh -c 'LC_ALL=C gcc -std=gnu11 -O1 -fanalyzer \
    -Iinclude -Isrc -c "$1" -o /dev/null 2>&1 | sed "s|^cc1: warning|$1: warning|" |
    sed -n "s/^\([^:]*\):[0-9: ]*warning: \(.*\) \[-W\(analyzer[a-z-]*\)\]$/gcc \1 \3: \2/p"' \
    sh '{}' |
    sed 's/ \[CWE-[0-9]*\]//' >>"$work/said"
  tools="$tools gcc"
else
  echo "skip gcc: version 12 is not here"
  skipped=$((skipped + 1))
fi
cut -c 1-90 "$work/said" | sed 's/ *$//' | LC_ALL=C sort -u >"$work/now"
grep '^[a-z]' tests/tree/analysis.txt | LC_ALL=C sort -u >"$work/known"
while read -r line; do
  echo "FAIL $line"
  failed=$((failed + 1))
done < <(LC_ALL=C comm -23 "$work/now" "$work/known")
[ "$only" ] && while read -r tool rest; do
  [[ " $tools " == *" $tool "* ]] || continue
  echo "FAIL analysis.txt explains what $tool does not say any more: $rest"
  failed=$((failed + 1))
done < <(LC_ALL=C comm -13 "$work/now" "$work/known" | grep "^$only")
for tool in $tools; do
  echo "ok $tool: $(grep -c "^$tool " "$work/now") findings, each explained or failed above"
  passed=$((passed + 1))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
