#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# lib-win32.sh - what the tests of the command under Wine share; they source it, with the build as
# their first argument. It makes a directory, which is the working directory then.
build=$(realpath "${1:?usage: $0 BUILD_DIR}")
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../sleep.sh
. "$here/../sleep.sh"
cm=$build/src/tool/cachemax.exe
run() { "$here/wine-try" "$cm" "$@"; }

passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1: $2"; }
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-test.XXXXXX")
owner=
cleanup() {
  [ -z "$owner" ] || kill -9 "$owner" 2>/dev/null
  mountpoint -q "$work/small" 2>/dev/null && umount "$work/small"
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
cd "$work" || exit 1
win="Z:${work//\//\\}" # the same directory as Windows names it

# expect NAME STATUS PATTERN ARGUMENT...: runs the tool; PATTERN has to be found in what it prints.
expect() {
  local name=$1 want=$2 pattern=$3 got
  shift 3
  run "$@" >out 2>err </dev/null
  got=$?
  if [ $got != "$want" ]; then
    fail "$name" "status $got instead of $want; $(head -c 300 err | tr '\n' ' ')"
  elif [ -n "$pattern" ] && ! cat out err | grep -Eq -- "$pattern"; then
    fail "$name" "'$pattern' not found in: $(cat out err | head -c 300 | tr '\n' ' ')"
  else
    ok "$name"
  fi
}
check() { # NAME COMMAND...
  local name=$1
  shift
  if "$@" >check.out 2>&1; then
    ok "$name"
  else
    fail "$name" "'$*' failed: $(head -c 200 check.out)"
  fi
}
# Waits until the process has FILE open: what it caught before, Wine ends in its own way.
begun() { # PROCESS FILE
  for _ in $(seq 200); do
    ls -l "/proc/$1/fd" 2>/dev/null | grep -q "$work/$2\$" && return 0
    sleep 0.05
  done
  return 1
}
# Did Ctrl-C end it? 58 is what is left of STATUS_CONTROL_C_EXIT. 137: on a busy machine Wine's
# server kills what it has told to end. 139: Wine makes a thread in its handler of SIGINT, whatever
# that has interrupted, and can fall over it. (A program that faults ends with 5 under Wine.)
ended() { [ "$1" = 58 ] || [ "$1" = 137 ] || [ "$1" = 139 ]; }
