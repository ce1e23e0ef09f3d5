#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# object-store-test.sh - examples/object-store: all bytes are right and the cache is warm after each
# kill -9, beside a second process that replaces objects, and after it. Wrong bytes are noticed.
#
# Usage: object-store-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check and a summary as the
# last line. Exit status 1 when something failed, 77 if the program is not there.

set -u
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh" object-store "$@"

# between NAME FROM TO: so many GETs are in the first line of out.
between()
{
  local n
  n=$(sed -n 's/^read .* \([0-9]*\) GETs$/\1/p' out)
  if [ "${n:-none}" = none ]; then
    fail "$1" "no number was printed: $(cat out err | head -c 300 | tr '\n' ' ')"
  elif [ "$n" -ge "$2" ] && [ "$n" -le "$3" ]; then
    ok "$1"
  else
    fail "$1" "$n is not between $2 and $3"
  fi
}
# begin POOL: a program that runs until it is killed, and has read all objects.
begin()
{
  "$program" far "$1" 600 >out 2>err &
  owner=$! # lib.sh ends it, too
  wait_for grep -q '^read' out
}
end()
{
  kill -9 $owner 2>/dev/null
  { wait $owner; } 2>/dev/null
  status=$?
  owner=
  if [ $status = 137 ]; then ok "$1"; else fail "$1" "status $status: $(head -c 300 err)"; fi
}

# Two processes without a pool: one finds that the other has replaced what it knew.
noticed()
{
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    "$program" far none/2 1 >out 2>err || return 1
    [ "$(sed -n 's/^replaced .*; \([0-9]*\) HEADs.*/\1/p' out)" -gt 48 ] && return 0
  done
  return 1
}

expect new 0 '^read 48 objects: 48 HEADs, 48 GETs' "$program" far pool 0
for i in 1 2 3; do
  begin pool
  between "$i-is-warm" 0 40
  end "kill-$i"
done
expect after-kills 0 '^replaced' "$program" far pool 0
between after-kills-is-warm 0 47
expect check 0 '' "$cm" check pool

# Another process replaces objects, without the pool: the first one sees it, also while it runs.
begin none/pool
check no-pool-is-told grep -q 'none/pool: no such file or directory; going on without it' err
expect beside 0 '^replaced [1-9]' "$program" far pool 1
check others-are-noticed noticed
end kill-other
expect after-others 0 '^replaced' "$program" far pool 0
between after-others-some-are-cold 1 48

# The pool is in use: the program says by whom.
begin pool
expect in-use 0 "pool: is open in process $owner" "$program" far pool 0
# The owner may be in another container, with the number of the process that asks.
if unshare -pf --mount-proc sh -c 'echo 1 >/proc/sys/kernel/ns_last_pid' 2>/dev/null; then
  expect in-use-same-number 0 "pool: is open in a process with this one's number, in another" \
    unshare -pf --mount-proc sh -c 'echo "$1" >/proc/sys/kernel/ns_last_pid
      "$2" far pool 0
      exit $?' - $((owner - 1)) "$program"
else
  skip in-use-same-number "no PID namespace can be made here"
fi
end kill-owner

printf x | dd of=far/photo-7 bs=1 seek=5000 conv=notrunc status=none
expect a-wrong-byte 1 'photo-7: a byte is wrong' "$program" far none/pool 0
expect usage 2 '^usage: object-store FOLDER POOL SECONDS' "$program"
expect no-seconds 2 '^usage: object-store' "$program" far pool abc
summary
