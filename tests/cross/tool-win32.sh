#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# tool-win32.sh BUILD_DIR - the cachemax command on Windows, run under Wine: every command, the names
# and errors of that system, Ctrl-C, exit statuses. What does not depend on the system is in
# tests/tool/tool-test.sh. Prints "ok NAME" or "FAIL NAME: why" and a summary as the last line.
set -u
build=$(realpath "${1:?usage: tool-win32.sh BUILD_DIR}")
here=$(cd "$(dirname "$0")" && pwd)
cm=$build/src/tool/cachemax.exe
run() { "$here/wine-run" "$cm" "$@"; }

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
  if "$@" >check.out 2>&1; then ok "$name"; else fail "$name" "'$*' failed: $(head -c 200 check.out)"; fi
}
# Waits until the command line of a process of ours contains TEXT; prints its number.
process() {
  local p
  for _ in $(seq 100); do
    p=$(pgrep -f -- "$1" | head -n 1)
    [ -z "$p" ] || { echo "$p"; return 0; }
    sleep 0.05
  done
  return 1
}

# ---- one static file ---------------------------------------------------------------------------
check "needs nothing but the system" sh -c \
  '! x86_64-w64-mingw32-objdump -p "$0" | sed -n "s/.*DLL Name: //p" |
    grep -viE "^(kernel32|advapi32|bcrypt|msvcrt|shell32|api-ms-win-.*)\.dll$"' "$cm"

# ---- every command -----------------------------------------------------------------------------
expect version 0 '^cachemax [0-9]' --version
expect help 0 'Commands:' --help
commands=$(sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' out)
check "the help names the commands" test "$(echo "$commands" | wc -l)" -ge 5
for c in $commands; do
  expect "$c --help" 0 "^Usage: cachemax $c " "$c" --help
done
expect "no command" 2 'a command is needed'
expect "unknown command" 2 'unknown command' creat
expect create 0 'made, 4.00 MiB' create pool --size 4M
expect "create, exists" 1 'exists already' create pool --size 4M
expect info 0 'durability: +page cache of' info pool
check "lines end as everywhere" sh -c '! grep -q "$(printf "\r")" out'
expect "info --json" 0 '"slots": *[0-9]' info pool --json
check "its JSON" python3 -m json.tool out
expect stats 0 'hit rate' stats pool
expect check 0 'sound' check pool
head -c 3000001 /dev/urandom >data
run cat data --pool pool -v >copy 2>err </dev/null
check "cat, cold: the bytes" cmp data copy
check "cat, cold: misses" grep -q ' 0 hits, 733 misses' err
run cat data --pool pool -v >copy 2>err </dev/null
check "cat, warm: the bytes" cmp data copy
check "cat, warm: hits" grep -q ' 733 hits, 0 misses' err
expect "check, warm" 0 '733  hold a block' check pool

# ---- names -------------------------------------------------------------------------------------
for name in 'pöl' '池' '💾 disk'; do
  expect "create $name" 0 "^$name: made" create "$name" --size 1M
  expect "info $name" 0 "^pool: +$name$" info "$name"
  expect "info $name by drive" 0 'state: +clean' info "$win\\$name"
done
expect "a long-path prefix" 0 'state: +clean' info "\\\\?\\$win\\pool"
mkdir -p sub/dir
expect "both slashes" 0 'made' create 'sub\dir/pool' --size 1M
check "are where they belong" test -f sub/dir/pool
long=$(printf 'a-directory-of-fifty-characters-or-so-that-is-long/%.0s' 1 2 3 4 5 6)
mkdir -p "$long"
expect "a long name" 0 'made' create "$win\\${long//\//\\}pool" --size 1M
expect "a long name, info" 0 'state: +clean' info "$win\\${long//\//\\}pool"

# ---- errors ------------------------------------------------------------------------------------
expect "path not found" 1 'no such file' info missing
expect "path not found, directory" 1 'there is no directory' create 'no\such\pool' --size 1M
expect "path not found, drive" 1 'no such' info 'Q:\pool'
expect "path not found, server" 1 'no such' info '\\no.such.server.example\share\pool'
expect "cat, file not found" 1 'not find|cannot find|No such|not found' cat missing --pool pool
expect "cat, directory" 1 'is a directory' cat sub --pool pool
expect "not a pool" 3 'not a cachemax pool' info data
expect "a directory" 3 'not a regular file' info sub
expect "disk full" 1 'not enough space' create big --size 60T
check "disk full leaves nothing" test ! -e big
expect "too large to be mapped" 1 'out of memory' create big --size 8T --sparse
check "a pool that cannot be mapped is not left behind" test ! -e big
expect "access denied" 1 'permission denied' check --repair 'Z:\sys\kernel\notes'

# A volume that is full while the pool grows: what Linux calls SIGBUS is an access violation here.
mkdir small
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=1m none small 2>/dev/null; then
  expect "small volume" 1 'not enough space on the volume' create small/pool --size 4M
  check "small volume: nothing left" test ! -e small/pool
  expect "small volume, sparse" 0 'sparse' create small/pool --size 8M --sparse
  run cat data --pool small/pool -v >copy 2>err </dev/null
  check "full volume: the bytes" cmp data copy
  check "full volume: it is full" test "$(df --output=avail small | tail -n 1)" -lt 100
  expect "full volume: the pool is sound" 0 'sound' check small/pool
  umount small
else
  skipped=$((skipped + 1))
  echo "skip full volume: cannot mount a small tmpfs"
fi

# ---- a pool in use -----------------------------------------------------------------------------
"$here/wine-run" "$build/tests/cross/pool.exe" warm pool hang >ready 2>/dev/null </dev/null &
owner=$!
for _ in $(seq 100); do
  grep -q ready ready && break
  sleep 0.1
done
expect "sharing violation, check" 4 'in use|open in' check pool
expect "sharing violation, create" 1 'exists' create pool --size 1M
expect "info beside the owner" 0 'state: +(open|in use)' info pool
expect "stats beside the owner" 0 'hit rate' stats pool
run cat data --pool pool >copy 2>err </dev/null
check "cat without the pool" cmp data copy
kill -9 $owner
wait $owner 2>/dev/null
owner=
expect "after its end" 0 'sound' check pool

# ---- Ctrl-C ------------------------------------------------------------------------------------
# Wine makes Ctrl-C of SIGINT; 58 is what is left of STATUS_CONTROL_C_EXIT.
run create interrupted --size 6G >out 2>err </dev/null &
p=$(process 'create interrupted --size') && sleep 0.3 && kill -INT "$p"
wait $!
check "Ctrl-C ends create" test $? = 58
check "Ctrl-C: create says so" grep -q 'interrupted; nothing was left behind' err
check "Ctrl-C: nothing is left" test ! -e interrupted
head -c 60000000 /dev/zero >large
mkfifo slow
run cat large --pool pool >slow 2>err </dev/null &
job=$!
{ sleep 1.5; cat >/dev/null; } <slow & # the tool waits for its reader when Ctrl-C comes
p=$(process 'cat large --pool') && sleep 0.7 && kill -INT "$p"
wait $job
check "Ctrl-C ends cat" test $? = 58
wait
expect "Ctrl-C leaves a clean pool" 0 'state: +clean' info pool
expect "Ctrl-C leaves a sound pool" 0 'sound' check pool
run cat large --pool pool 2>err </dev/null | head -c 1000 >/dev/null
expect "a reader that goes away leaves a clean pool" 0 'state: +clean' info pool

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
