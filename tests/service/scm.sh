#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# scm.sh BUILD_DIR - cachemax-service as a service of Windows, run under Wine: install, start, a
# client, stop, a kill, uninstall, and what goes wrong. What Wine's service manager ignores
# (recovery, a delayed start, privileges) and its event log are in tests/unit/test_service_win32.c.
# Prints "ok NAME" or "FAIL NAME: why" and a summary as the last line.
set -u
build=$(realpath "${1:?usage: scm.sh BUILD_DIR}")
here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
wine_run=$top/tests/cross/wine-try
prefix=${WINEPREFIX:-${TMPDIR:-/tmp}/cachemax-wine}
passed=0 failed=0
ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1: $2"; }
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-test.XXXXXX")
place="$work/a place für 池"
service=$place/cachemax-service.exe
mkdir "$place"
cp "$build/examples/service/cachemax-service.exe" "$service"
cd "$place" || exit 1
run() { timeout 60 "$wine_run" "$@" 2>&1 </dev/null 8>&-; }
cleanup() {
  run "$service" uninstall >/dev/null
  rm -rf "$work"
}
# There is one service of this name in a system. What runs does not hold the lock: Wine's own
# processes stay for a while.
exec 8>"$prefix.scm.lock"
flock 8
trap cleanup EXIT
trap 'exit 1' INT TERM

win="Z:${place//\//\\}" # the same directory as Windows names it
name=cachemax-test-$$
pipe="\\\\.\\pipe\\$name"
data=$prefix/drive_c/ProgramData/cachemax
keys='System\CurrentControlSet\Services'
source_key="$keys\\EventLog\\Application\\CacheManager"
has_key() { run reg query "HKLM\\$1"; }
has_no_key() { ! has_key "$1"; }

# expect NAME STATUS PATTERN COMMAND...: PATTERN has to be found in what it prints.
expect() {
  local title=$1 want=$2 pattern=$3 got
  shift 3
  run "$@" >"$work/out"
  got=$?
  if grep -q 'did not start: .*(error ' "$work/out"; then # Wine lost the answer of its manager
    run "$@" >"$work/out"
    got=$?
  fi
  if [ $got != "$want" ]; then
    fail "$title" "status $got instead of $want; $(head -c 300 "$work/out" | tr '\n' ' ')"
  elif ! grep -Eq -- "$pattern" "$work/out"; then
    fail "$title" "'$pattern' not found in: $(head -c 300 "$work/out" | tr '\n' ' ')"
  else
    ok "$title"
  fi
}
check() { # NAME COMMAND...
  local title=$1
  shift
  if "$@" >"$work/check" 2>&1; then
    ok "$title"
  else
    fail "$title" "'$*' failed: $(head -c 200 "$work/check")"
  fi
}
configure() { # FILE POOL
  printf 'pool = %s\\%s\nsocket = %s\n' "$win" "$2" "$pipe" >"$1"
}
process_in() { sed -n 's/.* process \([0-9]*\),.*/\1/p' "$@"; }
process() { run "$service" status | process_in; }
tool=$build/src/tool/cachemax.exe
look=$build/tests/service/scm_look.exe

run "$tool" create pool --size 4M >/dev/null
run "$tool" create 'second pool' --size 4M >/dev/null
configure 'my service.conf' pool
configure second.conf 'second pool'
configure lost.conf lost
echo 'pool = pool' >wrong.conf

# ---- before it is installed --------------------------------------------------------------------
run "$service" uninstall >/dev/null # what a run of this test has left that was ended in its middle
expect "status, not installed" 4 'not installed' "$service" status
expect "start, not installed" 4 'not installed.*install FILE' "$service" start
expect "stop, not installed" 4 'not installed' "$service" stop
expect "uninstall, not installed" 0 'not installed' "$service" uninstall
expect "install, no configuration" 2 'none\.conf: ' "$service" install none.conf
# What a terminal must not get is escaped: here a change of the direction of writing.
expect "install, an odd name" 2 'no\\xe2\\x80\\xaene\.conf: ' "$service" install $'no\u202ene.conf'
run "$service" check-config wrong.conf >"$work/wrong"
expect "install, no file" 2 'needs the configuration: .*install FILE' "$service" install
expect "install, an option in its place" 2 'install FILE' "$service" install --start
expect "install, wrong configuration" 2 'wrong\.conf:1: ' "$service" install wrong.conf
check "says the same as check-config" cmp "$work/out" "$work/wrong"
expect "install, no pool" 1 'lost: no such file.*cachemax create' "$service" install lost.conf
expect "status, still not installed" 4 'not installed' "$service" status
check "no key of the service" has_no_key "$keys\\CacheManager"
check "no key of the events" has_no_key "$source_key"
expect "run-service by hand" 2 'install FILE --start' "$service" run-service 'my service.conf'

# ---- install -----------------------------------------------------------------------------------
chmod go+w "$place"
expect "install where others may write" 0 'service\.conf: not only administrators may write it' \
  "$service" install 'my service.conf'
check "it names the program, too" grep -q 'service\.exe: not only administrators' "$work/out"
check "and the pool" grep -q 'pool: not only administrators' "$work/out"
run "$service" uninstall >/dev/null
chmod go-w "$place"
expect "install" 0 'is installed' "$service" install 'my service.conf'
expect "status, stopped" 3 'is stopped, .*\\my service\.conf' "$service" status
run "$look" value "$keys\\CacheManager" ImagePath >"$work/out"
check "the command line" grep -qF \
  "\"$win\\cachemax-service.exe\" run-service \"$win\\my service.conf\"" "$work/out"
expect "starts with the system" 0 '0x2' reg query "HKLM\\$keys\\CacheManager" /v Start
check "the key of the service" has_key "$keys\\CacheManager"
check "the key of the events" has_key "$source_key"
run "$look" value "$source_key" EventMessageFile >"$work/out"
check "the event source" grep -qF "$win\\cachemax-service.exe" "$work/out"
expect "all kinds of events" 0 '0x7' reg query "HKLM\\$source_key" /v TypesSupported
expect "install again" 0 'was installed' "$service" install 'my service.conf'

# ---- start, stop -------------------------------------------------------------------------------
expect "start" 0 'runs, process [1-9]' "$service" start
expect "start again" 0 'runs, process [1-9]' "$service" start
expect "status, runs" 0 'runs, process [1-9][0-9]*, .*\\my service\.conf' "$service" status
expect "it has the pool" 0 'state: +(open|in use)' "$tool" info pool
expect "a client" 0 '^connected, 4096 bytes hit' "$look" hit "$pipe"
expect "stop" 0 'is stopped' "$service" stop
expect "stop again" 0 'is stopped' "$service" stop
expect "status, stopped again" 3 'is stopped, Z:' "$service" status
expect "the pool is clean" 0 'state: +clean' "$tool" info pool
expect "the pool is sound" 0 'sound' "$tool" check pool

# ---- a kill ------------------------------------------------------------------------------------
expect "start after that" 0 'runs, process [1-9]' "$service" start
first=$(process)
expect "kill" 0 '^ended' "$look" kill "$first"
expect "start after a kill" 0 'runs, process [1-9]' "$service" start
check "is another process" test "$(process)" != "$first"
expect "a client after a kill" 0 '^connected, 4096 bytes hit' "$look" hit "$pipe"

# ---- another configuration ---------------------------------------------------------------------
expect "install another one" 0 'when it starts the next time' "$service" install second.conf
expect "the first one goes on" 0 'state: +(open|in use)' "$tool" info pool
expect "install and start" 0 'runs, process [1-9]' "$service" install second.conf --start
expect "the first one has ended" 0 'state: +clean' "$tool" info pool
expect "the second one runs" 0 'state: +(open|in use)' "$tool" info 'second pool'
expect "status, second" 0 'runs, .*\\second\.conf' "$service" status
expect "install what runs" 0 'when it starts the next time' "$service" install second.conf
expect "it goes on" 0 'runs, .*\\second\.conf' "$service" status

# ---- what goes wrong later ---------------------------------------------------------------------
run "$service" stop >/dev/null
mv 'second pool' away
expect "start without its pool" 1 'status 1\..*Event Viewer.*wevtutil' "$service" start
expect "status says how it ended" 3 'is stopped, it ended with status 1, ' "$service" status
mv away 'second pool'
mv second.conf away
expect "start without its configuration" 1 'status 2\..*Event Viewer' "$service" start
mv away second.conf
expect "start when both are back" 0 'runs, ' "$service" start

# ---- events ------------------------------------------------------------------------------------
grep -E '^#define EVENT_[A-Z]+ [0-9]' "$top/examples/service/event_ids.h" >"$work/ids"
check "there are events" test "$(wc -l <"$work/ids")" -ge 3
while read -r _ event id _; do
  expect "the text of $event" 0 '^a line' "$look" event "$win\\cachemax-service.exe" "$id"
  check "the docs have $event" grep -q "^| $id | " "$top/docs/service.md"
done <"$work/ids"
check "the docs have no other event" test "$(wc -l <"$work/ids")" = \
  "$(grep -cE '^\| [0-9]+ \|' "$top/docs/service.md")"

# ---- uninstall ---------------------------------------------------------------------------------
run "$look" hold "$pipe" >"$work/held" &
held=$!
for _ in $(seq 200); do
  grep -q process "$work/held" && break
  sleep 0.1
done
expect "uninstall while it runs" 0 'uninstalled.*second pool.*second\.conf' "$service" uninstall
check "says that a client has a file" grep -q 'files stay .* open: [1-9]' "$work/out"
check "the client's file stays" test -f "$data/$name.writes"
expect "status, uninstalled" 4 'not installed' "$service" status
expect "the client ends" 0 '^ended' "$look" kill "$(process_in "$work/held")"
wait $held
expect "uninstall again" 0 'not installed' "$service" uninstall
check "the pool is clean then" grep -q 'state: *clean' <(run "$tool" info 'second pool')
check "the key of the service is gone" has_no_key "$keys\\CacheManager"
check "the key of the events is gone" has_no_key "$source_key"
# Other tests may have files in the same directory.
check "its files are gone" sh -c '! ls "$0"*' "$data/$name"
check "and the directory, if nobody uses it" sh -c '[ ! -d "$0" ] || [ "$(ls -A "$0")" ]' "$data"
check "pool and configuration stay" test -f 'second pool' -a -f second.conf -a -f pool

echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
