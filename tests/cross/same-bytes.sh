#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# same-bytes.sh ONE OTHER [--one-boot] - passes pools between two systems: ONE and OTHER are
# commands that run tests/cross/pool on each ("/b/tests/cross/pool", "wine-run
# /w/tests/cross/pool.exe"). Each makes and warms, the other must hit every block, byte for byte,
# changes some, and the first must see that; also when one side was killed with the pool open: all
# hits where the volume counts as DAX, none and no wrong byte where it is a page cache of another
# boot. --one-boot: both sides see the same boot, and so all hits there, too.
set -u
[ $# = 2 ] || [ "$#/${3:-}" = 3/--one-boot ] || {
  echo "usage: same-bytes.sh ONE OTHER [--one-boot]" >&2
  exit 2
}
found=none boot="another boot finds nothing"
[ $# = 2 ] || found=all boot="the same boot finds all"
passed=0 failed=0
t=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-bytes.XXXXXX")
trap 'rm -rf "$t"' EXIT
cd "$t" || exit 1

step() { # NAME COMMAND...
  name=$1
  shift
  timeout 60 "$@" >out 2>err </dev/null && status=0 || status=$?
  # Under Wine a process that was killed may own its files for a moment longer.
  for _ in $(seq 600); do
    grep -q 'open already' out err || break
    sleep 0.1
    timeout 60 "$@" >out 2>err </dev/null && status=0 || status=$?
  done
  if [ $status = 0 ]; then
    passed=$((passed + 1))
    echo "ok $name: $(tr -d '\r' <out | tail -n 1)"
  else
    failed=$((failed + 1))
    echo "FAIL $name: $(tr -d '\r' <out | tail -n 1) $(tail -n 1 err)"
  fi
}
# Starts COMMAND..., which ends with "hang", waits until it is ready, and kills it.
killed() { # NAME COMMAND...
  name=$1
  shift
  : >out
  "$@" >out 2>err </dev/null &
  pid=$!
  for _ in $(seq 300); do
    grep -q ready out && break
    sleep 0.1
  done
  if grep -q ready out && kill -9 $pid; then
    passed=$((passed + 1))
    echo "ok $name: killed with the pool open"
  else
    failed=$((failed + 1))
    echo "FAIL $name: $(cat out err)"
    kill -9 $pid 2>/dev/null
  fi
  wait $pid 2>/dev/null
}

direction() { # LABEL FROM TO
  label=$1 from=$2 to=$3
  rm -f pool
  # shellcheck disable=SC2086 # commands with arguments
  {
    step "$label: make" $from make pool
    step "$label: warm" $from warm pool
    step "$label: hits on the other side" $to verify pool 1 all
    step "$label: change there" $to change pool
    step "$label: seen on the first side" $from verify pool 2 all
    for dax in --dax ""; do
      rm -f pool
      step "$label${dax:+ $dax}: make" $from $dax make pool
      killed "$label${dax:+ $dax}: warm, kill" $from $dax warm pool hang
      if [ "$dax" ]; then
        step "$label $dax: hits on the other side" $to $dax verify pool 1 all
        killed "$label $dax: change there, kill" $to $dax change pool hang
        step "$label $dax: seen on the first side" $from $dax verify pool 2 all
      else
        step "$label: $boot" $to verify pool 1 $found
        step "$label: and warms it again" $to warm pool
        step "$label: for the first side" $from verify pool 1 all
      fi
    done
  }
}

direction "one to other" "$1" "$2"
direction "other to one" "$2" "$1"
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
