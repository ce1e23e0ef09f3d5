#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# analyze.sh - does static analysis find anything?
#
# clang-tidy with clang's analyzer (tests/tree/check-tidy.sh), cppcheck and gcc's analyzer
# (tests/tree/check-analysis.sh) look at src/. scan-build, clang's analyzer with what a build really
# compiles, looks at the library, the command, the mount and the service. It builds in $CM_BUILD
# (default: a directory below ${TMPDIR:-/tmp}). tests/tree/analysis.txt and .clang-tidy say what is
# no defect, and why. The tools are those of Debian 12; others find other things, and are skipped.
# All of it takes ten minutes on two processors. tests/run.sh --all runs all but scan-build. The
# last line is "N passed, N failed, N skipped". Exit status 1: something was found.
set -u
[ $# = 0 ] || {
  sed -n '/^# analyze.sh/,/^set/s/^# \{0,1\}//p' "$0"
  exit 2
}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=$(dirname -- "$here")
scratch=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-analyze.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
passed=0 failed=0 skipped=0

# part COMMAND...: runs a check, prints what it says, and counts it.
part() {
  "$@" >"$scratch/said" 2>&1
  status=$?
  counts=$(tail -n 1 "$scratch/said" |
    sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p')
  [ -n "$counts" ] || case $status in
  0) counts='1 0 0' ;;
  77) counts='0 0 1' ;;
  *) counts='0 1 0' ;;
  esac
  grep -vE '^[0-9]+ passed' "$scratch/said"
  # shellcheck disable=SC2086 # three numbers
  set -- $counts
  passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

# Findings of scan-build as lines of analysis.txt: "scan-build FILE CHECKER: MESSAGE".
scan() {
  command -v scan-build-14 >/dev/null || {
    echo "skip scan-build: version 14 is not here (Debian package clang-tools-14)"
    return 77
  }
  b=${CM_BUILD:-${TMPDIR:-/tmp}/cachemax-build-analyze}
  rm -rf "$scratch/reports"
  if [ ! -f "$b/build.ninja" ]; then
    scan-build-14 meson setup "$b" "$top" -Dtests=false >"$scratch/build" 2>&1 || {
      tail -n 20 "$scratch/build"
      return 1
    }
  fi
  ninja -C "$b" -t clean >/dev/null # only what is compiled is looked at
  # How far the analyzer follows a function, as in check-tidy.sh.
  scan-build-14 -analyzer-config max-nodes=50000 -o "$scratch/reports" ninja -C "$b" \
    >"$scratch/build" 2>&1 || {
    tail -n 20 "$scratch/build"
    return 1
  }
  file='(src|include|examples)/[^:]*' said='(.*) \[([a-zA-Z.]+)\]'
  sed -nE "s#^([^:]*/)?($file):[0-9]+:[0-9]+: warning: $said\$#scan-build \2 \5: \4#p" \
    "$scratch/build" | cut -c 1-90 | sed 's/ *$//' | LC_ALL=C sort -u >"$scratch/now"
  grep '^scan-build ' "$here/tree/analysis.txt" | LC_ALL=C sort -u >"$scratch/known"
  LC_ALL=C comm -23 "$scratch/now" "$scratch/known" | sed 's/^/FAIL /' >"$scratch/new"
  LC_ALL=C comm -13 "$scratch/now" "$scratch/known" |
    sed 's/^/FAIL analysis.txt explains what is not said any more: /' >>"$scratch/new"
  cat "$scratch/new"
  echo "ok scan-build: $(wc -l <"$scratch/now") findings, each explained or failed above"
  [ ! -s "$scratch/new" ]
}

part sh "$here/tree/check-tidy.sh" "$top"
part bash "$here/tree/check-analysis.sh" "$top"
part bash "$here/tree/check-analysis.sh" "$top" --tool
part scan
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
