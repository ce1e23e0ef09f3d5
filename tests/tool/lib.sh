# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
#
# lib.sh - what the tests of the command line tool share: results, what a command says, files
# through pools, owners of pools. Sourced with $build set; goes to a directory of its own, $work,
# and makes another one where files are memory, $shm (empty: none here).

# shellcheck source=../sleep.sh
. "$(dirname "${BASH_SOURCE[0]}")/../sleep.sh"

cm=
for f in "$build/src/tool/cachemax" "$build/cachemax"; do
  [ -x "$f" ] && cm=$(realpath "$f") && break
done
[ -n "$cm" ] || {
  echo "FAIL tool: no cachemax in $build"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
}

passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1: $2"; }
skip() { skipped=$((skipped + 1)); echo "skip $1: $2"; }
summary()
{
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" = 0 ]
}

work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-test.XXXXXX")
shm=
[ -d /dev/shm ] && shm=$(mktemp -d /dev/shm/cachemax-test.XXXXXX)
owner=
cleanup()
{
  [ -n "$owner" ] && kill -9 "$owner" 2>/dev/null
  mountpoint -q "$work/small" 2>/dev/null && umount "$work/small"
  mountpoint -q "$work/origin" 2>/dev/null && umount -l "$work/origin"
  rm -rf "$work" ${shm:+"$shm"}
}
trap cleanup EXIT
trap 'exit 1' INT TERM
cd "$work" || exit 1
chmod 755 "$work" # for the checks as another user
# Signals at their defaults, whatever started this script.
plain=(env)
env --default-signal=INT,TERM,HUP,PIPE true 2>/dev/null &&
  plain=(env "--default-signal=INT,TERM,HUP,PIPE")

# expect NAME STATUS PATTERN COMMAND...: exit status, and an extended regular expression that has
# to be found in what was printed (out: standard output, err: standard error). STATUS is a
# pattern of the shell.
expect()
{
  local name=$1 want=$2 pattern=$3 got
  shift 3
  "$@" >out 2>err </dev/null
  got=$?
  # shellcheck disable=SC2053 # a pattern is wanted
  if [[ $got != $want ]]; then
    fail "$name" "status $got instead of $want; $(head -c 300 err | tr '\n' ' ')"
  elif [ -n "$pattern" ] && ! cat out err | grep -Eq -- "$pattern"; then
    fail "$name" "'$pattern' not found in: $(cat out err | head -c 300 | tr '\n' ' ')"
  else
    ok "$name"
    return 0
  fi
  return 1
}

# check NAME COMMAND...: the command must succeed.
check()
{
  local name=$1
  shift
  if "$@" >check.out 2>&1; then
    ok "$name"
  else
    fail "$name" "'$*' failed: $(head -c 200 check.out | tr '\n' ' ')"
  fi
}

json=
if command -v jq >/dev/null; then
  json=jq
elif command -v python3 >/dev/null; then
  json=python3
fi
# jget FILE KEY: a member of a JSON object; fails when FILE is not valid JSON.
jget()
{
  if [ $json = jq ]; then
    jq -er --arg k "$2" 'if has($k) then .[$k] | tostring else error("no key") end' "$1"
  else
    python3 -c 'import json, sys
v = json.load(open(sys.argv[1], encoding="utf-8"))[sys.argv[2]]
print(json.dumps(v) if not isinstance(v, str) else v)' "$1" "$2"
  fi
}
jvalid()
{
  if [ $json = jq ]; then
    jq -e . "$1"
  else
    python3 -m json.tool "$1"
  fi >/dev/null
}

# poke FILE OFFSET HEX...: overwrites bytes.
poke()
{
  local file=$1 offset=$2 bytes=
  shift 2
  for b in "$@"; do bytes="$bytes\\x$b"; done
  printf '%b' "$bytes" | dd of="$file" bs=1 seek="$offset" conv=notrunc status=none
}

make_file() # NAME BYTES
{
  head -c "$2" /dev/urandom >"$1"
}

hits() { sed -En 's/.*; ([0-9]+) hits?, .*/\1/p' err; }
stored() { sed -En 's/.*; ([0-9]+) blocks stored; .*/\1/p' err; }
misses() { sed -En 's/.* hits?, ([0-9]+) miss(es)? .*/\1/p' err; }

# shown POOL FILE BYTE [OPTION...]: what the pool has of the block of the file's byte, from 1.
shown()
{
  echo "  what the pool has of it:"
  "$cm" dump "$1" find "$2" $((($3 - 1) / 4096)) "${@:4}" 2>&1 | sed 's/^/    /'
}

# through NAME FILE POOL: prints the file through the pool; the output has to be the file.
through()
{
  if ! "$cm" cat "$2" --pool "$3" -v "${@:4}" >through.out 2>err </dev/null; then
    fail "$1" "failed: $(head -c 300 err)"
  elif ! cmp -s "$2" through.out; then
    fail "$1" "output differs: $(cmp "$2" through.out 2>&1)"
    shown "$3" "$2" "$(cmp -l "$2" through.out 2>/dev/null | awk 'NR == 1 { print $1 }
      END { if (!NR) print 1 }')" "${@:4}"
  else
    ok "$1"
    rm -f through.out
    return 0
  fi
  rm -f through.out
  return 1
}

# all_hits NAME: the last through() missed nothing.
all_hits()
{
  if [ "$(misses)" = 0 ] && [ "$(hits)" -gt 0 ]; then
    ok "$1"
  else
    fail "$1" "$(head -c 300 err | tr '\n' ' ')"
  fi
}

state_is()
{
  local got
  got=$("$cm" info "$2" 2>&1 | sed -n 's/^state: *//p')
  if [ "$got" = "$3" ]; then
    ok "$1"
  else
    fail "$1" "state is '$got' instead of '$3'"
  fi
}

wait_for() # COMMAND...: up to a minute
{
  for _ in $(seq 600); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.1
  done
  return 1
}

is_owned() { "$cm" info "$1" | grep -q '^state: *open (process'; }

# Starts a cat that owns POOL and hangs in the middle of FILE until release_owner; its process is
# $owner. A fifo nobody drains is the slow reader.
hold_pool()
{
  rm -f fifo
  mkfifo fifo
  exec 8<>fifo
  "${plain[@]}" "$cm" cat "$1" --pool "$2" >fifo 2>owner.err 8>&- &
  owner=$!
  wait_for is_owned "$2"
}
# Drains the fifo; the owner's status is in $owner_status.
release_owner()
{
  exec 9<fifo # before the other end is closed: there is always a reader
  exec 8>&-
  cat <&9 >owner.out &
  local drain=$!
  exec 9<&-
  wait "$owner"
  owner_status=$?
  wait "$drain"
  owner=
}
# kill_owner SIGNAL
kill_owner()
{
  kill -s "$1" "$owner"
  wait "$owner" 2>/dev/null
  owner_status=$?
  owner=
  exec 8>&-
}
